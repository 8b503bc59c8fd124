"""The sockets that the service listens on."""

import socket

BACKLOG = 2048  # connections that may wait to be accepted
# uvloop accepts one connection of each socket in a turn of its event loop, and under load a turn takes milliseconds:
# by one socket alone, new clients would wait for seconds behind those who have their connection.
ACCEPTED_A_TURN = 32


def listening(host: str, port: int, workers: int = 1) -> list[list[socket.socket]]:
    """Listening sockets for each of some workers: of every address of `host`, each many times. Port 0 takes a free one.

    Workers have sockets of their own, among which the system deals out the connections: from a common one whoever
    woke first would take them all. Raises `OSError`.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = dict.fromkeys((family, address) for family, _, _, _, address in found)
    sockets: list[list[socket.socket]] = [[] for _ in range(workers)]
    for family, (name, *_) in addresses:
        taken = sockets[0][0].getsockname()[1] if sockets[0] else port  # where any port will do, the same for all
        first = socket.create_server((name, taken), family=family, backlog=BACKLOG)
        place = (name, first.getsockname()[1])
        if workers > 1:
            first.close()  # it found that nobody else is there, which those that share a port do not ask
            each = [socket.create_server(place, family=family, backlog=BACKLOG, reuse_port=True) for _ in sockets]
        else:
            each = [first]
        for own, one in zip(sockets, each, strict=True):
            own += [one, *(one.dup() for _ in range(ACCEPTED_A_TURN - 1))]
    return sockets
