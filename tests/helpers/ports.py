"""Ports for servers that tests start."""

import itertools
import os
import socket

# Linux takes the ports of connections, and of servers that let it choose, from 32768 on. So none of these is taken
# between the moment when a test chooses it and the moment when its server listens. Tests that run beside these have a
# thousand of their own.
PORTS = 1_000
_first = 20_000 + PORTS * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_next = itertools.count(os.getpid())


def free_port() -> int:
    """Return a port of this machine on which nothing listens."""
    for number in itertools.islice(_next, PORTS):
        port = _first + number % PORTS
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise OSError(f"all ports from {_first} to {_first + PORTS - 1} are in use")
