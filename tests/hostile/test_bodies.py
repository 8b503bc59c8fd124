"""Bodies that are built to do harm: too deep, too large, too many parts, not a form."""

import asyncio
import threading

import httpx
import pytest

from app.inference import decoding
from app.inference.decoding import ImageDecoder
from app.observability.logs import LineFormatter
from app.problems import Problem
from app.settings import Settings
from model.images.reader import DrawingReader
from tests.helpers.drawn import png
from tests.helpers.hostile_files import bare_png
from tests.helpers.problems import assert_problem

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b'{"support":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"support": [], "ttl_seconds": ' + b"9" * 100_000 + b"}",
        b'{"support": [], "ttl_seconds": 1e999}',
        b'{"support": [{"image": "' + b"A" * 1001 + b'", "label": "a"}, {"image": "AAAA", "label": "b"}]}',
        b'{"support": [{"image": "\xff\xfe", "label": "a"}]}',
        b'{"support": [{"image": "AAAA", "label": "\\ud800"}, {"image": "AAAA", "label": "b"}]}',
        b'{"support": [{"image": "AAAA", "label": "\\u202eevil"}, {"image": "AAAA", "label": "b"}]}',
        b'{"support": [{"image": "AAAA", "label": "\\u0000"}, {"image": "AAAA", "label": "b"}]}',
        b"\x00" * 10_000,
        b"",
    ],
)
def test_hostile_json_is_refused(client: httpx.Client, body: bytes) -> None:
    assert_problem(client.post("/tasks", content=body, headers=JSON), 422)


@pytest.mark.parametrize("body", [b"\xc3\x28", b'{"name": ' + b"[" * 100_000, b'{"ttl_seconds": 1e999}', b""])
def test_hostile_json_that_fastapi_reads_is_refused(client: httpx.Client, body: bytes) -> None:
    assert_problem(client.patch("/tasks/0123", content=body, headers=JSON), 422)


def form(*parts: bytes) -> bytes:
    return b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"


LABEL = b'Content-Disposition: form-data; name="labels"\r\n\r\n'


@pytest.mark.parametrize(
    "body",
    [
        form(LABEL + b"a" * 10_000),  # a text is no place for a file
        form(*[LABEL + b"a"] * 1_100),  # more fields than images may be
        form(*[b'Content-Disposition: form-data; name="images"; filename="a"\r\n\r\nx'] * 1_100),
        form(b"X-Header: " + b"y" * 100_000 + b"\r\n\r\nx"),
        form(b"".join(b"X-%d: y\r\n" % n for n in range(10_000)) + b"\r\nx"),
        form(b"no header at all"),
        b"--x\r\n" + LABEL,  # no end
        b"--" * 100_000,
    ],
)
def test_hostile_forms_are_refused(client: httpx.Client, body: bytes) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert_problem(client.post("/tasks", content=body, headers=headers), 422)


def test_images_that_take_too_long_to_decode_are_refused_and_the_rest_not_begun(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, decoded = threading.Event(), []

    def slow(data: bytes, index: int, *_: object) -> object:
        decoded.append(index)
        let_go.wait(10)
        return decoding.np.zeros((28, 28), dtype="uint8")

    monkeypatch.setattr(decoding, "decode_one", slow)
    monkeypatch.setattr(decoding, "THREADS", 1)
    decoder = ImageDecoder(settings.model_copy(update={"decode_deadline": 0.2}))
    try:
        with pytest.raises(Problem, match=r"not decoded within 0\.2 s") as refused:
            asyncio.run(decoder.decode([png("tee")] * 100, DrawingReader(28)))
        assert (refused.value.status, refused.value.retry_after) == (503, 1)
    finally:
        let_go.set()
        decoder.close()
    assert decoded == [0]  # the rest was not even begun


def test_small_images_do_not_wait_for_large_ones(settings: Settings) -> None:
    large, small = bare_png(3000, 3000, b"\0" * 3001 * 3000), png("tee")
    held = threading.Event()
    decoder = ImageDecoder(settings)
    decoder._large_pool.submit(held.wait, 30)  # somebody's large image is being decoded

    async def scenario() -> None:
        waiting = [asyncio.create_task(decoder.decode([small, large], DrawingReader(28))) for _ in range(5)]
        decoded = await decoder.decode([small] * 20, DrawingReader(28))
        assert decoded.shape == (20, 28, 28)
        assert not any(task.done() for task in waiting)
        held.set()
        for task in waiting:
            with pytest.raises(Problem, match="image 1 shows no drawing"):
                await task

    try:
        asyncio.run(scenario())
    finally:
        held.set()
        decoder.close()


def test_no_request_leaves_a_key_an_image_or_a_label_in_the_log(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG", logger="app"):
        secret = {"Authorization": "Bearer leo_secret", "Idempotency-Key": "idempotent-secret"}
        data = {"labels": ["secret label", "b"], "name": "secret name"}
        images = [("images", ("secret.png", png(name), "image/png")) for name in ("tee", "ring")]
        assert client.post("/tasks", data=data, files=images, headers=secret).status_code == 201
        assert client.post("/tasks", data=data, files=images[:1], headers=secret).status_code == 422
    as_written = "\n".join(LineFormatter("text").format(record) for record in caplog.records)
    assert "status=201" in as_written
    assert "status=422" in as_written
    assert "secret" not in as_written
