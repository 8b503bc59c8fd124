"""The client's settings, its errors by status, and its types as a user's program sees them."""

import asyncio
import gc
import inspect
import subprocess
import sys
from asyncio.selector_events import _SelectorTransport
from pathlib import Path
from typing import Any

import httpx
import pytest

import leo_client
from app import __version__
from app.settings import PROJECT
from leo_client import (
    AsyncClient,
    BadRequest,
    BadSettings,
    Client,
    Conflict,
    Forbidden,
    LeoError,
    NotFound,
    PreconditionFailed,
    ProblemError,
    ServerError,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unprocessable,
)
from tests.helpers.drawn import png
from tests.helpers.wheels import build_wheel, environment


class Recorder(httpx.MockTransport):
    """Answers every request alike, and keeps what was sent."""

    def __init__(self, status: int = 200, **answer: object) -> None:
        self.requests: list[httpx.Request] = []
        self._status, self._answer = status, answer or {"json": {"models": []}}
        super().__init__(self._record)

    def _record(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(self._status, **self._answer)  # type: ignore[arg-type]


def test_the_environment_names_the_service_and_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEO_URL", "https://leo.example.com/few-shot/")
    monkeypatch.setenv("LEO_API_KEY", "leo_of_the_environment")
    sent = Recorder()
    with httpx.Client(transport=sent) as http:
        Client(http_client=http).models()
        Client("http://other.example.com", key="leo_given", http_client=http).models()
        Client(key="", http_client=http).models()
    assert [str(request.url) for request in sent.requests] == [
        "https://leo.example.com/few-shot/models",
        "http://other.example.com/models",
        "https://leo.example.com/few-shot/models",
    ]
    keys = [request.headers.get("authorization") for request in sent.requests]
    assert keys == ["Bearer leo_of_the_environment", "Bearer leo_given", None]
    assert sent.requests[0].headers["user-agent"] == f"leo-client/{leo_client.__version__}"


def test_without_settings_the_service_is_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEO_URL", raising=False)
    monkeypatch.delenv("LEO_API_KEY", raising=False)
    sent = Recorder()
    with httpx.Client(transport=sent) as http:
        Client(http_client=http).models()
    assert str(sent.requests[0].url) == "http://127.0.0.1:8000/models"
    assert "authorization" not in sent.requests[0].headers


def test_a_given_client_stays_open_and_keeps_its_own_headers() -> None:
    sent = Recorder()
    with httpx.Client(transport=sent, headers={"X-Team": "vision"}) as http:
        with Client(http_client=http) as leo:
            leo.models()
        assert not http.is_closed
    assert sent.requests[0].headers["x-team"] == "vision"


@pytest.mark.parametrize(
    ("kind", "given"), [(Client, httpx.AsyncClient), (AsyncClient, httpx.Client), (Client, object)]
)
def test_a_client_of_the_wrong_kind_is_refused(kind: type, given: type) -> None:
    with pytest.raises(TypeError, match="http_client must be an httpx"):
        kind(http_client=given())


@pytest.mark.parametrize("timeout", [-1, 0, float("nan"), float("inf"), 1e12, "5", True])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_timeout_that_cannot_be_waited_is_refused_at_once(kind: type, timeout: object) -> None:
    with pytest.raises((BadSettings, TypeError), match=r"timeout .*seconds"):
        kind(timeout=timeout)


def test_a_closed_client_says_so() -> None:
    client, other = Client(), AsyncClient()
    client.close()
    asyncio.run(other.close())
    for ask in (client.models, lambda: asyncio.run(other.models())):
        with pytest.raises(LeoError, match="the client is closed"):
            ask()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the first loop leaves a connection
def test_a_client_of_another_event_loop_says_so(client: httpx.Client) -> None:
    asking = AsyncClient(client.base_url)
    asyncio.run(asking.models())
    with pytest.raises(LeoError, match="one client in each event loop"):
        asyncio.run(asking.models())
    # Nothing closes the first loop's connection, and whenever it was collected it would warn, maybe in a later test.
    for left in connections_of_closed_loops():
        left._sock.close()
        left._sock = None


def connections_of_closed_loops() -> list[Any]:
    connections: list[Any] = [each for each in gc.get_objects() if issubclass(type(each), _SelectorTransport)]
    return [each for each in connections if each._loop is not None and each._loop.is_closed()]  # None: is closed itself


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (405, ProblemError),
        (409, Conflict),
        (412, PreconditionFailed),
        (413, TooLarge),
        (422, Unprocessable),
        (429, TooManyRequests),
        (500, ServerError),
        (503, ServerError),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[ProblemError]) -> None:
    headers = {"X-Request-ID": "0af7651916cd43dd", "Retry-After": "7"}
    sent = Recorder(status, json={"detail": "send less"}, headers=headers)
    with httpx.Client(transport=sent) as http, pytest.raises(ProblemError) as refused:
        Client(http_client=http, retries=0).models()
    assert type(refused.value) is kind
    assert str(refused.value) == f"{status}: send less (request 0af7651916cd43dd)"
    assert (refused.value.request_id, refused.value.retry_after) == ("0af7651916cd43dd", 7.0)


def test_the_services_own_refusal_carries_its_request_id(client: httpx.Client) -> None:
    with Client(str(client.base_url)) as leo, pytest.raises(NotFound, match="request ") as refused:
        leo.get("b1f0c2a8e4d94c6f9a0e7d35")
    assert refused.value.request_id


def test_paths_may_be_text_and_answers_have_types(client: httpx.Client, tmp_path: Path) -> None:
    for name in ("ring", "ex"):
        for number in range(2):
            (tmp_path / f"{name}{number}.png").write_bytes(png(name, number))
    with Client(str(client.base_url)) as leo:
        task = leo.create(
            {name: [str(tmp_path / f"{name}0.png"), tmp_path / f"{name}1.png"] for name in ("ring", "ex")}
        )
        assert task.quality is not None
        assert [each.label for each in task.quality.classes] == ["ring", "ex"]
        assert task.quality.classes[0].nearest == "ex"
        assert len(task.adaptation.losses) >= 2
        assert leo.predict(task.task_id, str(tmp_path / "ring0.png"))[0].label == "ring"
        assert leo.update(task.task_id).name is None  # nothing given, nothing changed
        leo.update(task.task_id, name="signs", ttl_seconds=60)
        assert leo.update(task.task_id, ttl_seconds=None).name == "signs"
        assert leo.update(task.task_id, name=None).name is None


def test_the_readme_names_every_status_and_setting() -> None:
    readme = (PROJECT / "client" / "README.md").read_text()
    for status, kind in ProblemError._by_status.items():
        assert f"| {status} | `{kind.__name__}` |" in readme
    for name in inspect.signature(Client).parameters:
        assert f"| `{name}` |" in readme


def test_versions_are_said_in_one_place() -> None:
    for pyproject in (PROJECT / "pyproject.toml", PROJECT / "client" / "pyproject.toml"):
        assert 'dynamic = ["version"]' in pyproject.read_text()
    assert __version__ == leo_client.__version__  # they are released together


PROGRAM = """
import asyncio
from leo_client import AsyncClient, Client, NotFound, Prediction, Task, TooManyRequests

with Client(timeout=5, retries=1) as leo:
    task: Task = leo.create({"ring": ["1.png", "2.png"], "ex": [b"..."]}, name="signs")
    longest: int = leo.models()[0].limits.max_ttl_seconds
    task = leo.update(task.task_id, name=None, ttl_seconds=longest, revision=task.revision)
    margins: list[float] = [each.margin for each in (task.quality.classes if task.quality else [])]
    try:
        answer: Prediction = leo.predict(task.task_id, "3.png", top_k=2)[0]
    except (NotFound, TooManyRequests) as error:
        waited: float | None = error.retry_after

async def ask() -> list[Prediction]:
    async with AsyncClient() as leo:
        return await leo.predict(task.task_id, open("3.png", "rb"))
"""
WRONG = {
    "leo.update('a', nmae='x')": "call-arg",
    "leo.update('a', ttl_seconds='soon')": "arg-type",
    "leo.get('a').quality['suspects']": "index",
    "leo.predict('a', 7)": "arg-type",
    "leo.models()[0]['name']": "index",
}


def test_a_users_program_is_checked_strictly(tmp_path: Path) -> None:
    """As mypy sees the package where it is installed, by its py.typed."""
    python = environment(tmp_path / "venv", build_wheel(PROJECT / "client", tmp_path))
    (tmp_path / "program.py").write_text(PROGRAM)
    mistakes = "\n".join(f"    {mistake}" for mistake in WRONG)
    (tmp_path / "wrong.py").write_text(f"from leo_client import Client\n\nwith Client() as leo:\n{mistakes}\n")

    def check(file: str) -> str:
        command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(python), file]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout

    assert "Success" in check("program.py")
    said = check("wrong.py").splitlines()
    for line, code in enumerate(WRONG.values(), start=4):
        assert any(text.startswith(f"wrong.py:{line}:") and text.endswith(f"[{code}]") for text in said), said


@pytest.mark.parametrize("answer", [{"json": None}, {"json": {"tasks": []}}, {"content": b""}], ids=str)
def test_what_is_no_deletion_and_no_file_is_not_taken_for_one(answer: dict[str, object]) -> None:
    with httpx.Client(transport=Recorder(200, **answer)) as http:
        leo = Client("http://leo.example.com", http_client=http)
        for call in (leo.delete, leo.export, leo.standalone):
            with pytest.raises(LeoError, match="something other than this service sends"):
                call("0" * 24)
    with httpx.Client(transport=Recorder(204, content=b"")) as http:
        leo = Client("http://leo.example.com", http_client=http)
        leo.delete("0" * 24)
        for download in (leo.export, leo.parameters, leo.onnx):
            with pytest.raises(LeoError, match="something other than this service sends"):
                download("0" * 24)


def test_a_refusal_cannot_write_to_the_terminal() -> None:
    with httpx.Client(transport=Recorder(422, json={"detail": "no\x1b]0;owned\x07 picture"})) as http:
        with pytest.raises(Unprocessable, match="picture") as refused:
            Client("http://leo.example.com", http_client=http).models()
        assert "\x1b" not in f"{refused.value}{refused.value.detail}"
        assert "\x07" not in str(refused.value)
