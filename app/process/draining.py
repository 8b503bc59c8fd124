"""A server that drains on SIGTERM: it stops being ready, then stops accepting requests, then exits."""

import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which after SIGTERM keeps serving for `seconds` while `/readyz` answers 503.

    So load balancers notice before the port closes. Then it stops as uvicorn does: it closes the port, finishes the
    requests it has, and the process exits with status 0.
    """

    def __init__(
        self, config: uvicorn.Config, app: FastAPI, seconds: float, on_ready: Callable[[], None] = lambda: None
    ) -> None:
        """`on_ready` is called once the server answers requests."""
        super().__init__(config)
        self._app, self._seconds, self._on_ready = app, seconds, on_ready
        self._stop_at: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then call `on_ready`."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain on the first SIGTERM; on another signal, or a second one, stop accepting requests.

        Further ones change nothing: uvicorn would drop the requests that it has. They have their own time to end.
        """
        if self.should_exit:
            return None
        if sig != signal.SIGTERM or self._stop_at is not None:
            return super().handle_exit(sig, frame)
        if self.started:
            self._app.state.readiness.stopping = True
        self._stop_at = time.monotonic() + self._seconds
        return None

    async def on_tick(self, counter: int) -> bool:
        """End the main loop by returning True once draining is over; uvicorn calls this ten times a second."""
        if self._stop_at is not None and time.monotonic() >= self._stop_at:
            self.should_exit = True
        return await super().on_tick(counter)
