"""A server that stops as those around it expect: not ready first, then no new work, then gone."""

import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI


class DrainingServer(uvicorn.Server):
    """uvicorn's, which on SIGTERM goes on serving for `seconds` with `/readyz` off, so that balancers notice.

    Then, as uvicorn does: the port is closed, accepted work finished, and the process ends, with status 0.
    """

    def __init__(
        self, config: uvicorn.Config, app: FastAPI, seconds: float, on_ready: Callable[[], None] = lambda: None
    ) -> None:
        """`on_ready` is called once it answers requests."""
        super().__init__(config)
        self._app, self._seconds, self._on_ready = app, seconds, on_ready
        self._stop_at: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A first SIGTERM only begins the stop; any other signal, or a second, is uvicorn's to handle."""
        if sig != signal.SIGTERM or self._stop_at is not None:
            return super().handle_exit(sig, frame)
        if self.started:
            self._app.state.readiness.stopping = True
        self._stop_at = time.monotonic() + self._seconds

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second; True ends the main loop."""
        if self._stop_at is not None and time.monotonic() >= self._stop_at:
            self.should_exit = True
        return await super().on_tick(counter)
