"""The sockets that the service listens on."""

import socket
from typing import NamedTuple

BACKLOG = 2048  # connections that may wait to be accepted
# uvloop accepts one connection of each socket in a turn of its event loop, and under load a turn takes milliseconds:
# by one socket alone, new clients would wait for seconds behind those who have their connection.
ACCEPTED_A_TURN = 32


class Address(NamedTuple):
    """Where to listen: an IP address and a port."""

    family: socket.AddressFamily
    host: str
    port: int


def find_addresses(host: str, port: int) -> list[Address]:
    """The addresses of a host, with the same port each; port 0 takes a free one.

    Raises `OSError` where somebody listens there already, which sockets that share a port would not notice.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses: list[Address] = []
    for family, name in dict.fromkeys((family, address[0]) for family, _, _, _, address in found):
        with socket.create_server((str(name), port), family=family) as probe:
            port = probe.getsockname()[1]
        addresses.append(Address(family, str(name), port))
    return addresses


def listen(addresses: list[Address], *, share: bool) -> list[socket.socket]:
    """Listening sockets of one process, several for each address; with `share` others may listen there too.

    The system deals connections out among the processes that share an address. From a socket that they had in common
    whoever wakes first would take them all. Raises `OSError`.
    """
    sockets = []
    for family, host, port in addresses:
        first = socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=share)
        sockets += [first, *(first.dup() for _ in range(ACCEPTED_A_TURN - 1))]
    return sockets
