"""Bodies that are built to do harm: too deep, too large, too many parts, not a form."""

import asyncio
import base64
import codecs
import gzip
import json
import threading
import time

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
from tests.helpers.tasks import FIVE, create, predict

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


@pytest.fixture(scope="module")
def task_id(client: httpx.Client) -> str:
    return str(create(client, FIVE[:2]).json()["task_id"])


RING = png("ring", 3)
BASE64 = base64.b64encode(RING).decode()
# A picture whose base64 holds both characters that differ in URLs, and ends with padding.
ODD = next(data for n in range(300) if {"+", "/", "="} <= set(base64.b64encode(data := RING + bytes(n)).decode()))
PLAIN = base64.b64encode(ODD).decode()
BASE64_FORMS = {
    "data URL": f"data:image/png;base64,{PLAIN}",
    "data URL with parameters": f"DATA:image/png;name=a.png;base64,{PLAIN}",
    "in lines": base64.encodebytes(ODD).decode(),
    "in lines of Windows": "\r\n".join(PLAIN[at : at + 64] for at in range(0, len(PLAIN), 64)),
    "for URLs": base64.urlsafe_b64encode(ODD).decode(),
    "unpadded": PLAIN.rstrip("="),
    "all of it": "\n data:;base64,\n" + base64.urlsafe_b64encode(ODD).decode().rstrip("=") + "\n",
}


@pytest.mark.parametrize("form", BASE64_FORMS)
def test_base64_is_read_in_all_its_forms(client: httpx.Client, task_id: str, form: str) -> None:
    expected = predict(client, task_id, [ODD])
    answer = client.post(f"/tasks/{task_id}/predict", json={"images": [BASE64_FORMS[form]]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0]["confidence"] == pytest.approx(expected[0]["confidence"], abs=1e-5)
    support = [{"image": BASE64_FORMS[form], "label": "a"}, {"image": PLAIN, "label": "b"}]
    assert client.post("/tasks", json={"support": support}).status_code == 201


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://example.com/ring.png", "is a URL"),
        ("pictures/ring.png", "is the name of a file"),
        (BASE64[:-10] + "*" + BASE64[-9:], "it holds '*'"),
        ("data:image/svg+xml,%3Csvg/%3E", "it holds '%'"),
        (BASE64 + "\ufeff", "it holds '\\ufeff'"),
        (BASE64.rstrip("=")[: len(BASE64) // 4 * 4 - 7], "characters of it are missing"),
        ("data:image/png;base64,", "image 1 is empty"),
    ],
)
def test_what_is_not_base64_is_named(client: httpx.Client, task_id: str, text: str, said: str) -> None:
    answer = client.post(f"/tasks/{task_id}/predict", json={"images": [BASE64, text]})
    assert assert_problem(answer, 422, "image 1", said)["index"] == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"images": [' + b"1," * 2_000_000 + b"1]}",
        b'{"images": [' + b'"",' * 2_000_000 + b'""]}',
        b'{"images": [], ' + b",".join(b'"%06x":1' % n for n in range(500_000)) + b"}",
        b'{"images": [], ' + b",".join(b'"%06x":1' % n for n in range(100_000)) + b"}",
        b'{"images": [' + b"[]," * 1_000_000 + b"[]]}",
        b'{"images": ["' + b"\\u00e9" * 1_000_000 + b'"]}',
        b'{"images": [' + b",".join([b"1"] * 90_000) + b"]}",
    ],
    ids=["numbers", "texts", "fields", "fewer fields", "lists", "escapes", "fewer numbers"],
)
def test_a_body_of_very_many_values_is_refused_as_fast_as_it_is_read(
    client: httpx.Client, task_id: str, body: bytes
) -> None:
    for path in (f"/tasks/{task_id}/predict", "/tasks", f"/tasks/{task_id}/support"):
        began = time.perf_counter()
        assert_problem(client.post(path, content=body, headers=JSON), 422)
        assert time.perf_counter() - began < 5  # seconds; an error for each value would take far longer
    assert_problem(client.patch(f"/tasks/{task_id}", content=body, headers=JSON), 422)


def test_json_that_begins_with_a_mark_is_read(client: httpx.Client, task_id: str) -> None:
    marked = codecs.BOM_UTF8 + json.dumps({"images": [BASE64]}).encode()
    assert client.post(f"/tasks/{task_id}/predict", content=marked, headers=JSON).status_code == 200
    changed = client.patch(f"/tasks/{task_id}", content=codecs.BOM_UTF8 + b'{"name": "marked"}', headers=JSON)
    assert changed.json()["name"] == "marked"


QUERY = json.dumps({"images": [BASE64]}).encode()
FORM_TYPE = {"content-type": "multipart/form-data; boundary=x"}
PICTURE_PART = b'Content-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n' + RING


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "GZIP", None])
@pytest.mark.parametrize("headers", [JSON, FORM_TYPE, {}], ids=["json", "form", "no type"])
def test_a_compressed_body_is_called_so(
    client: httpx.Client, task_id: str, headers: dict[str, str], encoding: str | None
) -> None:
    headers = headers | ({"content-encoding": encoding} if encoding else {})
    for method, path in (
        ("POST", "/tasks"),
        ("POST", f"/tasks/{task_id}/predict"),
        ("POST", f"/tasks/{task_id}/support"),
        ("PATCH", f"/tasks/{task_id}"),
        ("POST", "/tasks/import"),
    ):
        answer = client.request(method, path, content=gzip.compress(QUERY), headers=headers)
        assert_problem(answer, 415, "send it uncompressed")


@pytest.mark.parametrize(
    ("content_type", "body", "status", "said"),
    [
        (None, b"", 422, "the body is empty; send the pictures as files"),
        ("application/json", b"", 422, 'the body is empty: send {"images"'),
        ("multipart/form-data; boundary=x", b"", 422, "it is empty; send the pictures as files"),
        (None, QUERY, 415, "Content-Type: application/json"),
        ("text/plain;charset=UTF-8", QUERY, 415, "Content-Type: application/json"),
        ("application/x-www-form-urlencoded", QUERY, 415, "Content-Type: application/json"),
        ("application/x-www-form-urlencoded", b"labels=a&labels=b", 415, "curl: -F images=@a.png"),
        ("application/octet-stream", RING, 415, "a picture alone is not read"),
        ("image/png", RING, 415, "-F images=@a.png"),
        ("application/json", RING, 422, "a picture instead of JSON"),
        ("application/json", form(PICTURE_PART), 422, "looks like a form"),
        (None, form(PICTURE_PART), 415, "looks like a form"),
        ("multipart/form-data", form(PICTURE_PART), 422, "names no boundary: leave the header Content-Type"),
        (
            "multipart/form-data; boundary=y",
            form(PICTURE_PART),
            422,
            "the boundary that Content-Type names is not in it",
        ),
        ("multipart/form-data; boundary=x", QUERY, 422, "the boundary that Content-Type names is not in it"),
        ("application/json", QUERY.decode().encode("utf-16"), 422, "JSON in UTF-16: send it in UTF-8"),
        ("application/json", QUERY.decode().encode("utf-16-le"), 422, "JSON in UTF-16-LE"),
        ("application/json", b'{"images": ["\xe9"]}', 422, "not UTF-8, from byte 13"),
        ("application/json", b"{'images': []}", 422, 'send {"images"'),
        ("application/json", b'{"images": [NaN]}', 422, "images.0"),
        ("application/json", QUERY[:-1], 422, "cannot be read as JSON"),
        ("application/json", json.dumps({"images": BASE64}).encode(), 422, '; send {"images": ["BASE64", ...]}'),
        ("application/json", json.dumps({"image": BASE64}).encode(), 422, '; send {"images": ["BASE64", ...]}'),
        ("application/json", json.dumps({"images": [BASE64], "top_k": 1}).encode(), 422, "in the query (?top_k=...)"),
        ("application/json", json.dumps([BASE64]).encode(), 422, '; send {"images": ["BASE64", ...]}'),
        ("application/json", json.dumps({"images": [{"image": BASE64}]}).encode(), 422, "images.0"),
    ],
)
def test_a_query_in_another_form_is_answered_with_how_to_send_it(
    client: httpx.Client, task_id: str, content_type: str | None, body: bytes, status: int, said: str
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    assert_problem(client.post(f"/tasks/{task_id}/predict", content=body, headers=headers), status, said)


FIELD = b'Content-Disposition: form-data; name="%s"\r\n\r\n%s'
FILE = b'Content-Disposition: form-data; name="%s"; filename="a"\r\n\r\n%s'


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([FIELD % (b"images", b"ring.png")], "send it as a file (curl: -F images=@a.png)"),
        ([FIELD % (b"images", RING + bytes(5000))], "send pictures as files, each with a filename"),
        ([FILE % (b"image", RING), FIELD % (b"labels", b"a")], "call it 'images'"),
        ([FILE % (b"files", RING), FIELD % (b"labels", b"a")], "call it 'images'"),
        ([FILE % (b"images[]", RING), FIELD % (b"labels[]", b"a")], "call it 'images'"),
        ([FILE % (b"images", RING), FIELD % (b"label", b"a")], "call it 'labels'"),
        ([FILE % (b"images", RING)] * 2 + [FIELD % (b"labels", b'["a", "b"]')], "once for each image, not one list"),
        ([FILE % (b"images", RING)] * 2 + [FIELD % (b"labels", b"a,b")], "once for each image, not one list"),
        ([FILE % (b"images", RING), FILE % (b"labels", b"a")], "labels were sent as files"),
        ([FILE % (b"images", RING)] * 2 + [FIELD % (b"labels", b"a")], "2 images but 1 labels"),
        ([FIELD % (b"name", b"x"), FIELD % (b"name", b"y")], "'name' was sent more than once"),
        ([FIELD % (b"top_k", b"3")], "send it in the query (?top_k=...)"),
        ([], "no images"),
        ([FIELD % (b"labels", b"a")], "no images"),
    ],
)
def test_a_form_of_another_shape_is_answered_with_how_to_send_it(
    client: httpx.Client, parts: list[bytes], said: str
) -> None:
    assert_problem(client.post("/tasks", content=form(*parts), headers=FORM_TYPE), 422, said)


def test_fields_that_a_prediction_does_not_know_are_not_ignored(client: httpx.Client, task_id: str) -> None:
    for field, said in ((b"threshold", "?threshold="), (b"image", "call it 'images'"), (b"labels", "known are images")):
        body = form(PICTURE_PART, FIELD % (field, b"1"))
        assert_problem(client.post(f"/tasks/{task_id}/predict", content=body, headers=FORM_TYPE), 422, said)


def test_an_import_takes_the_file_itself(client: httpx.Client, task_id: str) -> None:
    head = client.get(f"/tasks/{task_id}/parameters").content
    assert_problem(client.post("/tasks/import", files={"file": head}), 415, "--data-binary @FILE")
    assert_problem(client.post("/tasks/import", content=b""), 422, "empty")
    assert client.post("/tasks/import", content=head).status_code == 201  # whatever content type it has, or none


def test_a_change_takes_json_alone(client: httpx.Client, task_id: str) -> None:
    path = f"/tasks/{task_id}"
    assert_problem(client.patch(path, data={"name": "x"}), 415, "application/json")
    assert_problem(client.patch(path, files={"name": "x"}), 415, "application/json")
    assert_problem(client.patch(path, content=b"", headers=JSON), 422, '{"name": "greek", "ttl_seconds": 3600}')
    assert_problem(client.patch(path, json=["x"]), 422, '{"name": "greek", "ttl_seconds": 3600}')
    long = client.patch(path, json={"n" * 10**6: 1})
    assert len(assert_problem(long, 422, "nnn")["detail"]) < 1000


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
