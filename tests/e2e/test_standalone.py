"""Exported folders answer without the service: in a browser, from any web server, and in Python."""

import base64
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from app.settings import Settings
from app.tasks.standalone import RUNTIME, unpack
from tests.helpers.drawn import CHARACTERS, canvas, encoded, photo, png, shaky
from tests.helpers.models import WEIGHTS
from tests.helpers.photographed import product
from tests.helpers.serving import serving
from tests.helpers.standalone import browser_runtime, classify, export, python_classifier, served
from tests.helpers.tasks import FIVE, create, create_from

MARKUP, SCRIPT = "<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>"
#: Classes of drawings, whose names are markup, and the characters drawn for them.
DRAWN = {MARKUP: "ring", SCRIPT: "ex", "__proto__": "tee"}
LARGE = 500_000  # bytes of a picture
THINGS = ("orange", "carton", "lime")


@pytest.fixture(scope="module")
def exported(both: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, Path]]:
    """Tasks of drawings and of photos, and their folders."""
    examples = {
        "omniglot": [(label, png(name, seed)) for label, name in DRAWN.items() for seed in (1, 2)],
        "photos": [(name, encoded(product(name, seed))) for name in THINGS for seed in (1, 2)],
    }
    tasks = {}
    for model, pairs in examples.items():
        task_id = create_from(both, pairs, model=model, name=SCRIPT).json()["task_id"]
        tasks[model] = task_id, export(both, task_id, tmp_path_factory.mktemp(model), browser_runtime())
    return tasks


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that reports no errors and asks for nothing outside this machine."""
    context = browser.new_context()
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    opened.on("dialog", lambda dialog: wrong.append(dialog.message))
    opened.on("request", lambda asked: None if asked.url.startswith(OURS) else wrong.append(asked.url))
    yield opened
    context.close()
    assert wrong == []


OURS = ("http://127.0.0.1:", "blob:http://127.0.0.1:")


def turned(picture: Image.Image, orientation: int) -> bytes:
    """A JPEG that is turned by what its EXIF says."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture, "JPEG", exif=exif, quality=95)


def drawn_queries() -> list[bytes]:
    hand = shaky(CHARACTERS["tee"], 9)
    ring = CHARACTERS["ring"]
    return [
        *(png(name, seed) for name in DRAWN.values() for seed in (7, 8)),
        encoded(photo(CHARACTERS["ex"], seed=3), "JPEG", quality=92),
        encoded(canvas(ring, side=1200, pen=30, mode="RGB", ink=(150, 30, 90), paper=(230, 220, 180)), "WEBP"),
        encoded(canvas(ring, mode="RGBA", ink=(250, 250, 200, 255), paper=(0, 0, 0, 0))),
        encoded(canvas(ring, mode="RGBA", ink=(0, 0, 0, 255), paper=(0, 0, 0, 0))),
        *(turned(canvas(hand, side=300, pen=12), orientation) for orientation in (3, 6, 8)),
    ]


def photographed_queries() -> list[bytes]:
    see_through = product("lime", 12).convert("RGBA")
    see_through.putalpha(Image.linear_gradient("L").resize(see_through.size))
    return [
        *(encoded(product(name, seed)) for name in THINGS for seed in (11, 12)),
        encoded(product("orange", 13, (640, 427)), "JPEG", quality=90),
        encoded(see_through),
        *(turned(product("carton", 14), orientation) for orientation in (2, 6)),
        encoded(product("lime", 15).convert("L"), "JPEG"),
        encoded(product("lime", 16, (4200, 3100)), "JPEG", quality=85),
    ]


def expect_the_services_answers(
    client: httpx.Client,
    task_id: str,
    labels: list[str],
    queries: Sequence[bytes],
    answers: Sequence[tuple[list[float], float]],
) -> None:
    for query, (answer, known) in zip(queries, answers, strict=True):
        files = [("images", ("query", query))]
        said = client.post(f"/tasks/{task_id}/predict", files=files, params={"top_k": len(labels)}).json()
        for score in said["predictions"][0]["top_k"]:
            # Browsers keep colours multiplied by alpha, and lose a level of some; they decode large JPEGs whole.
            near = 0.05 if len(query) > LARGE else 0.02
            assert answer[labels.index(score["label"])] == pytest.approx(score["confidence"], abs=near)
        assert known == pytest.approx(said["predictions"][0]["known"], abs=0.1)
        assert labels[max(range(len(labels)), key=answer.__getitem__)] == said["predictions"][0]["label"]


@pytest.mark.parametrize(
    ("model", "queries"), [("omniglot", drawn_queries), ("photos", photographed_queries)], ids=["drawings", "photos"]
)
def test_in_a_browser_the_folder_answers_as_the_service_does(
    both: httpx.Client, exported: dict[str, tuple[str, Path]], page: Page, model: str, queries: object
) -> None:
    task_id, folder = exported[model]
    asked = queries()  # type: ignore[operator]
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))["labels"]
    with served(folder) as address:
        page.goto(address)
        expect(page.locator("#ask")).to_be_visible()
        answers = [classify(page, query) for query in asked]
    expect_the_services_answers(both, task_id, labels, asked, answers)


def test_the_page_shows_labels_as_text(exported: dict[str, tuple[str, Path]], page: Page, tmp_path: Path) -> None:
    _, folder = exported["omniglot"]
    for name, content in {"ring.png": png("ring", 9), "blank.png": encoded(Image.new("L", (80, 80), 255))}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "words.png").write_bytes(b"no picture")
    with served(folder) as address:
        page.goto(address)
        expect(page.locator("h1")).to_have_text(SCRIPT)
        page.set_input_files("#files", [tmp_path / name for name in ("ring.png", "blank.png", "words.png")])
        expect(page.locator("#answers > li")).to_have_count(3)
        expect(page.locator("#answers > li").nth(2).locator(".label")).to_have_text(MARKUP)
        expect(page.locator("#answers > li").nth(1).locator(".label")).to_contain_text("No drawing found")
        expect(page.locator("#answers > li").nth(0).locator(".label")).to_contain_text("cannot be read")
        assert page.locator("#answers script, #answers .label img, #answers .share img").count() == 0
        box = page.locator("#pad").bounding_box()
        assert box is not None
        for stroke in CHARACTERS["ex"]:
            points = [
                (box["x"] + (0.2 + 0.6 * x) * box["width"], box["y"] + (0.2 + 0.6 * y) * box["height"])
                for x, y in stroke
            ]
            page.mouse.move(*points[0])
            page.mouse.down()
            page.mouse.move(*points[-1], steps=5)
            page.mouse.up()
        expect(page.locator("#answers > li").nth(0).locator(".label")).to_have_text(SCRIPT)


def test_without_onnx_runtime_the_page_says_what_to_put_where(
    both: httpx.Client, exported: dict[str, tuple[str, Path]], browser: Browser, tmp_path: Path
) -> None:
    folder = export(both, exported["omniglot"][0], tmp_path / "bare", None)
    context = browser.new_context()
    with served(folder) as address:
        page = context.new_page()
        page.goto(address)
        expect(page.locator("#missing")).to_be_visible()
        expect(page.locator("#missing")).to_contain_text("npm install onnxruntime-web")
        expect(page.locator("#ask")).to_be_hidden()
    context.close()


@pytest.mark.parametrize("model", ["omniglot", "photos"])
def test_the_python_file_answers_as_the_service_does(
    both: httpx.Client, exported: dict[str, tuple[str, Path]], tmp_path: Path, model: str
) -> None:
    task_id, folder = exported[model]
    queries = drawn_queries() if model == "omniglot" else photographed_queries()
    paths = [tmp_path / f"{n}.png" for n in range(len(queries))]
    for path, query in zip(paths, queries, strict=True):
        path.write_bytes(query)
    (tmp_path / "blank.png").write_bytes(encoded(Image.new("RGB", (60, 40), "white")))
    command = [sys.executable, folder / "predict.py", *paths, tmp_path / "blank.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    *lines, blank = (line.split("\t") for line in done.stdout.splitlines())
    for path, query, (name, label, share, known) in zip(paths, queries, lines, strict=True):
        said = both.post(f"/tasks/{task_id}/predict", files=[("images", ("query", query))]).json()["predictions"][0]
        assert (name, label) == (str(path), said["label"])
        assert float(share) == pytest.approx(said["confidence"], abs=1e-3)
        assert float(known) == pytest.approx(said["known"], abs=0.01)
    if model == "omniglot":
        assert blank[1:] == ["no drawing found", "nan", "nan"]


@pytest.mark.parametrize("model", ["omniglot", "photos"])
def test_as_an_mlflow_model_the_folder_answers_as_the_service_does(
    both: httpx.Client, exported: dict[str, tuple[str, Path]], model: str
) -> None:
    """Loaded as MLflow does it; `make test-mlflow` has MLflow itself do it."""
    task_id, folder = exported[model]
    loaded = python_classifier(folder)
    queries = drawn_queries() if model == "omniglot" else photographed_queries()
    blank = encoded(Image.new("RGB", (60, 40), "white"))
    *answers, nothing = loaded.predict([*queries, blank])
    assert loaded.predict([base64.b64encode(queries[0]).decode()]) == answers[:1]
    for query, answer in zip(queries, answers, strict=True):
        said = both.post(f"/tasks/{task_id}/predict", files=[("images", ("query", query))]).json()["predictions"][0]
        assert answer["label"] == said["label"]
        assert answer["known"] == pytest.approx(said["known"], abs=0.01)
        assert answer["probabilities"][said["label"]] == pytest.approx(said["confidence"], abs=1e-3)
    if model == "omniglot":
        assert nothing == {"label": None, "probabilities": {}, "known": None}


def test_the_archive_holds_fixed_names_and_no_other_host(
    both: httpx.Client, exported: dict[str, tuple[str, Path]]
) -> None:
    task_id, _ = exported["omniglot"]
    response = both.get(f"/tasks/{task_id}/standalone.zip")
    assert response.headers["content-type"] == "application/octet-stream"
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        texts = {"index.html", "page.js", "classifier.js", "style.css", "icon.svg", "predict.py", "labels.json"}
        texts |= {"MLmodel", "python_env.yaml", "requirements.txt"}
        texts |= {
            f"code/leo_standalone_{name}.py" for name in ("classifier", "levels", "profiles", "square", "upright")
        }
        assert set(archive.namelist()) == texts | {"classifier.onnx"}
        written = {name: archive.read(name).decode() for name in texts}
    assert json.loads(written["labels.json"])["labels"] == sorted(DRAWN, key=list(DRAWN).index)
    assert "default-src 'none'" in written["index.html"]
    written["icon.svg"] = ""  # names the namespace of SVG
    assert "http:" not in "".join(text for name, text in written.items() if name != "index.html")
    assert "https:" not in "".join(written.values())
    assert both.get(f"/tasks/{task_id}/standalone.zip").content == response.content


def test_with_the_runtime_configured_the_archive_is_complete(tmp_path: Path) -> None:
    package = browser_runtime()
    with pytest.raises(ValueError, match="npm install onnxruntime-web"):
        Settings(browser_runtime=package / "dist")
    settings = Settings(browser_runtime=package, data_dir=tmp_path, weights=WEIGHTS / "omniglot", device="cpu")
    with serving(settings) as client:
        task_id = create(client, FIVE).json()["task_id"]
        packed = unpack(client.get(f"/tasks/{task_id}/standalone.zip").content)
    for source, name in RUNTIME.items():
        assert packed[name] == (package / source).read_bytes()
