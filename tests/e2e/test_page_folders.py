"""Photos by the hundred: folders dropped on the page, progress, parts, a table of answers, and files that are none."""

import csv
import io
import re
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ViewportSize, expect

from app.settings import Settings
from tests.helpers.drawn import encoded
from tests.helpers.page import DESKTOP, PHONE, Visit
from tests.helpers.page_task import photos
from tests.helpers.photographed import COLOURS, coloured, product
from tests.helpers.serving import serving

WATCH_UPLOADS = """() => {
    const before = window.fetch;
    window.uploads = []; // the type and size of each file in each form that is sent
    window.fetch = (path, request) => {
        if (request?.body instanceof FormData) uploads.push(request.body.getAll("images").map((f) => [f.type, f.size]));
        return before(path, request);
    };
}"""
PHOTOS, MORE = 30, 6  # of each class, to teach and to ask about


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`teach` and `ask`, folders of ten folders of photos, with what else lies in real folders."""
    root = tmp_path_factory.mktemp("folders")
    for colour in COLOURS:
        for seed in range(PHOTOS + MORE):
            file = root / ("teach" if seed < PHOTOS else "ask") / colour / f"{seed}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(coloured(colour, seed))
    (root / "teach" / ".DS_Store").write_bytes(b"hidden")
    (root / "teach" / "red" / "._0.jpg").write_bytes(b"hidden")
    (root / "teach" / "red" / "notes.txt").write_text("not a picture")
    (root / "teach" / "red" / "empty.jpg").write_bytes(b"")
    (root / "teach" / "red" / "broken.jpg").write_bytes(b"not a picture either")
    return root


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_ten_folders_of_thirty_photos_teach_and_sixty_are_asked(
    browser: Browser, both: httpx.Client, folders: Path, viewport: ViewportSize, tmp_path: Path
) -> None:
    with Visit(browser, both, viewport) as visit:
        page = visit.page
        page.evaluate(
            """() => {
                const seen = (window.seen = new Set());
                new MutationObserver(() => seen.add(document.getElementById("work-text").textContent)).observe(
                    document.getElementById("work-text"), {childList: true});
            }"""
        )
        visit.drop("#teach .title", folders / "teach")
        expect(page.locator(".card")).to_have_count(10, timeout=120_000)
        expect(page.locator(".card .thumbs li")).to_have_count(10 * PHOTOS, timeout=180_000)
        expect(page.locator("#error")).to_contain_text("3 files were left out")
        names = [name.input_value() for name in page.locator(".name").all()]
        assert names == sorted(COLOURS)
        page.evaluate(WATCH_UPLOADS)
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 10 classes", timeout=180_000)
        seen = page.evaluate("[...seen]")
        assert any(text.startswith("Reading photos: 1") for text in seen), seen
        assert any(text.startswith("Sending examples: 48 of 300") for text in seen), seen
        task = both.get(f"/tasks/{page.url.rpartition('=')[2]}").json()
        assert task["shots"] == dict.fromkeys(COLOURS, PHOTOS)
        uploads = page.evaluate("uploads")
        assert len(uploads) > 5
        assert all(sum(size for _, size in files) < 4 * 2**20 for files in uploads)

        visit.drop("#ask .title", folders / "ask")
        expect(page.locator("#batch-title")).to_contain_text("60 of 60 photos answered", timeout=180_000)
        expect(page.locator("#batch-stop")).to_be_hidden()
        assert page.locator(".confusion tbody tr").count() == 10
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
        page.screenshot(path=tmp_path / "folders.png", full_page=True)
        found = Axe().run(page).response["violations"]
        assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []
        with page.expect_download() as download:
            page.click("#batch-csv")
        rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8-sig"))))
        assert len(rows) == 60
        right = sum(row["right"] == "true" for row in rows)
        assert right >= 50
        assert all((row["answer"] == row["folder"]) == (row["right"] == "true") for row in rows)
        expect(page.locator("#batch-title")).to_contain_text(f"{right} right")
        on_diagonal = [int(each.inner_text()) for each in page.locator(".confusion .right").all()]
        assert sum(on_diagonal) == right

        page.reload()
        expect(page.locator(".card .thumbs li")).to_have_count(10 * PHOTOS, timeout=180_000)
        expect(page.locator("#status")).to_contain_text("Ready: 10 classes")
        assert visit.wrong == []


def test_photos_are_sent_as_small_jpegs(browser: Browser, both: httpx.Client, tmp_path: Path) -> None:
    for name in ("orange", "carton"):
        (tmp_path / name).mkdir()
        for seed in range(3):
            (tmp_path / name / f"{seed}.png").write_bytes(
                encoded(product(name, seed).resize((3000, 2250)), compress_level=1)
            )
    with Visit(browser, both, DESKTOP) as visit:
        page = visit.page
        visit.drop("#teach .title", tmp_path / "orange", tmp_path / "carton")
        expect(page.locator(".card .thumbs li")).to_have_count(6, timeout=180_000)
        page.evaluate(WATCH_UPLOADS)
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
        [files] = page.evaluate("uploads")
        assert [kind for kind, _ in files] == ["image/jpeg"] * 6
        assert all(size < 100_000 for _, size in files)


def test_what_is_dropped_never_replaces_the_page(
    browser: Browser, client: httpx.Client, folders: Path, tmp_path: Path
) -> None:
    link = tmp_path / "page.html"
    link.write_text("<p>another page</p>")
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        address = page.url
        visit.drop("header", link)
        expect(page.locator("#error")).to_contain_text("not a picture")
        visit.drop("header", folders / "ask" / "red" / "30.jpg")
        expect(page.locator(".card").first.locator(".thumbs li")).to_have_count(1)
        visit.drop(".card >> nth=1", folders / "ask" / "blue")  # a folder on a class fills and names it
        expect(page.locator(".card").nth(1).locator(".thumbs li")).to_have_count(MORE)
        expect(page.locator(".name").nth(1)).to_have_value("blue")
        expect(page.locator(".card")).to_have_count(5)
        page.evaluate(
            """() => {
                const data = new DataTransfer();
                data.setData("text/uri-list", "https://example.org/cat.png");
                const drop = new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
                document.querySelector("main").dispatchEvent(drop);
                if (!drop.defaultPrevented) throw new Error("a dropped link would replace the page");
            }"""
        )
        expect(page.locator("#error")).to_contain_text("link")
        assert page.url.partition("#")[0] == address.partition("#")[0]


def test_a_file_that_only_the_server_reads_is_sent_as_it_is(
    browser: Browser, both: httpx.Client, tmp_path: Path
) -> None:
    # Chromium cannot show TIFF files, as it cannot show HEIC; the server reads both.
    for name in ("orange", "carton"):
        (tmp_path / name).mkdir()
        for seed in range(2):
            (tmp_path / name / f"{seed}.tiff").write_bytes(encoded(product(name, seed, (200, 150)), "TIFF"))
    (tmp_path / "orange" / "broken.tiff").write_bytes(b"II*\0 and no more")
    with Visit(browser, both, DESKTOP) as visit:
        page = visit.page
        visit.drop("#teach .title", tmp_path / "orange", tmp_path / "carton")
        expect(page.locator(".card .thumbs li")).to_have_count(5)
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
        expect(page.locator("#error")).to_contain_text("could not read 1 photo")
        marked = page.locator(".card .thumbs li.flagged")
        expect(marked).to_have_count(1)
        expect(marked).to_have_attribute("title", re.compile("^This picture "))
        page.click("#theme")  # which paints all thumbnails anew
        expect(marked).to_have_count(1)
        page.locator("#ask input[type=file]").set_input_files(tmp_path / "orange" / "broken.tiff")
        expect(page.locator("#ask-note")).to_contain_text("This picture ")
        assert both.get(f"/tasks/{page.url.rpartition('=')[2]}").json()["shots"] == {"carton": 2, "orange": 2}


def test_a_drawing_among_photos_is_noticed(browser: Browser, both: httpx.Client, folders: Path) -> None:
    with Visit(browser, both, DESKTOP) as visit:
        page = visit.page
        visit.drop("#teach .title", folders / "ask" / "red", folders / "ask" / "blue")
        expect(page.locator(".card .thumbs li")).to_have_count(2 * MORE)
        expect(page.locator("#status")).not_to_contain_text("drawing")
        page.locator(".card .another").first.click()
        visit.draw(page.locator(".card canvas").first, (((0.1, 0.1), (0.9, 0.9)),))
        expect(page.locator("#status")).to_contain_text("One drawing is among the photos (in blue)")


def test_the_camera_takes_a_burst_while_the_button_is_held(browser: Browser, both: httpx.Client) -> None:
    with Visit(browser, both, DESKTOP) as visit:
        page = visit.page
        page.locator(".card .camera").nth(2).click()
        expect(page.locator("#camera-shoot")).to_be_enabled()
        page.locator("#camera-shoot").hover()
        page.mouse.down()
        thumbs = page.locator(".card").nth(2).locator(".thumbs li")
        expect(page.locator("#camera-note")).to_contain_text("4 photos taken", timeout=120_000)
        page.mouse.up()
        page.keyboard.press("Escape")
        expect(page.locator("#camera")).to_be_hidden()
        assert page.evaluate("document.getElementById('camera-video').srcObject === null"), "the camera is still on"
        page.wait_for_function("!document.querySelector('#camera-shoot:active')")
        expect(page.locator("#toast-text")).to_contain_text("Took")
        assert thumbs.count() >= 4
        page.click("#toast-undo")
        expect(thumbs).to_have_count(0)


def test_a_formula_in_a_file_name_stays_a_text(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        text = visit.page.evaluate(
            """async () => {
                const {toCsv} = await import("./page/tables.js");
                return toCsv([["=1+1", 'a "quoted", name', "-3", -3, null]]).text();
            }"""
        )
        assert next(csv.reader([text.removeprefix("\ufeff")])) == ["'=1+1", 'a "quoted", name', "'-3", "-3", ""]


def test_more_photos_than_a_classifier_may_have_are_not_even_read(
    browser: Browser, settings: Settings, tmp_path: Path
) -> None:
    with (
        serving(settings.model_copy(update={"max_images": 6, "data_dir": tmp_path})) as few,
        Visit(browser, few, DESKTOP) as visit,
    ):
        red, blue = photos(tmp_path / "set", "red", "blue", count=3)
        (lime,) = photos(tmp_path / "more", "lime", count=1)
        visit.drop("#teach .title", red, blue, lime)
        expect(visit.page.locator("#error")).to_contain_text("may have 6 examples, so there is room for 6 more")
        expect(visit.page.locator("#error")).to_contain_text("You chose 7 photos.")
        visit.drop("#teach .title", red, blue)
        expect(visit.page.locator(".card .thumbs li")).to_have_count(6)
        visit.drop("#teach .title", lime)
        expect(visit.page.locator("#error")).to_contain_text("room for 0 more. You chose 1 photo.")
        expect(visit.page.locator(".card .thumbs li")).to_have_count(6)
