"""Finds the addresses that the service listens on, and opens its sockets."""

import socket
from typing import NamedTuple

BACKLOG = 2048  # connections that may wait to be accepted
# uvloop accepts one connection per socket in each iteration of its event loop, and under load an iteration takes
# milliseconds. So several sockets share each address.
# measured: 500 new clients beside 32 busy ones were all answered after 0.44 s, with one socket after 4.9 s, on 2 cores
SOCKETS_PER_ADDRESS = 32


class Address(NamedTuple):
    """An IP address and port to listen on."""

    family: socket.AddressFamily
    host: str
    port: int


def find_addresses(host: str, port: int) -> list[Address]:
    """The addresses of a host, all with the same port; port 0 chooses a free one.

    Raises `OSError` if another process listens there already. Sockets that share a port would not notice that.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses: list[Address] = []
    for family, name in dict.fromkeys((family, address[0]) for family, _, _, _, address in found):
        with socket.create_server((str(name), port), family=family) as probe:
            port = probe.getsockname()[1]
        addresses.append(Address(family, str(name), port))
    return addresses


def listen(addresses: list[Address], *, share: bool) -> list[socket.socket]:
    """Open one process's listening sockets; with `share`, other processes may listen on the same addresses.

    The system distributes connections among the processes that share an address. If they shared one socket instead,
    the process that wakes first would accept all of them. Raises `OSError`.
    """
    sockets = []
    for family, host, port in addresses:
        first = socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=share)
        sockets += [first, *(first.dup() for _ in range(SOCKETS_PER_ADDRESS - 1))]
    return sockets
