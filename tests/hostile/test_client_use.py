"""The Python client, used as people use it by mistake: each mistake gets an error that says how to fix it."""

import asyncio
import io
import json
import os
import socket
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest

from leo_client import AsyncClient, BadSettings, Client, LeoError, ProblemError, Unprocessable, Unreachable
from tests.helpers.drawn import CHARACTERS, canvas, png
from tests.helpers.ports import free_port

RING = canvas(CHARACTERS["ring"])
SECRET = "leo_5ecre7"  # noqa: S105


@pytest.fixture
def leo(client: httpx.Client) -> Iterator[Client]:
    with Client(str(client.base_url)) as leo:
        yield leo


@pytest.fixture
def task_id(leo: Client) -> str:
    return leo.create({"ring": png("ring"), "ex": png("ex")}).task_id


def test_a_single_image_is_one_image(leo: Client, task_id: str, tmp_path: Path) -> None:
    file = tmp_path / "ring.png"
    file.write_bytes(png("ring"))
    grey = np.asarray(RING)
    singles = [RING, grey, grey[..., None], np.stack([grey] * 3, axis=-1), file, png("ring"), bytearray(png("ring"))]
    for single in singles:
        assert [answer.label for answer in leo.predict(task_id, single)] == ["ring"]  # type: ignore[arg-type]
    assert len(leo.predict(task_id, (image for image in [RING, grey]))) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ([], "at least one"),
        (iter([]), "at least one"),
        ("", "empty"),
        ("https://example.com/ring.png", "URL"),
        (["data:image/png;base64,iVBORw0KGgo="], "URL"),
        ("iVBORw0KGgo=" * 400, "base64"),
        ({"ring": RING}, "dict"),
        (None, "NoneType"),
        ([None], "NoneType"),
        (7, "int"),
        (open, "not as"),
        (np.zeros((8, 20, 20)), "list"),
        (np.zeros((2, 20, 20, 3), dtype=np.uint8), "list"),
        (np.zeros((3, 20, 20), dtype=np.uint8), r"\[H,W,3\]"),
        (np.zeros((0, 20)), "shape"),
        (np.full((20, 20), np.nan), r"0\.\.1"),
        (np.full((20, 20), -1), r"0\.\.1"),
        (np.full((20, 20), 1e9), r"0\.\.65535"),
        (np.full((20, 20), "a"), "numbers"),
    ],
)
def test_what_is_no_image_is_named(leo: Client, images: Any, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        leo.predict("any", images)


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        ({}, "no examples"),
        ([], "no examples"),
        ({"ring": []}, "'ring'"),
        ({"ring": "file:///ring.png"}, "'ring'.*URL"),
        ({"half \ud800": RING}, "half of a character"),
        ([("\udcff", RING)], "half of a character"),
        ("folder", "dict"),
        (Path("folder"), "dict"),
        (None, "dict"),
        ([RING], "label"),
        ([(RING, "ring")], "label"),
        ({7: RING}, "label"),
    ],
)
def test_what_is_no_example_is_named(leo: Client, examples: Any, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        leo.create(examples)


def test_text_that_cannot_be_written_is_named(leo: Client) -> None:
    two = {"ring": RING, "ex": RING}
    for call in (
        lambda: leo.create(two, name="\ud800"),
        lambda: leo.create(two, model="\udfff"),
        lambda: leo.update("any", name="\ud800"),
        lambda: leo.page(label="\ud800"),
        lambda: list(leo.tasks(name="\ud800")),
        lambda: leo.get("\ud800"),
    ):
        with pytest.raises(ValueError, match="half of a character"):
            call()


@pytest.mark.parametrize("task_id", [None, 7, b"abc", "", ".", ".."])
def test_what_is_no_task_id_is_refused_before_it_is_sent(leo: Client, task_id: Any) -> None:
    for call in (leo.get, leo.delete, leo.parameters, leo.onnx, leo.update):
        with pytest.raises((TypeError, ValueError), match="task id"):
            call(task_id)
    with pytest.raises((TypeError, ValueError), match="task id"):
        leo.predict(task_id, RING)
    with pytest.raises((TypeError, ValueError), match="task id"):
        leo.add_support(task_id, {"ring": RING})


@pytest.mark.parametrize("form", ["PNG", "TIFF", "GIF", "BMP"])
def test_a_truncated_picture_is_a_clear_error(leo: Client, tmp_path: Path, form: str) -> None:
    noise = PIL.Image.frombytes("L", (300, 300), os.urandom(90_000))
    file = io.BytesIO()
    noise.save(file, form)
    (tmp_path / "half").write_bytes(file.getvalue()[: len(file.getvalue()) // 2])
    picture = PIL.Image.open(tmp_path / "half")
    with pytest.raises(ValueError, match="half cannot be decoded"):
        leo.predict("any", picture)
    with pytest.raises(ValueError, match=r"'ring'.*half cannot be decoded"):
        leo.create({"ring": picture})
    picture.close()


def test_a_truncated_jpeg_is_refused_by_the_service_with_its_index(leo: Client, task_id: str) -> None:
    file = io.BytesIO()
    PIL.Image.frombytes("L", (300, 300), os.urandom(90_000)).save(file, "JPEG")
    half = PIL.Image.open(io.BytesIO(file.getvalue()[:20_000]))
    with pytest.raises(Unprocessable, match="image 1") as refused:
        leo.predict(task_id, [RING, half])
    assert refused.value.index == 1


def test_a_file_that_is_not_there_is_named(leo: Client, tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", str(tmp_path / "none.png")):
        with pytest.raises(FileNotFoundError, match=r"none\.png"):
            leo.create({"ring": path})
    with pytest.raises(IsADirectoryError):
        leo.predict("any", str(tmp_path))


def test_a_file_that_is_opened_as_text_is_told_to_be_opened_as_bytes(leo: Client, tmp_path: Path) -> None:
    (tmp_path / "ring.txt").write_text("a ring")
    with (tmp_path / "ring.txt").open() as file, pytest.raises(TypeError, match='"rb"'):
        leo.predict("any", [file])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (f"{SECRET}\n", "line break"),
        (f"{SECRET}\r\nX-Evil: 1", "line break"),
        (f"{SECRET}\N{EN DASH}x", "ASCII"),
        (f"{SECRET}\0", "control"),
        (f" {SECRET}", "space"),
        (f"{SECRET}é", "ASCII"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_key_that_cannot_be_sent_is_never_shown(kind: type, key: str, said: str) -> None:
    with pytest.raises(BadSettings, match=said) as refused:
        kind(key=key)
    shown = "".join(traceback.format_exception(refused.value))
    assert SECRET not in shown


def test_an_idempotency_key_that_cannot_be_sent_is_refused(leo: Client) -> None:
    with pytest.raises(ValueError, match="line break"):
        leo.create({"ring": RING, "ex": RING}, idempotency_key="a\nb")


@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "https_proxy"])
@pytest.mark.parametrize(
    ("proxy", "said"), [("socks5://u:5ecre7@127.0.0.1:1", "socks"), ("ftp://u:5ecre7@127.0.0.1", "its URL")]
)
def test_a_proxy_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, client: httpx.Client, variable: str, proxy: str, said: str
) -> None:
    monkeypatch.setenv(variable, proxy)
    for kind in (Client, AsyncClient):
        with pytest.raises(BadSettings, match=said) as refused:
            kind(str(client.base_url))
        shown = "".join(traceback.format_exception(refused.value))
        assert "NO_PROXY" in shown
        assert "5ecre7" not in shown
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    with Client(str(client.base_url)) as leo:
        assert leo.models()


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_certificate_file_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: type
) -> None:
    (tmp_path / "empty.pem").write_text("no certificate")
    for missing in ("none.pem", "empty.pem"):
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / missing))
        with pytest.raises(BadSettings, match=rf"SSL_CERT_FILE=.*{missing}"):
            kind("https://leo.example.com")


@pytest.mark.parametrize(
    ("variable", "scheme"), [("HTTP_PROXY", "http"), ("https_proxy", "https"), ("ALL_PROXY", "http")]
)
def test_a_proxy_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, scheme: str) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    proxy = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv(variable, f"http://u:5ecre7@{proxy}")
    with Client(f"{scheme}://leo.example.com", retries=0) as leo, pytest.raises(Unreachable) as refused:
        leo.models()
    assert f"the proxy http://{proxy} ({variable.upper()})" in str(refused.value)
    assert "NO_PROXY=leo.example.com" in str(refused.value)
    assert "5ecre7" not in str(refused.value)


def test_a_proxys_own_refusal_names_the_proxy(
    monkeypatch: pytest.MonkeyPatch, answering: Callable[["Answering"], str]
) -> None:
    proxy = answering(answer_with(407, PAGE, Content_Type="text/html"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("http_proxy", proxy)
    with Client("http://leo.example.com") as leo, pytest.raises(ProblemError, match=f"the proxy {proxy}") as refused:
        leo.models()
    assert refused.value.status == 407


@pytest.mark.parametrize(
    "url", ["localhost:8000", "127.0.0.1:8000", "", "http://a\ud800", "ftp://a", "http://", "http://[::1", "leo"]
)
def test_a_url_that_cannot_be_used_is_refused_at_once(url: str) -> None:
    with pytest.raises(BadSettings, match="http://"):
        Client(url)
    with pytest.raises(BadSettings, match="http://"):
        AsyncClient(url)


def test_a_slash_at_the_end_of_the_url_does_not_matter(client: httpx.Client) -> None:
    with Client(f"{client.base_url}/") as leo:
        assert leo.models()


Answering = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def answering() -> Iterator[Callable[[Answering], str]]:
    """Start servers that answer every request in a given way."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answering) -> str:
        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                answer(self)

            do_GET = do_POST = do_DELETE = do_PATCH = handle_any  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def answer_with(status: int, body: bytes, **headers: str) -> Answering:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


PAGE = b"<html>please log in</html>"
DEEP = b"[" * 100_000 + b"]" * 100_000  # deeper than Python reads


WITH_AN_ANSWER: dict[str, Callable[[Client], object]] = {
    "models": lambda leo: leo.models(),
    "get": lambda leo: leo.get("x"),
    "tasks": lambda leo: list(leo.tasks()),
    "predict": lambda leo: leo.predict("x", RING),
    "create": lambda leo: leo.create({"a": RING, "b": RING}),
}
CALLS = WITH_AN_ANSWER | {"onnx": lambda leo: leo.onnx("x"), "delete": lambda leo: leo.delete("x")}


@pytest.mark.parametrize("name", CALLS)
def test_a_web_page_is_no_answer(answering: Callable[[Answering], str], name: str) -> None:
    url = answering(answer_with(200, PAGE, Content_Type="text/html; charset=utf-8"))
    with Client(url) as leo, pytest.raises(LeoError, match="base URL"):
        CALLS[name](leo)


@pytest.mark.parametrize("body", [b'{"some": "thing"}', b"[1, ", b"null", b"[]", b"\xff", DEEP], ids=range(6))
@pytest.mark.parametrize("name", WITH_AN_ANSWER)
def test_an_answer_of_another_service_is_no_answer(
    answering: Callable[[Answering], str], name: str, body: bytes
) -> None:
    url = answering(answer_with(200, body, Content_Type="application/json"))
    with Client(url) as leo, pytest.raises(LeoError, match="base URL"):
        WITH_AN_ANSWER[name](leo)


def test_a_gateways_page_is_a_refusal(answering: Callable[[Answering], str]) -> None:
    url = answering(answer_with(502, PAGE, Content_Type="text/html"))
    with Client(url, retries=0) as leo, pytest.raises(ProblemError, match="502") as refused:
        leo.models()
    assert refused.value.document == {}


def test_a_refusal_that_is_nested_too_deep_is_a_refusal(answering: Callable[[Answering], str]) -> None:
    url = answering(answer_with(404, DEEP, Content_Type="application/problem+json", Retry_After="\xb2"))
    with Client(url, retries=0) as leo, pytest.raises(ProblemError, match="404") as refused:
        leo.models()
    assert refused.value.retry_after is None


def test_pages_that_lead_nowhere_end(answering: Callable[[Answering], str]) -> None:
    page = json.dumps({"tasks": [], "next_cursor": "again"}).encode()
    url = answering(answer_with(200, page, Content_Type="application/json"))
    with Client(url) as leo, pytest.raises(LeoError, match="base URL"):
        list(leo.tasks())


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirection_is_shown_and_not_followed(answering: Callable[[Answering], str], status: int) -> None:
    url = answering(answer_with(status, b"", Location="https://elsewhere.example/leo"))
    with Client(url, key=SECRET) as leo, pytest.raises(ProblemError, match=r"elsewhere\.example") as refused:
        leo.create({"ring": RING, "ex": RING})
    assert refused.value.status == status


def test_an_answer_that_cannot_be_unpacked_is_an_error_of_the_client(answering: Callable[[Answering], str]) -> None:
    url = answering(answer_with(200, b"not gzip", Content_Encoding="gzip"))
    with Client(url) as leo, pytest.raises(LeoError):
        leo.models()


def test_a_server_that_never_answers_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://u:5ecre7@127.0.0.1:{silent.getsockname()[1]}"
        with Client(url, timeout=0.2, retries=1) as leo, pytest.raises(Unreachable, match="took too long") as refused:
            leo.models()
        assert "5ecre7" not in str(refused.value)

        async def ask() -> None:
            async with AsyncClient(url, timeout=0.2, retries=0) as leo:
                await leo.models()

        with pytest.raises(Unreachable, match="took too long"):
            asyncio.run(ask())


def test_every_attempt_of_a_creation_carries_the_same_key(answering: Callable[[Answering], str]) -> None:
    keys = []

    def busy(request: BaseHTTPRequestHandler) -> None:
        keys.append(request.headers["Idempotency-Key"])
        answer_with(503, PAGE, Content_Type="text/html", Retry_After="0")(request)

    with Client(answering(busy), retries=3) as leo:
        for _ in range(2):
            with pytest.raises(ProblemError):
                leo.create({"ring": RING, "ex": RING})
        with pytest.raises(ProblemError):
            leo.add_support("any", {"ring": RING})
        with pytest.raises(ProblemError):
            leo.delete("any", revision=1)
    assert len(keys) == 13
    assert len(set(keys[:4])) == len(set(keys[4:8])) == len(set(keys[8:12])) == 1
    assert len({*keys[:12]}) == 3
    assert keys[12] is None
