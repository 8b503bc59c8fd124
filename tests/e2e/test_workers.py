"""Several worker processes serve as one: each knows at once what another was told."""

import concurrent.futures
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.http.keys import KeyFile, new_key, write_keys
from app.settings import PROJECT
from tests.helpers.drawn import png
from tests.helpers.server import Server
from tests.helpers.tasks import FIVE
from tests.helpers.waiting import wait_until
from tests.helpers.workers import wait_for_workers, worker_ids

WORKERS = 3


@pytest.fixture
def several(tmp_path: Path) -> Iterator[Server]:
    """A running server of several workers."""
    server = Server(tmp_path / "data", LEO_WORKERS=str(WORKERS))
    try:
        server.start()
        wait_for_workers(server, WORKERS)
        yield server
    finally:
        server.close()


class ClientOfEach:
    """A client connected to each worker, found by opening connections until every worker has one."""

    def __init__(self, server: Server) -> None:
        self.clients: list[httpx.Client] = []
        served: set[int] = set()
        workers = worker_ids(server)
        while len(served) < len(workers):
            client = httpx.Client(base_url=server.url, timeout=30)
            before = {worker: _connections(worker) for worker in workers}
            client.get("/healthz")
            (worker,) = (worker for worker in workers if _connections(worker) > before[worker])
            if worker in served:
                client.close()
                wait_until(lambda worker=worker, before=before: _connections(worker) == before[worker])
            else:
                served.add(worker)
                self.clients.append(client)

    def __enter__(self) -> list[httpx.Client]:
        return self.clients

    def __exit__(self, *_: object) -> None:
        for client in self.clients:
            client.close()


def _connections(worker: int) -> int:
    """Return how many sockets a worker has open."""
    descriptors = Path(f"/proc/{worker}/fd")
    links = []
    for each in os.listdir(descriptors):
        try:
            links.append(os.readlink(descriptors / each))
        except FileNotFoundError:  # closed meanwhile
            continue
    return sum(link.startswith("socket:") for link in links)


def create(client: httpx.Client, names: list[str] = FIVE) -> str:
    images = [("images", (name, png(name), "image/png")) for name in names]
    response = client.post("/tasks", data={"labels": names}, files=images)
    assert response.status_code == 201, response.text
    return str(response.json()["task_id"])


def ask(client: httpx.Client, task_id: str, name: str = "ring") -> httpx.Response:
    return client.post(f"/tasks/{task_id}/predict", files=[("images", ("q", png(name, 70), "image/png"))])


def test_a_change_at_one_worker_is_known_to_all_at_once(several: Server) -> None:
    with ClientOfEach(several) as clients:
        first, *others = clients
        task_id = create(first, FIVE[:3])
        for client in clients:
            for _ in range(2):  # the second time from its own memory
                assert ask(client, task_id).json()["predictions"][0]["label"] == "ring"
        new = FIVE[3]
        more = [("images", (new, png(new, seed), "image/png")) for seed in (1, 2)]
        assert others[0].post(f"/tasks/{task_id}/support", data={"labels": [new] * 2}, files=more).status_code == 200
        for client in clients:
            for _ in range(2):
                assert ask(client, task_id, new).json()["predictions"][0]["label"] == new
        assert others[1].patch(f"/tasks/{task_id}", json={"name": "another"}).status_code == 200
        assert [client.get(f"/tasks/{task_id}").json()["name"] for client in clients] == ["another"] * WORKERS
        assert first.delete(f"/tasks/{task_id}").status_code == 204
        assert [ask(client, task_id).status_code for client in clients] == [404] * WORKERS


def test_workers_count_together(several: Server) -> None:
    with ClientOfEach(several) as clients:
        tasks = [create(client) for client in clients]
        for client in clients:
            for task_id in tasks:
                assert ask(client, task_id).status_code == 200

        def values(client: httpx.Client) -> dict[str, float]:
            families = text_string_to_metric_families(client.get("/metrics").text)
            return {
                sample.name: sample.value
                for family in families
                for sample in family.samples
                if sample.labels.get("result") != "hit"
                and sample.name
                in ("leo_tasks_created_total", "leo_confidence_count", "leo_tasks_alive", "leo_cache_tasks")
            }

        expected = {"leo_tasks_created_total": 3, "leo_confidence_count": 9, "leo_tasks_alive": 3, "leo_cache_tasks": 9}
        for client in clients:
            wait_until(lambda client=client: values(client) == expected)
    killed, *_ = worker_ids(several)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: len(worker_ids(several)) == WORKERS and killed not in worker_ids(several))
    with httpx.Client(base_url=several.url) as client:
        after = values(client)
    assert after["leo_tasks_created_total"] == 3  # what the killed worker counted stays counted,
    assert after["leo_cache_tasks"] == 6  # what it held is gone
    mapped = Path(f"/proc/{worker_ids(several)[0]}/maps").read_text().split()
    (folder,) = {Path(name).parent for name in mapped if name.endswith(".db")}
    counting = {file.name.rpartition("_")[2] for file in folder.glob("*.db")}
    assert "ended.db" in counting  # and not in a file of the killed worker's own
    assert f"{killed}.db" not in counting


def test_a_killed_worker_is_replaced_and_loses_nothing(several: Server) -> None:
    with httpx.Client(base_url=several.url) as client:
        tasks = [create(client) for _ in range(3)]
    for killed in worker_ids(several):
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda killed=killed: killed not in worker_ids(several) and len(worker_ids(several)) == WORKERS)
        for task_id in tasks:
            with httpx.Client(base_url=several.url, timeout=30) as client:  # a client that comes meanwhile waits
                assert ask(client, task_id).json()["predictions"][0]["label"] == "ring"
    assert several.log.read_text().count("starting it again") == WORKERS


def test_sigterm_lets_workers_finish_and_ends_them_all(several: Server) -> None:
    workers = worker_ids(several)
    assert len(workers) == WORKERS
    with ClientOfEach(several) as clients, concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        task_id = create(clients[0])
        stopping = threading.Event()

        def go_on(client: httpx.Client) -> int:
            answered = 0
            try:
                while True:
                    assert ask(client, task_id).status_code == 200
                    answered += 1
                    if answered == 5:
                        stopping.set()
            except httpx.TransportError:  # between two requests, never within one
                return answered

        asking = [pool.submit(go_on, client) for client in clients]
        assert stopping.wait(30)
        assert several.stop(signal.SIGTERM) == 0
        assert sum(each.result() for each in asking) >= 5
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_workers_end_with_the_process_that_started_them(several: Server) -> None:
    workers = worker_ids(several)
    assert len(workers) == WORKERS
    several.stop(signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    several.start()  # the port is free again


def test_a_reload_reaches_all_workers(several: Server) -> None:
    for other in (signal.SIGUSR1, signal.SIGUSR2):  # which mean nothing here, and by default end a process
        several.send(other)
    several.send(signal.SIGHUP)
    wait_until(lambda: several.log.read_text().count("no model has changed") == WORKERS)


def ready_workers(server: Server) -> int:
    return int(httpx.get(f"{server.url}/readyz", timeout=30).json().get("workers_ready", 0))


def break_weights(folder: Path) -> Callable[[], object]:
    weights = folder / "weights"
    weights.rename(folder / "elsewhere")
    return lambda: (folder / "elsewhere").rename(weights)


def break_file(file: Path) -> Callable[[], object]:
    """Leave half of a file, as a copy does that was interrupted; return how to mend it."""
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    return lambda: file.write_bytes(whole)


def test_the_service_is_ready_once_every_worker_is(tmp_path: Path) -> None:
    """Connections are spread over all workers, so a client of one that still loads its models would wait."""
    server = Server(tmp_path / "data", LEO_WORKERS=str(WORKERS))
    try:
        server.start()  # until the first 200
        assert ready_workers(server) == WORKERS
        killed, *_ = worker_ids(server)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: killed not in worker_ids(server))
        assert httpx.get(f"{server.url}/readyz", timeout=30).status_code == 200  # one that is replaced changes nothing
    finally:
        server.close()


@pytest.mark.parametrize(
    "break_something",
    [
        break_weights,
        lambda folder: break_file(folder / "weights" / "model.safetensors"),
        lambda folder: break_file(folder / "weights" / "config.json"),
        lambda folder: break_file(folder / "keys.json"),
    ],
    ids=["no weights", "half of the weights", "half of their configuration", "half of the key file"],
)
def test_healthy_workers_serve_on_while_one_cannot_start(
    tmp_path: Path, break_something: Callable[[Path], Callable[[], object]]
) -> None:
    """A worker dies while something it needs is broken. It is started again, ever less often, until it can start."""
    weights = Path(shutil.copytree(PROJECT / "weights" / "omniglot", tmp_path / "weights"))
    stored, presented = new_key("someone", "someone", ["read", "write", "metrics"])
    write_keys(tmp_path / "keys.json", KeyFile(keys=[stored]))
    server = Server(
        tmp_path / "data",
        LEO_WORKERS="2",
        LEO_WEIGHTS=str(weights),
        LEO_KEYS_FILE=str(tmp_path / "keys.json"),
    )
    key = {"X-API-Key": presented}
    try:
        server.start()
        wait_until(lambda: ready_workers(server) == 2)
        with httpx.Client(base_url=server.url, headers=key) as client:
            task_id = create(client)
        mend = break_something(tmp_path)
        killed, healthy = worker_ids(server)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: server.log.read_text().count("starting it again in") >= 2)
        assert ready_workers(server) == 1
        assert "leo_workers_ready 1.0" in httpx.get(f"{server.url}/metrics", headers=key).text
        for _ in range(20):
            with httpx.Client(base_url=server.url, headers=key, timeout=30) as client:
                assert ask(client, task_id).status_code == 200
        mend()
        wait_until(lambda: ready_workers(server) == 2)
        assert healthy in worker_ids(server)
        assert server.stop(signal.SIGTERM) == 0
    finally:
        server.close()


def test_a_service_whose_workers_all_keep_dying_ends(tmp_path: Path) -> None:
    weights = Path(shutil.copytree(PROJECT / "weights" / "omniglot", tmp_path / "weights"))
    server = Server(tmp_path / "data", LEO_WORKERS="2", LEO_WEIGHTS=str(weights))
    try:
        server.start()
        wait_until(lambda: ready_workers(server) == 2)
        shutil.rmtree(weights)
        for worker in worker_ids(server):
            os.kill(worker, signal.SIGKILL)
        assert server.wait_for_exit() == 1
    finally:
        server.close()


def test_a_reload_that_comes_while_a_worker_starts_reaches_it_too(several: Server) -> None:
    for _ in range(3):
        already = several.log.read_text().count("no model has changed")
        killed, *_ = worker_ids(several)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda killed=killed: killed not in worker_ids(several))
        several.send(signal.SIGHUP)
        wait_until(lambda already=already: several.log.read_text().count("no model has changed") >= already + WORKERS)


def test_a_folder_without_a_model_is_reported_once(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", LEO_WORKERS=str(WORKERS), LEO_WEIGHTS=str(tmp_path))
    server.start(wait=False)
    assert server.wait_for_exit() == 1
    log = server.log.read_text()
    assert log.count("is missing") == 1
    assert "Traceback" not in log


def test_a_keys_rate_holds_over_all_workers(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key, presented = new_key("slow", "me", ["read"], per_second=0.02)
    write_keys(path, KeyFile(keys=[key]))
    server = Server(tmp_path / "data", LEO_WORKERS="2", LEO_KEYS_FILE=str(path))
    try:
        server.start()
        wait_for_workers(server, 2)
        with ClientOfEach(server) as clients:
            statuses = [client.get("/tasks", headers={"X-API-Key": presented}).status_code for client in clients]
        assert statuses == [200, 429]
    finally:
        server.close()


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Server]:
    """A running server of two workers, which may hang no longer than eight seconds."""
    server = Server(tmp_path / "data", LEO_WORKERS="2", LEO_DEVICE_DEADLINE="3")
    try:
        server.start()
        wait_for_workers(server, 2)
        yield server
    finally:
        server.close()


def test_a_worker_that_hangs_is_replaced_although_it_cannot_say_so(impatient: Server) -> None:
    task_id, hung = impatient.create_task(), worker_ids(impatient)[0]
    os.kill(hung, signal.SIGSTOP)  # as stopped as one in which something holds the interpreter
    wait_until(lambda: hung not in worker_ids(impatient) and ready_workers(impatient) == 2)
    assert "has hung for over 8 s: killing it" in impatient.log.read_text()
    assert all(impatient.predict_ring(task_id).status_code == 200 for _ in range(8))


def test_a_paused_service_goes_on_with_the_same_workers(impatient: Server) -> None:
    workers = worker_ids(impatient)
    processes = [*workers, impatient.process_id]
    for each in processes:
        os.kill(each, signal.SIGSTOP)
    threading.Event().wait(10)  # longer than a worker may hang; nothing runs meanwhile that could be waited for
    for each in processes:
        os.kill(each, signal.SIGCONT)
    threading.Event().wait(2)  # in which the parent looks twice
    assert worker_ids(impatient) == workers
    assert ready_workers(impatient) == 2


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_service_on_the_same_tasks_is_refused(tmp_path: Path, workers: str) -> None:
    first = Server(tmp_path / "data", LEO_WORKERS=workers)
    second = Server(tmp_path / "data", LEO_WORKERS=workers)
    second.log = tmp_path / "log"
    try:
        first.start()
        task_id = first.create_task()
        second.start(wait=False)
        assert second.wait_for_exit() == 1
        assert "another service runs on the tasks in" in second.log.read_text()
        assert "Traceback" not in second.log.read_text()
        assert first.predict_ring(task_id).status_code == 200
        first.stop(signal.SIGKILL)
        first.start()  # the folder is free as soon as the killed service's processes have ended
        assert first.predict_ring(task_id).status_code == 200
    finally:
        first.close()
        second.close()
