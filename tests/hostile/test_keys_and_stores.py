"""Keys that come and go, and stores that fail or are taken away, while a real service runs."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.http.keys import Key, KeyFile, new_key, write_keys
from tests.helpers.server import Server
from tests.helpers.workers import wait_for_workers

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
    guarded.server.send(signal.SIGHUP)


def test_a_file_from_which_the_last_key_was_removed_lets_nobody_in(guarded: Guarded) -> None:
    guarded.use(guarded.make("ann"))
    assert guarded.statuses("ann") == {200}
    guarded.use()
    assert guarded.statuses("ann") == {401}
