"""The worker processes of a running server."""

from pathlib import Path

from tests.helpers.server import Server
from tests.helpers.waiting import wait_until


def worker_ids(server: Server) -> list[int]:
    """Return the process ids of a server's workers."""
    parent = server.process_id
    return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def wait_for_workers(server: Server, number: int) -> None:
    """Wait until so many workers have started to serve."""
    wait_until(lambda: server.log.read_text().count("Application startup complete") == number)
