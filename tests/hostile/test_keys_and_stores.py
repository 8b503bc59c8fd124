"""Keys that come and go, and stores that fail or are taken away, while a real service runs."""

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from app.http.keys import Key, KeyFile, new_key, write_keys
from tests.helpers.drawn import png
from tests.helpers.problems import assert_problem
from tests.helpers.redis_server import started
from tests.helpers.server import Server
from tests.helpers.tasks import FIVE, create
from tests.helpers.waiting import wait_until
from tests.helpers.workers import wait_for_workers, worker_ids

# -- keys ------------------------------------------------------------------------------------


class Guarded:
    """A server of two workers whose key file the test rewrites."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "keys.json"
        self._secrets: dict[str, str] = {}
        self._write([self.make("ann")])
        self.server = Server(folder / "data", LEO_WORKERS="2", LEO_KEYS_FILE=str(self.file))

    def make(self, name: str, per_second: float | None = None) -> Key:
        key, self._secrets[name] = new_key(name, name, ["read", "write"], per_second=per_second)
        return key

    def _write(self, keys: list[Key]) -> None:
        write_keys(self.file, KeyFile(keys=keys))

    def use(self, *keys: Key) -> None:
        """Replace the file. Every request looks at it, so that it counts from the next one on."""
        self._write(list(keys))

    def status(self, name: str) -> int:
        """Ask on a new connection, so that either worker may answer."""
        return httpx.get(f"{self.server.url}/tasks", headers={"X-API-Key": self._secrets[name]}, timeout=30).status_code

    def statuses(self, name: str, times: int = 12) -> set[int]:
        return {self.status(name) for _ in range(times)}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    service = Guarded(tmp_path_factory.mktemp("guarded"))
    try:
        service.server.start()
        wait_for_workers(service.server, 2)
        yield service
    finally:
        service.server.close()


def test_a_removed_keys_debt_passes_to_no_other_key(guarded: Guarded) -> None:
    keys = [guarded.make(f"slow-{n}", per_second=0.01) for n in range(4)]
    guarded.use(*keys)
    assert guarded.status("slow-0") == 200
    assert guarded.status("slow-0") == 429
    guarded.use(*keys[1:])
    assert guarded.status("slow-0") == 401
    assert [guarded.status(f"slow-{n}") for n in (1, 2, 3)] == [200] * 3


def test_a_keys_debt_stays_its_own_when_the_file_is_ordered_anew(guarded: Guarded) -> None:
    one, other = guarded.make("one", per_second=0.01), guarded.make("other", per_second=0.01)
    guarded.use(one, other)
    assert guarded.status("one") == 200
    guarded.use(*(guarded.make(f"before-{n}", per_second=0.01) for n in range(3)), other, one)
    assert guarded.statuses("one", 4) == {429}
    assert guarded.status("other") == 200


def test_a_key_that_comes_back_has_no_new_bucket(guarded: Guarded) -> None:
    slow, ann = guarded.make("slow", per_second=0.01), guarded.make("ann")
    guarded.use(slow, ann)
    assert guarded.status("slow") == 200
    guarded.use(ann)
    assert guarded.status("slow") == 401
    guarded.use(slow, ann)
    assert guarded.statuses("slow", 4) == {429}


@pytest.mark.parametrize("fault", ["empty", "no list", "half", "one key under two names", "one name of two keys"])
def test_a_key_file_that_makes_no_sense_changes_nothing(guarded: Guarded, fault: str) -> None:
    ann = guarded.make("ann")
    guarded.use(ann)
    assert guarded.statuses("ann") == {200}
    whole = guarded.file.read_text()
    second = {
        "one key under two names": ann.model_copy(update={"name": "ann-again", "owner": "another"}),
        "one name of two keys": guarded.make("bob").model_copy(update={"name": "ann"}),
    }
    content = {"empty": "", "no list": "{}", "half": whole[: len(whole) // 2]}.get(fault)
    if content is None:
        content = '{"keys": [' + ",".join(key.model_dump_json() for key in (ann, second[fault])) + "]}"
    said = guarded.server.log.read_text().count("the keys read last stay in force")
    guarded.file.write_text(content)
    assert guarded.statuses("ann") == {200}
    assert guarded.server.log.read_text().count("the keys read last stay in force") > said


def test_a_file_from_which_the_last_key_was_removed_lets_nobody_in(guarded: Guarded) -> None:
    guarded.use(guarded.make("ann"))
    assert guarded.statuses("ann") == {200}
    guarded.use()
    assert guarded.statuses("ann") == {401}


# -- the embedded store ----------------------------------------------------------------------


class Embedded:
    """A server of two workers with an embedded store."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.file = self.data / "tasks.sqlite3"
        self.server = Server(self.data, LEO_WORKERS="2")
        self.server.log = folder / "log"  # stays where it is if the test moves the folder
        self.server.start()
        wait_for_workers(self.server, 2)

    def create(self) -> httpx.Response:
        """Create a task on a new connection, so that either worker may do it."""
        with httpx.Client(base_url=self.server.url, timeout=30) as client:
            return create(client)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.server.url}{path}", timeout=30)

    def delete(self, task_id: str) -> int:
        return httpx.delete(f"{self.server.url}/tasks/{task_id}", timeout=30).status_code


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Embedded]:
    service = Embedded(tmp_path)
    try:
        yield service
    finally:
        service.server.close()


def write_records(file: Path, change: Callable[[str, bytes], bytes]) -> None:
    """Replace every stored record by what a function makes of its id and its bytes."""
    with sqlite3.connect(file, timeout=30) as connection:
        for task_id, packed in connection.execute("SELECT task_id, record FROM tasks").fetchall():
            connection.execute("UPDATE tasks SET record = ? WHERE task_id = ?", (change(task_id, packed), task_id))
    connection.close()


@pytest.mark.parametrize("loss", ["database", "log", "folder", "copy"])
def test_a_store_that_was_taken_away_acknowledges_nothing(embedded: Embedded, loss: str) -> None:
    kept = embedded.create().json()["task_id"]
    if loss == "folder":
        embedded.data.rename(embedded.data.with_name("elsewhere"))
    elif loss == "copy":
        shutil.copy(embedded.file, embedded.data / "copy")
        (embedded.data / "copy").replace(embedded.file)
    else:
        (embedded.data / ("tasks.sqlite3" if loss == "database" else "tasks.sqlite3-wal")).unlink()
    for _ in range(8):  # both workers
        refused = embedded.create()
        assert_problem(refused, 503, "restart the service")
        assert int(refused.headers["retry-after"]) > 1
        assert_problem(embedded.get("/readyz"), 503, "restart the service")
        assert embedded.get("/healthz").status_code == 200
        assert embedded.server.predict_ring(kept).json()["predictions"][0]["label"] == "ring"
    assert "restart the service" in embedded.server.log.read_text()
    assert "Traceback" not in embedded.server.log.read_text()
    if loss == "folder":
        embedded.data.with_name("elsewhere").rename(embedded.data)
        assert embedded.get("/readyz").status_code == 200
        kept = embedded.create().json()["task_id"]
    assert embedded.server.stop(signal.SIGTERM) == 0
    embedded.server.start()
    acknowledged = embedded.create()
    assert acknowledged.status_code == 201
    listed = {task["task_id"] for task in embedded.get("/tasks").json()["tasks"]}
    assert acknowledged.json()["task_id"] in listed
    if loss in ("folder", "log"):  # a clean stop writes the log into the database
        assert kept in listed


@pytest.mark.parametrize("name", ["tasks.sqlite3", "tasks.sqlite3-wal", "tasks.sqlite3-shm"])
def test_a_worker_that_starts_after_a_file_was_taken_away_makes_no_new_one(embedded: Embedded, name: str) -> None:
    """SQLite would make the file anew, and two workers with different ones lose each other's tasks."""
    kept = embedded.create().json()["task_id"]
    (embedded.data / name).unlink()
    killed, *_ = worker_ids(embedded.server)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: embedded.server.log.read_text().count(f"{name} is gone") >= 2)
    assert not (embedded.data / name).exists()
    for _ in range(8):
        assert_problem(embedded.create(), 503, "is gone")
    assert "Traceback" not in embedded.server.log.read_text()
    assert embedded.server.stop(signal.SIGTERM) == 0
    if name != "tasks.sqlite3":
        embedded.server.start()
        assert embedded.get(f"/tasks/{kept}").status_code == 200
        assert embedded.create().status_code == 201


def test_one_unreadable_task_hides_no_other(embedded: Embedded) -> None:
    newer, damaged, good = (embedded.create().json()["task_id"] for _ in range(3))

    def change(task_id: str, packed: bytes) -> bytes:
        return {newer: packed.replace(b'"schema":1', b'"schema":9'), damaged: packed[:100]}.get(task_id, packed)

    write_records(embedded.file, change)
    assert embedded.server.stop(signal.SIGTERM) == 0
    embedded.server.start()
    page = embedded.get("/tasks").json()
    assert [task["task_id"] for task in page["tasks"]] == [good]
    reasons = {each["task_id"]: each["reason"] for each in page["unreadable"]}
    assert "is a record of schema 9, this program's is 2" in reasons[newer]
    assert "is damaged" in reasons[damaged]
    assert_problem(embedded.get(f"/tasks/{newer}"), 409, newer, "schema 9", "same version everywhere")
    assert_problem(embedded.server.predict_ring(newer), 409, "schema 9")
    assert_problem(embedded.get(f"/tasks/{damaged}"), 500, damaged, "damaged", "create it again")
    assert_problem(embedded.server.predict_ring(damaged), 500, "damaged")
    assert embedded.server.predict_ring(good).status_code == 200
    assert embedded.get("/tasks?name=nothing").json()["unreadable"] == page["unreadable"]
    assert [embedded.delete(task_id) for task_id in (newer, damaged)] == [204, 204]
    assert embedded.get("/tasks").json()["unreadable"] == []


def test_a_store_locked_by_another_program_refuses_and_goes_on(embedded: Embedded) -> None:
    kept = embedded.create().json()["task_id"]
    other = sqlite3.connect(embedded.file, isolation_level=None, timeout=30)
    other.execute("BEGIN IMMEDIATE")
    assert_problem(embedded.create(), 503, "locked", "try again")
    assert embedded.get(f"/tasks/{kept}").status_code == 200
    other.execute("ROLLBACK")
    other.close()
    assert embedded.create().status_code == 201


# -- Redis -----------------------------------------------------------------------------------


class Shared:
    """A Redis of the test's own, and two replicas that share it."""

    def __init__(self, folder: Path) -> None:
        (folder / "redis").mkdir()
        self.redis = started(folder / "redis")
        self.servers = [Server(folder / name, LEO_STORE_URL=self.redis.url) for name in ("one", "other")]
        for server in self.servers:
            server.start(wait=False)
        for server in self.servers:
            server.wait_until_ready()
        self.client = Redis.from_url(self.redis.url)

    def create(self) -> httpx.Response:
        with httpx.Client(base_url=self.servers[0].url, timeout=30) as client:
            return create(client)

    def close(self) -> None:
        self.client.close()
        for server in self.servers:
            server.close()
        self.redis.kill()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    service = Shared(tmp_path_factory.mktemp("shared"))
    yield service
    service.close()


def test_a_full_redis_still_deletes_lists_and_counts(shared: Shared) -> None:
    made = [shared.create().json()["task_id"] for _ in range(3)]
    url = shared.servers[1].url
    shared.client.config_set("maxmemory", "1mb")
    try:
        refused = assert_problem(shared.create(), 503, "maxmemory", "delete tasks")
        assert "script" not in refused["detail"]
        assert httpx.get(f"{url}/tasks/{made[0]}").status_code == 200
        assert {task["task_id"] for task in httpx.get(f"{url}/tasks").json()["tasks"]} >= set(made)
        assert "leo_tasks_alive nan" not in httpx.get(f"{url}/metrics").text.lower()
        assert [httpx.delete(f"{url}/tasks/{task_id}").status_code for task_id in made] == [204] * 3
        assert [httpx.delete(f"{url}/tasks/{task_id}").status_code for task_id in made] == [404] * 3
    finally:
        shared.client.config_set("maxmemory", "0")
    assert shared.create().status_code == 201


def test_a_redis_that_was_emptied_forgets_tasks_in_every_cache(shared: Shared) -> None:
    task_id = shared.create().json()["task_id"]
    assert [server.predict_ring(task_id).status_code for server in shared.servers] == [200, 200]
    shared.client.flushall()
    shared.client.script_flush()
    assert [server.predict_ring(task_id).status_code for server in shared.servers] == [404, 404]
    again = shared.create()
    assert again.status_code == 201
    assert shared.servers[1].predict_ring(again.json()["task_id"]).status_code == 200


@pytest.mark.parametrize(
    ("spoil", "mend", "said"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "replica"),
        (("CONFIG", "SET", "requirepass", "secret"), ("CONFIG", "SET", "requirepass", ""), "into LEO_STORE_URL"),
        (("CONFIG", "SET", "min-replicas-to-write", "3"), ("CONFIG", "SET", "min-replicas-to-write", "0"), "replicas"),
        (("SET", "leo:{}:tasks", "not a sorted set"), ("DEL", "leo:{}:tasks"), "begins with leo:"),
    ],
    ids=["read-only", "password", "replicas away", "wrong type"],
)
def test_a_redis_that_refuses_is_named_and_used_again_when_it_is_mended(
    shared: Shared, spoil: tuple[str, ...], mend: tuple[str, ...], said: str
) -> None:
    shared.client.flushall()
    shared.client.execute_command(*spoil)
    try:
        if spoil[0] == "CONFIG":
            shared.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        refused = shared.create()
        assert_problem(refused, 503, "Redis", said)
        assert "secret" not in refused.text
        assert "script" not in refused.text
        assert [httpx.get(f"{server.url}/readyz").status_code for server in shared.servers] == [200, 200]
    finally:
        shared.client.execute_command(*mend)
    assert shared.create().status_code == 201


def test_a_backup_lacks_nothing_because_a_key_in_redis_has_another_type(shared: Shared) -> None:
    task_id = shared.create().json()["task_id"]
    with httpx.Client(base_url=shared.servers[0].url, timeout=30) as client:
        for kind in ("support", "task"):
            key = f"leo:{{}}:{kind}:{task_id}"
            shared.client.rename(key, "saved")
            shared.client.hset(key, "a", "b")
            assert_problem(client.get(f"/tasks/{task_id}/export.zip"), 503, "Redis", "begins with leo:")
            assert_problem(client.get(f"/tasks/{task_id}/support"), 503, "Redis", "begins with leo:")
            named = [each["task_id"] for each in client.get("/tasks").json()["unreadable"]]
            assert named == ([task_id] if kind == "task" else [])
            shared.client.rename("saved", key)
        assert client.get(f"/tasks/{task_id}/export.zip").status_code == 200


def test_the_idempotency_key_of_a_deleted_task_makes_a_new_one(shared: Shared) -> None:
    once = {"Idempotency-Key": "again"}
    one, other = (httpx.Client(base_url=server.url, headers=once, timeout=30) for server in shared.servers)
    with one, other:
        first = create(one).json()["task_id"]
        assert create(other).json()["task_id"] == first
        assert other.delete(f"/tasks/{first}").status_code == 204
        second = create(one)
        assert second.status_code == 201
        assert second.json()["task_id"] != first
        assert create(other).json()["task_id"] == second.json()["task_id"]


def test_keys_of_calls_do_not_fill_a_redis_that_holds_no_task(shared: Shared) -> None:
    """Each of 40 tasks of 50 classes is deleted, and one that stays is changed 40 times."""

    def held() -> int:
        return sum(shared.client.memory_usage(key, samples=0) for key in shared.client.scan_iter())

    labels = [f"{n:03d}{97 * 'x'}" for n in range(50)]
    images = [("images", (f"{n}.png", png(FIVE[n % 5], n))) for n in range(50)]
    with httpx.Client(base_url=shared.servers[0].url, timeout=60) as client:
        kept = create(client).json()["task_id"]
        before = held()
        for n in range(40):
            once = {"Idempotency-Key": f"filled-{n}"}
            made = client.post("/tasks", data={"labels": labels}, files=images, headers=once)
            assert client.delete(f"/tasks/{made.json()['task_id']}").status_code == 204
            assert client.patch(f"/tasks/{kept}", json={"name": f"n{n}"}, headers=once).status_code == 200
        grown = held() - before
    assert grown < 40_000  # bytes; it was 20 KB a task, and 2 KB a change


def test_a_change_that_a_redis_lost_is_not_answered_by(shared: Shared) -> None:
    """A Redis that lost its last writes counts their revisions again, for other changes."""
    url, other_url = (server.url for server in shared.servers)
    task_id = shared.create().json()["task_id"]
    kept = {key: shared.client.dump(key) for key in shared.client.scan_iter() if task_id.encode() in key}

    def relabel(label: str) -> None:
        for example in (0, 1):
            changed = httpx.patch(f"{url}/tasks/{task_id}/support/{example}", json={"label": label}, timeout=30)
            assert changed.status_code == 200, changed.text

    def answered() -> set[str]:
        image = {"images": ("a.png", png(FIVE[0], 1))}
        asked = [httpx.post(f"{each}/tasks/{task_id}/predict", files=image, timeout=30) for each in (url, other_url)]
        return {answer.json()["predictions"][0]["label"] for answer in asked}

    relabel("lost")
    assert answered() == {"lost"}  # both have cached revision 2
    for key, value in kept.items():
        shared.client.restore(key, 0, value, replace=True)
    relabel("new")
    assert httpx.get(f"{other_url}/tasks/{task_id}").json()["revision"] == 2
    assert answered() == {"new"}
    assert answered() == {"new"}
