"""API keys over HTTP: authentication, owners, rights and limits; and the `leo keys` command."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from app.cli import app
from app.http.keys import KeyFileError, Keys, new_key, read_keys
from app.http.rates import Rates
from app.settings import Settings
from tests.helpers.drawn import png
from tests.helpers.models import WEIGHTS
from tests.helpers.problems import assert_problem
from tests.helpers.serving import serving
from tests.helpers.tasks import create, files, predict


def leo_keys(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["keys", *(str(argument) for argument in arguments)])
    assert result.exit_code == status, f"{result.output}\n{result.exception!r}"
    return result.output


def add(file: Path, name: str, *options: object) -> str:
    """Make a key with the command, and return the key itself."""
    found = re.findall(r"^leo_\S+$", leo_keys("add", name, "--file", file, *options), flags=re.MULTILINE)
    assert len(found) == 1
    return str(found[0])


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


class Guarded:
    """A service with keys: its key file, the keys by name, and clients that send them."""

    def __init__(self, file: Path, url: str, keys: dict[str, str]) -> None:
        self.file, self.url, self.keys = file, url, keys
        self._open: list[httpx.Client] = []

    def client(self, name: str | None = None, **headers: str) -> httpx.Client:
        given = bearer(self.keys[name]) if name else {}
        self._open.append(httpx.Client(base_url=self.url, headers=given | headers, timeout=60))
        return self._open[-1]

    def close(self) -> None:
        for client in self._open:
            client.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    file = folder / "keys" / "keys.json"
    keys = {
        "ann": add(file, "ann"),
        "ann2": add(file, "ann2", "--owner", "ann"),
        "bob": add(file, "bob"),
        "reader": add(file, "reader", "--owner", "ann", "--right", "read"),
        "monitor": add(file, "monitor", "--right", "metrics"),
        "few": add(file, "few", "--max-tasks", 2),
        "slow": add(file, "slow", "--per-second", 0.01),
        "quick": add(file, "quick", "--per-second", 3.5),
        "rare": add(file, "rare", "--per-second", 0.001),
    }
    settings = Settings(data_dir=folder, weights=WEIGHTS / "omniglot", device="cpu", keys_file=file)
    with serving(settings) as client:
        service = Guarded(file, str(client.base_url), keys)
        yield service
        service.close()


def test_only_hashes_are_kept(guarded: Guarded) -> None:
    kept = guarded.file.read_text()
    for key in guarded.keys.values():
        assert key not in kept
        assert key.split("_", 2)[2] not in kept
        assert key not in leo_keys("list", "--file", guarded.file)
    hashes = [(key["salt"], key["hash"]) for key in json.loads(kept)["keys"]]
    assert len(set(hashes)) == len(guarded.keys)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("leo_00000000_" + 43 * "A"),
        {"Authorization": "Bearer"},
        bearer("leo_é"),
        {"Authorization": "Basic bGVvOmxlbw=="},
        {"X-API-Key": "x" * 10_000},
    ],
)
def test_no_key_or_a_wrong_one(guarded: Guarded, headers: dict[str, str]) -> None:
    raw = {name: value.encode() for name, value in headers.items()}
    for path in ("/tasks", "/tasks/x", "/models", "/metrics", "/nowhere", "/TASKS", "//tasks"):
        response = httpx.get(f"{guarded.url}{path}", headers=raw)
        assert_problem(response, 401, "Authorization: Bearer")
        assert response.headers["www-authenticate"] == "Bearer"
    for open_path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert httpx.get(f"{guarded.url}{open_path}", headers=raw).status_code == 200


def test_a_changed_key_of_the_right_id_is_wrong(guarded: Guarded) -> None:
    key = guarded.keys["ann"]
    other = key[:-1] + ("A" if key[-1] != "A" else "B")
    assert_problem(httpx.get(f"{guarded.url}/tasks", headers=bearer(other)), 401, "not known")
    assert httpx.get(f"{guarded.url}/tasks", headers={"X-API-Key": key}).status_code == 200


def test_owners_see_their_own_tasks_alone(guarded: Guarded) -> None:
    ann, second, bob = guarded.client("ann"), guarded.client("ann2"), guarded.client("bob")
    task_id = create(ann).json()["task_id"]
    query = files([png("tee", 3)])
    nothing = "0" * 24
    for call in (
        lambda who, which: who.get(f"/tasks/{which}"),
        lambda who, which: who.get(f"/tasks/{which}/parameters"),
        lambda who, which: who.post(f"/tasks/{which}/predict", files=query),
        lambda who, which: who.delete(f"/tasks/{which}"),
    ):
        theirs, none = call(bob, task_id), call(bob, nothing)
        assert_problem(theirs, 404, "no such task")
        assert theirs.json() == none.json()  # another owner's task looks like one that does not exist
    assert bob.get("/tasks").json()["tasks"] == []
    assert predict(second, task_id, [png("tee", 3)])[0]["label"] == "tee"  # the same owner's other key
    assert second.delete(f"/tasks/{task_id}").status_code == 204


def test_all_owners_tasks_are_counted_together(guarded: Guarded) -> None:
    def alive() -> int:
        return int(re.findall(r"^leo_tasks_alive (\S+)\.0$", guarded.client("monitor").get("/metrics").text, re.M)[0])

    before = alive()
    for name in ("ann", "ann2", "bob"):
        create(guarded.client(name))
    assert alive() == before + 3


def test_rights(guarded: Guarded) -> None:
    task_id = create(guarded.client("ann")).json()["task_id"]
    reader, monitor = guarded.client("reader"), guarded.client("monitor")
    assert predict(reader, task_id, [png("ring", 3)])[0]["label"] == "ring"
    assert reader.get(f"/tasks/{task_id}").status_code == 200
    assert_problem(create(reader), 403, "reader may read", "needs write")
    assert_problem(reader.delete(f"/tasks/{task_id}"), 403)
    assert_problem(reader.get("/metrics"), 403, "needs metrics")
    assert_problem(monitor.get("/tasks"), 403)
    assert monitor.get("/metrics").status_code in (200, 404)  # allowed; what it answers is not this test's


def test_limits_on_tasks_and_rate(guarded: Guarded) -> None:
    few = guarded.client("few")
    first = create(few).json()["task_id"]
    assert create(few).status_code == 201
    refused = create(few)
    assert_problem(refused, 429, "may have 2 tasks")
    assert int(refused.headers["retry-after"]) > 0
    assert few.delete(f"/tasks/{first}").status_code == 204
    assert create(few).status_code == 201
    slow = guarded.client("slow")
    assert slow.get("/tasks").status_code == 200
    refused = slow.get("/tasks")
    assert_problem(refused, 429, "0.01 requests a second")
    assert 90 < int(refused.headers["retry-after"]) <= 100
    assert guarded.client("ann").get("/tasks").status_code == 200  # another key's limit is its own


def test_a_changed_file_counts_at_once_and_a_broken_one_does_not(guarded: Guarded) -> None:
    late = add(guarded.file, "late")
    client = guarded.client(None, **bearer(late))
    assert client.get("/tasks").status_code == 200
    leo_keys("remove", "late", "--file", guarded.file)
    assert client.get("/tasks").status_code == 401
    whole = guarded.file.read_text()
    try:
        guarded.file.write_text(whole[: len(whole) // 2])
        assert guarded.client("ann").get("/tasks").status_code == 200
        guarded.file.unlink()
        assert guarded.client("ann").get("/tasks").status_code == 200
    finally:
        guarded.file.write_text(whole)
    assert guarded.client("ann").get("/tasks").status_code == 200


@pytest.mark.parametrize("declared", ["Content-Length: 1073741824", "Transfer-Encoding: chunked"])
def test_a_gigabyte_without_a_key_is_refused_unread(guarded: Guarded, declared: str) -> None:
    host, port = guarded.url.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = f"POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n{declared}\r\n\r\n"
        connection.sendall(head.encode())
        # The answer comes before any byte of the body was sent.
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")
        sent, stop = 0, threading.Event()

        def flood() -> None:
            nonlocal sent
            block = b"x" * 65536
            if "chunked" in declared:
                block = b"10000\r\n" + block + b"\r\n"
            try:
                while not stop.is_set() and sent < 2**30:
                    connection.sendall(block)
                    sent += len(block)
            except OSError:
                stop.set()

        flooding = threading.Thread(target=flood)
        flooding.start()
        flooding.join(30)
        assert stop.is_set()  # the server closed the connection


def test_security_headers_and_no_cors(guarded: Guarded) -> None:
    origin = {"Origin": "https://elsewhere.example"}
    for path, page in (("/tasks", False), ("/docs", True), ("/healthz", False)):
        headers = guarded.client("ann").get(path, headers=origin).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert ("script-src" in headers["content-security-policy"]) == page
        assert "access-control-allow-origin" not in headers
    assert guarded.client("ann").get("/tasks").headers["cache-control"] == "no-store"
    asked = httpx.options(f"{guarded.url}/tasks", headers=origin | {"Access-Control-Request-Method": "POST"})
    assert asked.status_code == 401
    assert "access-control-allow-origin" not in asked.headers


def test_what_the_command_refuses(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    add(file, "one")
    for arguments, said in (
        (("add", "one"), "there is a key called one"),
        (("add", "no blanks"), "name"),
        (("add", "two", "--right", "everything"), "rights"),
        (("add", "two", "--max-tasks", 0), "max_tasks"),
        (("remove", "two"), "no key called two"),
    ):
        assert said in leo_keys(*arguments, "--file", file, status=1)
    assert [key.name for key in read_keys(file).keys] == ["one"]
    file.write_text('{"keys": [{"name": "x"}]}')
    assert "cannot use the keys" in leo_keys("list", "--file", file, status=1)
    assert "leo keys add NAME" in leo_keys("list", "--file", tmp_path / "none", status=1)
    assert f"{tmp_path}: Is a directory" in leo_keys("add", "one", "--file", tmp_path, status=1)


def test_a_key_that_could_not_be_shown_is_not_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    command = [sys.executable, "-m", "app.cli", "keys", "add", "ann", "--file", str(file)]
    with open("/dev/full", "w") as full:  # each write to it fails as on a full disk
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "error: cannot write: No space left on device"
    assert not file.exists()


def test_a_key_is_not_made_where_standard_output_is_closed(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    command = f"exec {sys.executable} -m app.cli keys add ann --file {file} >&-"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "error: cannot write: Bad file descriptor"
    assert not file.exists()


def test_keys_that_are_changed_at_once_are_all_changed(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    add(file, "leaver")
    commands = [("add", f"key{n}") for n in range(4)] + [("remove", "leaver")]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "app.cli", "keys", *command, "--file", str(file)], stdout=subprocess.DEVNULL
        )
        for command in commands
    ]
    assert [process.wait(timeout=120) for process in running] == [0] * 5
    assert {key.name for key in read_keys(file).keys} == {f"key{n}" for n in range(4)}
    assert list(tmp_path.iterdir()) == [file]


def test_a_key_file_keeps_its_permissions_and_a_link_to_it_stays_one(tmp_path: Path) -> None:
    file, link = tmp_path / "etc" / "keys.json", tmp_path / "keys.json"
    link.symlink_to(file)
    add(link, "one")
    file.chmod(0o640)
    add(link, "leaver")
    leo_keys("remove", "leaver", "--file", link)
    assert link.is_symlink()
    assert [key.name for key in read_keys(file).keys] == ["one"]
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_service_with_no_usable_keys_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="leo keys add"):
        Keys(tmp_path / "absent.json", Rates([0], [0.0]))
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(KeyFileError, match=r"cannot use the keys in .*broken\.json"):
        Keys(tmp_path / "broken.json", Rates([0], [0.0]))


def test_a_key_matches_only_itself() -> None:
    kept, presented = new_key("a", "a", ["read"])
    other, _ = new_key("b", "b", ["read"])
    assert kept.matches(presented)
    assert not kept.matches(presented + "x")
    assert not other.matches(presented)


def test_answers_tell_what_is_left_of_a_rate_limit(guarded: Guarded) -> None:
    """In the header fields of draft-ietf-httpapi-ratelimit-headers: quota and window, remaining and seconds."""
    answers = [guarded.client("quick").get("/tasks") for _ in range(2)]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"key";q=3;w=1'}
    for answer in answers:
        assert re.fullmatch(r'"key";r=[0-3];t=1', answer.headers["ratelimit"])
    rare = guarded.client("rare")
    allowed, refused = rare.get("/tasks"), rare.get("/tasks")
    assert allowed.headers["ratelimit"] == '"key";r=0;t=1000'
    assert allowed.headers["ratelimit-policy"] == '"key";q=1;w=1000'
    assert refused.status_code == 429
    assert re.fullmatch(r'"key";r=0;t=(1000|9\d\d)', refused.headers["ratelimit"])
    assert 900 < int(refused.headers["retry-after"]) <= 1000
    assert "ratelimit" not in guarded.client("ann").get("/tasks").headers
    assert "ratelimit" not in guarded.client().get("/tasks").headers  # 401


def test_openapi_names_the_key(client: httpx.Client) -> None:
    document: dict[str, Any] = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert "401" in document["paths"]["/tasks"]["post"]["responses"]


@pytest.mark.parametrize("place", ["value", "unknown value", "unknown name", "whole entry", "broken JSON"])
def test_error_of_key_file_shows_nothing_of_its_content(place: str, tmp_path: Path) -> None:
    stored, secret = new_key("one", "one", ["read"])
    entry = stored.model_dump(exclude_none=True)
    content = {
        "value": json.dumps({"keys": [entry | {"id": secret}]}),
        "unknown value": json.dumps({"keys": [entry | {"key": secret}]}),
        "unknown name": json.dumps({"keys": [entry | {secret: "one"}]}),
        "whole entry": json.dumps({"keys": [{"hash": stored.hash, "salt": stored.salt}, secret]}),
        "broken JSON": json.dumps({"keys": [entry, secret]})[:-2],
    }[place]
    file = tmp_path / "keys.json"
    file.write_text(content)
    with pytest.raises(KeyFileError, match="cannot use the keys in") as caught:
        read_keys(file)
    message = str(caught.value)
    assert not any(hidden in message for hidden in (secret, secret[-20:], stored.salt, stored.hash[:20], "input_value"))
    assert "https://" not in message


@pytest.mark.parametrize("per_second", [5e-324, 1e-309, 1e-6, 1e7, 1e308])
def test_a_rate_that_no_answer_could_tell_is_refused(per_second: float, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    assert "per_second" in leo_keys("add", "odd", "--per-second", per_second, "--file", file, status=1)
    stored, _ = new_key("odd", "odd", ["read"])
    file.write_text(json.dumps({"keys": [stored.model_dump(exclude_none=True) | {"per_second": per_second}]}))
    with pytest.raises(KeyFileError, match=r"keys\.0\.per_second: Input should be (greater|less) than or equal to "):
        read_keys(file)


def test_a_fault_of_a_middleware_is_answered_as_one_of_a_handler(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OverflowError

    client = guarded.client("quick", **{"X-Request-ID": "mine"})
    for method in ("left", "seconds_to_wait", "find"):
        with monkeypatch.context() as patch:
            patch.setattr(Keys, method, fail)
            for _ in range(2):  # both on one connection, which the answer leaves open
                response = client.get("/tasks")
                assert_problem(response, 500, "its log says why")
                assert response.headers["x-request-id"] == "mine"
                assert response.headers["x-content-type-options"] == "nosniff"
                assert response.headers.get("connection") != "close"


@pytest.mark.parametrize("instead", ["pipe", "folder", "device"])
def test_what_is_no_file_is_not_waited_for(guarded: Guarded, tmp_path: Path, instead: str) -> None:
    other = tmp_path / "keys.json"
    if instead == "pipe":
        os.mkfifo(other)
    elif instead == "folder":
        other.mkdir()
    else:
        other.symlink_to("/dev/zero")
    with pytest.raises(KeyFileError, match=r"it is not a file but a folder, pipe or device|Is a directory"):
        read_keys(other)
    content = guarded.file.read_bytes()
    guarded.file.unlink()
    if instead == "pipe":
        os.mkfifo(guarded.file)
    else:
        guarded.file.symlink_to(other)
    try:
        assert guarded.client("ann").get("/tasks").status_code == 200
    finally:
        guarded.file.unlink()
        guarded.file.write_bytes(content)


def test_a_key_that_was_changed_in_place_is_read_though_its_time_is_set_back(guarded: Guarded) -> None:
    former, content = guarded.file.stat(), guarded.file.read_text()
    client = guarded.client("ann")
    assert client.get("/tasks").status_code == 200
    stored = {key["name"]: key["hash"] for key in json.loads(content)["keys"]}
    try:
        guarded.file.write_text(content.replace(stored["ann"], stored["ann"][::-1]))
        os.utime(guarded.file, ns=(former.st_atime_ns, former.st_mtime_ns))
        assert client.get("/tasks").status_code == 401
    finally:
        guarded.file.write_text(content)
    assert client.get("/tasks").status_code == 200


@pytest.mark.parametrize("limit", ["max_tasks", "per_second"])
def test_limit_of_a_key_is_a_number_and_no_boolean(limit: str, tmp_path: Path) -> None:
    stored, _ = new_key("one", "one", ["read"])
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [stored.model_dump(exclude_none=True) | {limit: True}]}))
    with pytest.raises(KeyFileError, match=rf"keys\.0\.{limit}: Input should be a valid"):
        read_keys(file)
    file.write_text(json.dumps({"keys": [stored.model_dump(exclude_none=True) | {limit: 2}]}))
    assert getattr(read_keys(file).keys[0], limit) == 2


@pytest.mark.parametrize("wrong", [{"per_second": float("inf")}, {"hash": "é" * 64}, {"hash": "A" * 64}, {"salt": "é"}])
def test_an_entry_with_which_no_key_could_be_checked_is_refused(wrong: dict[str, object], tmp_path: Path) -> None:
    stored, _ = new_key("one", "one", ["read"])
    file = tmp_path / "keys.json"
    text = json.dumps({"keys": [stored.model_dump(exclude_none=True) | wrong]})
    file.write_text(text.replace("Infinity", "1e999"))
    with pytest.raises(KeyFileError, match=rf"keys\.0\.{next(iter(wrong))}: "):
        read_keys(file)


def test_a_key_file_that_grew_without_end_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.touch()
    os.truncate(file, 2**40)
    with pytest.raises(KeyFileError, match=r"keys\.json: it is larger than 32 MiB"):
        read_keys(file)
