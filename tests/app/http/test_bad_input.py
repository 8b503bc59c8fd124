"""Bad input gets the documented answer and does not affect other requests."""

import io
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from PIL import Image

from tests.helpers.drawn import encoded, png
from tests.helpers.models import WEIGHTS
from tests.helpers.problems import assert_problem
from tests.helpers.serving import serving
from tests.helpers.tasks import FIVE, create, files, predict


@pytest.fixture(scope="module")
def task_id(client: httpx.Client) -> str:
    return str(create(client).json()["task_id"])


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb() -> bytes:
    """A PNG of a few bytes whose header claims 50,000 x 50,000 pixels."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def zero_sized() -> bytes:
    header = struct.pack(">IIBBBBB", 0, 0, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def broken_crc() -> bytes:
    data = bytearray(png("tee"))
    data[data.index(b"IDAT") + 10] ^= 0xFF
    return bytes(data)


BAD_IMAGES = {
    "not an image": (b"hello, I am text", "not a PNG, JPEG, WEBP"),
    "empty": (b"", "empty (0 bytes)"),
    "truncated": (png("tee")[:-60], "damaged or truncated"),
    "truncated header": (png("tee")[:20], "image"),
    "broken checksum": (broken_crc(), "damaged or truncated"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a PNG, JPEG, WEBP"),
    "too many pixels": (bomb(), "50000x50000"),
    "zero-sized": (zero_sized(), "image"),
    "one pixel": (encoded(Image.new("L", (1, 1))), "shows no drawing"),
    "blank": (encoded(Image.new("L", (100, 100), 255)), "shows no drawing"),
    "fully transparent": (encoded(Image.new("RGBA", (100, 100))), "shows no drawing"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_a_bad_image_is_named_by_its_index(client: httpx.Client, task_id: str, kind: str) -> None:
    data, said = BAD_IMAGES[kind]
    images = [png("tee"), png("ell"), data]
    response = client.post(f"/tasks/{task_id}/predict", files=files(images))
    assert assert_problem(response, 422, said)["index"] == 2
    response = client.post("/tasks", data={"labels": ["a", "b", "c"]}, files=files(images))
    assert assert_problem(response, 422, said)["index"] == 2


def test_a_bad_image_does_not_affect_other_requests(client: httpx.Client, task_id: str) -> None:
    expected = predict(client, task_id, [png("ring", 5)])

    def one(n: int) -> httpx.Response:
        images = [b"rubbish"] if n % 2 else [png("ring", 5)]
        return client.post(f"/tasks/{task_id}/predict", files=files(images))

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(one, range(32)))
    for n, response in enumerate(responses):
        if n % 2:
            assert_problem(response, 422)
        else:
            (answer,) = response.json()["predictions"]
            assert answer["label"] == expected[0]["label"]
            assert answer["confidence"] == pytest.approx(expected[0]["confidence"], abs=1e-4)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["a", "a"], "at least 2 classes"),
        (["a"], "2 images but 1 labels"),
        (["a", "b", "c"], "2 images but 3 labels"),
        (["a", " "], "a label is empty"),
        (["a", "b" * 101], "at most 100"),
        (["a", "b\nc"], "control characters"),
        (["a", "b\x00"], "control characters"),
    ],
)
def test_bad_labels(client: httpx.Client, labels: list[str], said: str) -> None:
    images = [png("tee"), png("ell")]
    assert_problem(client.post("/tasks", data={"labels": labels}, files=files(images)), 422, said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ttl_seconds": "0"}, "ttl_seconds"),
        ({"ttl_seconds": "soon"}, "ttl_seconds"),
        ({"ttl_seconds": "99999999999"}, "ttl_seconds"),
        ({"name": ""}, "name"),
        ({"model": "resnet"}, "no model called 'resnet'"),
        ({"colour": "red"}, "unknown field 'colour'"),
    ],
)
def test_bad_options(client: httpx.Client, options: dict[str, str], said: str) -> None:
    assert_problem(create(client, **options), 422, said)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{", "JSON"),
        ("[]", "object"),
        ('{"support": []}', "no images"),
        ('{"support": [{"image": "AAAA"}]}', "support.0.label"),
        ('{"support": [{"image": "*", "label": "a"}]}', "image 0 is not base64"),
        ('{"support": [], "colour": 1}', "colour"),
        ("[" * 100_000, "JSON"),
    ],
)
def test_bad_json(client: httpx.Client, body: str, said: str) -> None:
    response = client.post("/tasks", content=body, headers={"content-type": "application/json"})
    assert_problem(response, 422, said)


def test_images_sent_as_text_and_no_images_at_all(client: httpx.Client, task_id: str) -> None:
    assert_problem(client.post("/tasks", data={"labels": FIVE}, files=[("other", b"")]), 422)
    assert_problem(client.post("/tasks", files=[("images", (None, "text"))]), 422, "sent as text")
    assert_problem(client.post(f"/tasks/{task_id}/predict", json={"images": []}), 422, "no images")


def test_other_content_types(client: httpx.Client, task_id: str) -> None:
    response = client.post(f"/tasks/{task_id}/predict", content=png("tee"), headers={"content-type": "image/png"})
    assert_problem(response, 415, "multipart/form-data")
    response = client.post(
        f"/tasks/{task_id}/predict",
        content=b"--x\r\nrubbish",
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    assert_problem(response, 422)
    response = client.post(f"/tasks/{task_id}/predict", content=b"x", headers={"content-type": "multipart/form-data"})
    assert_problem(response, 422)


@pytest.mark.parametrize("query", ["top_k=0", "top_k=x", "threshold=2", "threshold=nan", "reject=-1", "reject=inf"])
def test_bad_query_parameters(client: httpx.Client, task_id: str, query: str) -> None:
    assert_problem(client.post(f"/tasks/{task_id}/predict?{query}", files=files([png("tee")])), 422)


def test_unknown_tasks_paths_methods_and_cursors(client: httpx.Client) -> None:
    assert_problem(client.get("/tasks/nope"), 404, "no such task")
    assert_problem(client.get("/tasks/nope/parameters"), 404, "no such task")
    assert_problem(client.get("/nowhere"), 404, "nothing at this path", "/openapi.json")
    assert_problem(client.put("/tasks"), 405, "takes no PUT, but GET, HEAD, POST")
    assert_problem(client.get("/tasks", params={"cursor": "x"}), 422, "cursor")
    assert_problem(client.get("/tasks", params={"limit": 1000}), 422, "limit")


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service with small limits."""
    from app.settings import Settings

    limits = Settings(
        data_dir=tmp_path_factory.mktemp("narrow"),
        weights=WEIGHTS / "omniglot",
        device="cpu",
        max_body_bytes=50_000,
        max_images=8,
        max_ways=4,
        cache_bytes=0,
    )
    with serving(limits) as client:
        yield client


def test_bodies_over_the_limit_declared_or_chunked(narrow: httpx.Client) -> None:
    form = {"content-type": "multipart/form-data; boundary=x"}
    assert_problem(narrow.post("/tasks", content=b"x" * 60_000, headers=form), 413, "50000 bytes")

    def chunks() -> Iterator[bytes]:
        for _ in range(60):
            yield b"x" * 1000

    json_type = {"content-type": "application/json"}
    assert_problem(narrow.post("/tasks", content=chunks(), headers=json_type), 413)
    assert_problem(narrow.patch("/tasks/0123", content=chunks(), headers=json_type), 413)
    part = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
    assert_problem(narrow.post("/tasks", content=io.BytesIO(part + b"x" * 60_000), headers=form), 413)


def test_too_many_images_and_classes(narrow: httpx.Client) -> None:
    assert_problem(create(narrow, FIVE), 422, "5 classes")
    assert_problem(create(narrow, FIVE[:3], shots=3), 422, "8")


def test_a_service_without_a_cache_answers_the_same(narrow: httpx.Client, client: httpx.Client) -> None:
    ids = [create(service, FIVE[:4]).json()["task_id"] for service in (narrow, client)]
    queries = [png(name, 50) for name in FIVE[:4]]
    cold, warm = predict(narrow, ids[0], queries), predict(client, ids[1], queries)
    for one, other in zip(cold, warm, strict=True):
        assert one["label"] == other["label"]
        assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-5)
