"""A greedy caller beside a polite one. A real server; the two are timed together, so a slow machine slows both."""

import itertools
import json
import statistics
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.cli.load import Load, closed_loop, form_request, multipart
from app.http.keys import KeyFile, new_key, write_keys
from tests.helpers.drawn import png
from tests.helpers.server import Server
from tests.helpers.tasks import FIVE
from tests.helpers.workers import wait_for_workers

SECONDS = 3.0
QUERIES = [png("ring", seed) for seed in range(20)]


class Service:
    """A server of two workers with two owners, each with a task."""

    def __init__(self, folder: Path) -> None:
        made = {name: new_key(name, name, ["read", "write"]) for name in ("polite", "greedy")}
        made["monitor"] = new_key("monitor", "monitor", ["metrics"])
        self.keys = {name: presented for name, (_, presented) in made.items()}
        write_keys(folder / "keys.json", KeyFile(keys=[stored for stored, _ in made.values()]))
        self.server = Server(folder / "data", LEO_WORKERS="2", LEO_KEYS_FILE=str(folder / "keys.json"))

    def start(self) -> None:
        self.server.start()
        wait_for_workers(self.server, 2)
        self.tasks = {name: self.create(name) for name in ("polite", "greedy")}

    def create(self, name: str) -> str:
        form = multipart([png(character) for character in FIVE], list(FIVE))
        created = closed_loop(self.server.url, iter([self.request(name, "/tasks", form)]), 1, 60.0, keep=True)
        return str(json.loads(created.answers[0][1])["task_id"])

    def request(self, name: str, path: str, form: bytes) -> bytes:
        return form_request(path, form, headers={"X-API-Key": self.keys[name]})

    def predictions(self, name: str, images: int = 1) -> list[bytes]:
        forms = [multipart([query] * images) for query in QUERIES[: max(1, 20 // images)]]
        return [self.request(name, f"/tasks/{self.tasks[name]}/predict", form) for form in forms]

    def together(self, greedy: list[bytes], greedy_clients: int, polite: list[bytes]) -> tuple[Load, Load]:
        """What came of a greedy caller's many clients, and of a polite one's two that asked meanwhile."""
        with ThreadPoolExecutor() as pool:
            url = self.server.url
            flood = pool.submit(closed_loop, url, itertools.cycle(greedy), greedy_clients, SECONDS + 1)
            threading.Event().wait(0.5)  # until its queue stands
            asked = closed_loop(url, itertools.cycle(polite), 2, SECONDS)
            return flood.result(), asked


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("fair"))
    try:
        service.start()
        yield service
    finally:
        service.server.close()
    assert "Traceback" not in service.server.log.read_text()


def median(load: Load) -> float:
    return statistics.median(load.accepted)


def test_a_greedy_key_does_not_starve_a_polite_one(service: Service) -> None:
    flood, asked = service.together(service.predictions("greedy"), 200, service.predictions("polite"))
    assert (set(flood.statuses), set(asked.statuses)) == ({"200"}, {"200"})
    assert median(asked) < median(flood) / 4


def test_a_key_that_asks_for_too_much_is_refused_and_another_is_not(service: Service) -> None:
    flood, asked = service.together(service.predictions("greedy"), 400, service.predictions("polite"))
    assert set(flood.statuses) == {"200", "503"}
    assert set(asked.statuses) == {"200"}


def test_reads_do_not_hold_up_predictions_even_of_their_own_owner(service: Service) -> None:
    for _ in range(60):
        service.create("greedy")
    listing = [b"GET /tasks?limit=100 HTTP/1.1\r\nHost: a\r\nX-API-Key: %b\r\n\r\n" % service.keys["greedy"].encode()]
    for name in ("polite", "greedy"):
        flood, asked = service.together(listing, 64, service.predictions(name))
        assert (set(flood.statuses), set(asked.statuses)) == ({"200"}, {"200"})
        assert median(asked) < median(flood) / 2


def test_requests_of_a_thousand_images_do_not_hold_up_those_of_one(service: Service) -> None:
    for name in ("polite", "greedy"):
        flood, asked = service.together(service.predictions("greedy", 1000), 8, service.predictions(name))
        assert (set(flood.statuses), set(asked.statuses)) == ({"200"}, {"200"})
        assert median(asked) < median(flood) / 10


def test_supervisors_and_monitors_are_answered_while_others_are_refused(service: Service) -> None:
    with ThreadPoolExecutor() as pool:
        flood = pool.submit(
            closed_loop, service.server.url, itertools.cycle(service.predictions("greedy")), 400, SECONDS
        )
        urls = [f"{service.server.url}/{path}" for path in ("healthz", "readyz", "metrics")]
        headers = {"X-API-Key": service.keys["monitor"]}
        answers = list[int]()
        while not flood.done():
            answers += [httpx.get(url, headers=headers, timeout=30).status_code for url in urls]
        assert "503" in flood.result().statuses
    assert set(answers) == {200}


def test_as_many_clients_as_may_wait_are_never_refused(service: Service) -> None:
    load = closed_loop(service.server.url, itertools.cycle(service.predictions("polite")), 256, SECONDS)
    assert set(load.statuses) == {"200"}


@pytest.mark.parametrize(("trusted", "statuses"), [("127.0.0.1", {"200"}), ("10.0.0.0/8", {"200", "503"})])
def test_only_a_trusted_gateway_tells_callers_apart(tmp_path: Path, trusted: str, statuses: set[str]) -> None:
    server = Server(tmp_path / "data", LEO_WORKERS="1", LEO_QUEUE_REQUESTS="4", LEO_TRUSTED_PROXIES=trusted)
    try:
        server.start()
        path, form = f"/tasks/{server.create_task()}/predict", multipart(QUERIES[:1])
        addresses = [f"198.51.{n // 250}.{n % 250}" for n in range(600)]
        requests = [form_request(path, form, headers={"X-Forwarded-For": address}) for address in addresses]
        assert set(closed_loop(server.url, iter(requests), 16, 60.0).statuses) == statuses
    finally:
        server.close()
