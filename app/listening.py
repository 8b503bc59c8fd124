"""The sockets that the service listens on."""

import socket

BACKLOG = 2048  # connections that may wait to be accepted
# uvloop accepts one connection of each socket in a turn of its event loop, and under load a turn takes milliseconds:
# by one socket alone, new clients would wait for seconds behind those who have their connection.
ACCEPTED_A_TURN = 32


def listening(host: str, port: int) -> list[socket.socket]:
    """Listening sockets of every address of `host`, each many times. Port 0 takes a free one. Raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = dict.fromkeys((family, address) for family, _, _, _, address in found)
    sockets: list[socket.socket] = []
    for family, (name, *_) in addresses:
        taken = sockets[0].getsockname()[1] if sockets else port  # where any port will do, the same for all
        first = socket.create_server((name, taken), family=family, backlog=BACKLOG)
        sockets += [first, *(first.dup() for _ in range(ACCEPTED_A_TURN - 1))]
    return sockets
