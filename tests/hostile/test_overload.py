"""One caller asks for far more than the service does: its refusals are whole answers, and nothing else suffers."""

import itertools
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.cli.load import Load, closed_loop, form_request, multipart
from tests.helpers.drawn import png
from tests.helpers.problems import assert_problem
from tests.helpers.server import Server
from tests.helpers.tasks import FIVE, create
from tests.helpers.workers import wait_for_workers

SECONDS, CLIENTS = 4.0, 96
HEADERS = ("retry-after", "content-type", "content-length", "x-request-id", "x-content-type-options", "cache-control")


class Service:
    """A server of two workers that lets few requests wait, with a task."""

    def __init__(self, folder: Path) -> None:
        self.server = Server(folder / "data", LEO_WORKERS="2", LEO_QUEUE_REQUESTS="8")
        self.server.start()
        wait_for_workers(self.server, 2)
        with httpx.Client(base_url=self.server.url, timeout=60) as client:
            self.path = f"/tasks/{create(client, FIVE).json()['task_id']}/predict"
        self.request = form_request(self.path, multipart([png("ring")]))

    @contextmanager
    def flooded(self) -> Iterator["Future[Load]"]:
        with ThreadPoolExecutor() as pool:
            yield pool.submit(closed_loop, self.server.url, itertools.repeat(self.request), CLIENTS, SECONDS)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("overload"))
    try:
        yield service
    finally:
        service.server.close()
    assert "Traceback" not in service.server.log.read_text()


class Talk:
    """One kept connection, on which answers are read one by one."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._rest = b""

    def __enter__(self) -> "Talk":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> httpx.Response:
        """The next answer; an answer of more or fewer bytes than it says would spoil all that follow."""
        while b"\r\n\r\n" not in self._rest:
            self._receive()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        length = int(dict(headers).get("content-length", "0"))
        while len(self._rest) < length:
            self._receive()
        body, self._rest = self._rest[:length], self._rest[length:]
        assert status.startswith("HTTP/1.1 ")
        return httpx.Response(int(status.split()[1]), headers=headers, content=body)

    def _receive(self) -> None:
        more = self._socket.recv(65536)
        assert more, "the connection ended"
        self._rest += more


def check(answer: httpx.Response) -> int:
    if answer.status_code == 200:
        assert answer.json()["predictions"]
    else:
        assert_problem(answer, 503, "under way", "try again")
        assert set(HEADERS) <= set(answer.headers)
        assert answer.headers["retry-after"] == "1"
    return answer.status_code


def test_a_connection_goes_on_after_refusals_however_its_bodies_come(service: Service) -> None:
    head, _, body = service.request.partition(b"\r\n\r\n")
    statuses = list[int]()
    with service.flooded() as flood, Talk(service.server.port) as talk:
        while not flood.done():
            for parts in ([service.request], [head + b"\r\n\r\n", body], [service.request[:-9], service.request[-9:]]):
                for part in parts:
                    talk.send(part)
                statuses.append(check(talk.answer()))
            talk.send(service.request * 3)  # pipelined
            statuses += [check(talk.answer()) for _ in range(3)]
            talk.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert talk.answer().status_code == 200
    assert 503 in statuses
    assert set(flood.result().statuses) == {"200", "503"}


def test_a_client_that_asks_whether_to_send_its_body_gets_an_answer(service: Service) -> None:
    head, _, body = service.request.partition(b"\r\n\r\n")
    with service.flooded() as flood:
        seen = list[int]()
        while not flood.done():
            with Talk(service.server.port) as talk:
                talk.send(head + b"\r\nExpect: 100-continue\r\n\r\n")
                answer = talk.answer()
                if answer.status_code == 100:
                    talk.send(body)
                    answer = talk.answer()
                seen.append(check(answer))
    assert set(seen) <= {200, 503}


def test_every_refusal_is_counted_and_they_share_a_line_a_second(service: Service) -> None:
    def counted() -> dict[str, float]:
        families = text_string_to_metric_families(httpx.get(f"{service.server.url}/metrics", timeout=60).text)
        samples = [one for family in families for one in family.samples if one.name == "leo_http_requests_total"]
        by_status = dict[str, float]()
        for one in samples:
            if one.labels["method"] == "POST":
                by_status[one.labels["status"]] = by_status.get(one.labels["status"], 0) + one.value
        return by_status

    before, lines = counted(), service.server.log.read_text().count("too many under way")
    with service.flooded() as flood:
        pass
    after, said = counted(), service.server.log.read_text().count("too many under way") - lines
    assert {status: after[status] - before.get(status, 0) for status in ("200", "503")} == {
        status: flood.result().statuses[status] for status in ("200", "503")
    }
    assert 1 <= said <= 4 * SECONDS


def test_a_task_whose_creation_was_acknowledged_is_there(service: Service) -> None:
    form = multipart([png(character) for character in FIVE], list(FIVE))
    creation = form_request("/tasks", form)
    load = closed_loop(service.server.url, itertools.repeat(creation), CLIENTS, SECONDS, keep=True)
    assert set(load.statuses) == {"201", "503"}
    with httpx.Client(base_url=service.server.url, timeout=60) as client:
        for _, answer in load.answers:
            created = httpx.Response(201, content=answer).json()
            assert client.get(f"/tasks/{created['task_id']}").json() == created
