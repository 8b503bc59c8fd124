"""The service on a real socket, in a thread of the test's own process."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
import uvicorn

from app.main import create_app
from app.settings import Settings

PATIENT = {"device_deadline": 3600.0}  # by what it shares the process with, its loop may be held up for long


@contextlib.contextmanager
def serving(settings: Settings) -> Iterator[httpx.Client]:
    """A client of the service, which runs on a port of its own as long as the block lasts."""
    settings = settings.model_copy(update=PATIENT)
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        # A service that gives up ends its process, which here is the tests'. It stays, and answers 503 with its reason.
        patch.setattr("app.main._exit_soon", lambda _: None)
        server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            # The socket listens already: the first request waits until the service is up.
            with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=60) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()
