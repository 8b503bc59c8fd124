"""New clients are accepted quickly under load, and workers share a port with nobody else."""

import asyncio
import contextlib
import socket
from collections.abc import Callable

import pytest
import uvloop
from typer.testing import CliRunner

from app.cli import app
from app.process.listening import BACKLOG, SOCKETS_PER_ADDRESS, find_addresses, listen


def iterations_until_accepted(sockets: list[socket.socket], clients: int) -> int:
    """How many iterations an event loop takes to accept clients that connected while it was busy."""
    accepted: list[asyncio.BaseTransport] = []

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.append(transport)

    async def run() -> int:
        loop = asyncio.get_running_loop()
        servers = [await loop.create_server(Protocol, sock=each, backlog=BACKLOG) for each in sockets]
        waiting = [socket.create_connection(sockets[0].getsockname()[:2]) for _ in range(clients)]
        iterations = 0
        while len(accepted) < clients:
            iterations += 1
            await asyncio.sleep(0)
        for each in (*accepted, *waiting, *servers):
            close: Callable[[], object] = each.close
            close()
        return iterations

    return uvloop.run(asyncio.wait_for(run(), 20))


def test_many_new_clients_are_accepted_within_a_few_iterations() -> None:
    sockets = listen(find_addresses("127.0.0.1", 0), share=False)
    assert len(sockets) == SOCKETS_PER_ADDRESS
    assert len({each.getsockname() for each in sockets}) == 1
    assert iterations_until_accepted(sockets, 4 * SOCKETS_PER_ADDRESS) <= 8


def test_every_address_of_a_name_has_the_same_port() -> None:
    addresses = find_addresses("localhost", 0)
    assert len({address.port for address in addresses}) == 1
    sockets = listen(addresses, share=True)
    assert {each.getsockname()[1] for each in sockets} == {addresses[0].port}
    for each in sockets:
        each.close()


def test_workers_share_the_port_with_each_other_and_with_nobody_else() -> None:
    addresses = find_addresses("127.0.0.1", 0)
    first, second = (listen(addresses, share=True) for _ in range(2))
    address = first[0].getsockname()
    try:
        for each in (first[0], second[0]):
            each.setblocking(False)
        accepted, clients = [0, 0], []
        for _ in range(64):
            clients.append(socket.create_connection(address))
            for number, each in enumerate((first[0], second[0])):
                with contextlib.suppress(BlockingIOError):
                    each.accept()[0].close()
                    accepted[number] += 1
        assert sum(accepted) == len(clients)
        assert min(accepted) >= 8
        with pytest.raises(OSError, match="in use"):
            find_addresses(*address)
        for client in clients:
            client.close()
    finally:
        for each in (*first, *second):
            each.close()


def test_a_port_in_use_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(app, ["serve", "--port", str(port)])
    assert result.exit_code == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in " ".join(result.output.split())
