"""The playground in a real browser in front of a real server."""

import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, ViewportSize, expect

from app.http.keys import KeyFile, new_key, write_keys
from app.http.routes.page import PAGE
from app.settings import Settings
from tests.helpers.drawn import CHARACTERS, canvas, encoded, shaky
from tests.helpers.page import DESKTOP, PHONE, Visit
from tests.helpers.serving import serving
from tests.helpers.tasks import FIVE

STRANGER = next(name for name in CHARACTERS if name not in FIVE)


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_five_drawings_make_a_task_that_recognises_each(
    browser: Browser, client: httpx.Client, viewport: ViewportSize, tmp_path: Path
) -> None:
    with Visit(browser, client, viewport) as visit:
        page = visit.page
        visit.teach(FIVE)
        for name in FIVE:
            visit.ask(shaky(CHARACTERS[name], 9))
            visit.expect_verdict(name)
            expect(page.locator("#bars li.best .label")).to_have_text(name)
        expect(page.locator("#bars li")).to_have_count(5)
        assert page.evaluate("performance.getEntriesByName('leo-answer').length") > len(FIVE)
        expect(page.locator("#chart circle")).to_have_count(6)  # before the first step, and after each of five
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
        page.screenshot(path=tmp_path / "page.png", full_page=True)

        visit.ask(shaky(CHARACTERS[STRANGER], 9))
        visit.expect_verdict("None of these")
        page.locator("#reject").fill("0")
        expect(page.locator("#bars li.best")).to_have_count(1)
        assert visit.wrong == []


def test_the_page_is_small_and_loads_nothing_from_elsewhere(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        visit.page.reload(wait_until="networkidle")
        visit.page.click("#example")
        visit.expect_verdict("clock")
        assert {urlsplit(url).netloc for url in visit.asked} == {client.base_url.netloc.decode()}
        loaded = {url for url in visit.asked if "/tasks" not in url}
        files = {file.name for file in PAGE.iterdir()} - {"index.html"}
        assert {urlsplit(url).path for url in loaded} == {
            "/",
            "/page/models.json",
            "/page/access.json",
            *(f"/page/{name}" for name in files),
        }
        assert sum(file.stat().st_size for file in PAGE.iterdir()) <= 200 * 1024
        assert visit.wrong == []


def test_one_click_shows_an_example_and_the_snippets_run(
    browser: Browser, client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        page.click("#example")
        visit.expect_verdict("clock")
        ring = canvas(shaky(CHARACTERS["ring"], 3))
        (tmp_path / "picture.png").write_bytes(encoded(ring))
        monkeypatch.chdir(tmp_path)
        expect(page.locator("#snippet")).to_contain_text("curl")
        curl = page.locator("#snippet").inner_text()
        if shutil.which("curl") is None:
            pytest.skip("curl is not installed (Debian: apt-get install curl)")
        said = subprocess.run(curl, shell=True, capture_output=True, text=True, check=True).stdout  # noqa: S602
        assert '"label":"ring"' in said, said
        page.locator("#tab-curl").press("ArrowRight")
        expect(page.locator("#tab-python")).to_be_focused()
        code = page.locator("#snippet").inner_text()
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert said.startswith("ring "), said


def test_pictures_from_files_teach_and_are_classified(browser: Browser, client: httpx.Client, tmp_path: Path) -> None:
    files = {}
    for name in ("ring", "ex"):
        for seed in (1, 2, 9):
            file = tmp_path / f"{name}{seed}.png"
            file.write_bytes(encoded(canvas(shaky(CHARACTERS[name], seed), side=900, pen=30)))
            files[name, seed] = file
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        cards = page.locator(".card")
        for n, name in enumerate(("ring", "ex")):
            cards.nth(n).locator(".name").fill(name)
            cards.nth(n).locator("input[type=file]").set_input_files([files[name, 1], files[name, 2]])
            expect(cards.nth(n).locator(".thumbs li")).to_have_count(2)
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
        page.locator("#ask input[type=file]").set_input_files(files["ex", 9])
        visit.expect_verdict("ex")
        cards.nth(0).locator("input[type=file]").set_input_files(
            {"name": "a.png", "mimeType": "image/png", "buffer": b"no"}
        )
        expect(page.locator("#error")).to_contain_text("not a picture")


def test_an_example_that_looks_mislabelled_is_pointed_out(
    browser: Browser, client: httpx.Client, tmp_path: Path
) -> None:
    pictures: dict[str, list[Path]] = {"ring": [], "ex": []}
    for label, name, seed in [("ring", "ring", 1), ("ring", "ring", 2), *(("ex", "ex", n) for n in (3, 4, 5))]:
        pictures[label].append(tmp_path / f"{label}{seed}.png")
        pictures[label][-1].write_bytes(encoded(canvas(shaky(CHARACTERS[name], seed))))
    wrong = tmp_path / "wrong.png"
    wrong.write_bytes(encoded(canvas(shaky(CHARACTERS["ring"], 6))))
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        cards = page.locator(".card")
        for n, files in enumerate(([*pictures["ring"]], [*pictures["ex"], wrong])):
            cards.nth(n).locator(".name").fill(("ring", "ex")[n])
            cards.nth(n).locator("input[type=file]").set_input_files(files)
            expect(cards.nth(n).locator(".thumbs li")).to_have_count(len(files))
        page.click("#create")
        expect(page.locator("#quality li").first).to_contain_text("ex, example 4 looks more like ring")
        expect(cards.nth(1).locator(".thumbs li").nth(3)).to_have_class("flagged")
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        cards.nth(1).locator(".thumbs li").nth(3).locator("button").click()
        page.click("#viewer-delete")
        page.keyboard.press("Escape")
        expect(page.locator("#status")).to_contain_text("Ready")
        expect(page.locator("#quality")).to_be_hidden()


def test_errors_say_what_is_missing(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        error = page.locator("#error")
        create, status = page.locator("#create"), page.locator("#status")
        expect(create).to_be_hidden()  # there is nothing to create
        expect(status).to_contain_text("Fill two boxes")
        visit.draw(page.locator(".card canvas").nth(0), CHARACTERS["ring"])
        expect(status).to_contain_text("Fill one more box")
        expect(create).to_be_hidden()
        for n, name in enumerate(("ring", "ex")):
            visit.draw(page.locator(".card canvas").nth(n), CHARACTERS[name])
            page.locator(".name").nth(n).fill("same")
        page.click("#create")
        expect(error).to_contain_text("Two classes are called same")
        page.locator(".name").nth(1).fill("")
        page.click("#create")
        expect(error).to_contain_text("no name")
        page.locator(".name").nth(1).fill("other")
        page.click("#create")
        page.locator(".card .undo").nth(0).click()  # maybe before the task is made
        expect(create).to_have_text("Update classifier")
        expect(create).to_be_visible()


def test_a_key_is_asked_for_only_where_the_server_wants_one(
    browser: Browser, client: httpx.Client, settings: Settings, tmp_path: Path
) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        expect(visit.page.locator("#key-form")).to_be_hidden()
        visit.page.click("#example")
        visit.expect_verdict("clock")
        expect(visit.page.locator("#key-form")).to_be_hidden()

    kept, presented = new_key("ann", "ann", ["read", "write"])
    write_keys(tmp_path / "keys.json", KeyFile(keys=[kept]))
    locked = settings.model_copy(update={"keys_file": tmp_path / "keys.json", "data_dir": tmp_path})
    with serving(locked) as guarded, Visit(browser, guarded, DESKTOP) as visit:
        page = visit.page
        page.click("#example")
        expect(page.locator("#key-form")).to_be_visible()
        page.fill("#key", "wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-note")).to_contain_text("not accepted")
        page.fill("#key", presented)
        page.keyboard.press("Enter")
        visit.expect_verdict("clock")
        expect(page.locator("#key-form")).to_be_hidden()
        snippet = page.locator("#snippet").inner_text()
        assert "$LEO_API_KEY" in snippet
        assert presented not in snippet
