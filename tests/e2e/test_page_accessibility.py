"""The page for everybody: by keyboard, for assistive technology, in both colour schemes."""

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.helpers.drawn import CHARACTERS
from tests.helpers.page import DESKTOP, NARROW, PHONE, Visit
from tests.helpers.page_task import photos


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    """A visitor's preferred colour scheme."""
    return str(request.param)


def test_the_keyboard_alone_is_enough(browser: Browser, client: httpx.Client) -> None:
    def stroke(page: Page, *keys: str) -> None:
        for key in (" ", *keys, " "):
            page.keyboard.press(key)

    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        pads = page.locator(".card canvas")
        pads.nth(0).focus()
        stroke(page, *["Shift+ArrowRight"] * 2)
        pads.nth(1).focus()
        stroke(page, *["Shift+ArrowDown"] * 2)
        page.locator("#create").press("Enter")
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
        page.locator("#ask-pad canvas").focus()
        stroke(page, *["Shift+ArrowDown"] * 2)
        visit.expect_verdict("B")
        expect(page.locator("#spoken")).to_contain_text("B, ")
        page.keyboard.press("Delete")
        visit.expect_verdict("\u00a0")


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE, NARROW], ids=["desktop", "phone", "narrow"])
def test_axe_finds_no_serious_violation(
    browser: Browser, client: httpx.Client, viewport: ViewportSize, scheme: str, tmp_path: Path
) -> None:
    with Visit(browser, client, viewport, scheme) as visit:
        page = visit.page
        for state in ("empty", "taught", "library", "viewer", "camera", "share"):
            if state == "taught":
                page.click("#example")
                visit.expect_verdict("clock")
                page.evaluate("document.getElementById('key-form').hidden = false")
                page.locator(".card .another").first.click()
                page.locator(".card .remove").nth(2).click()
            elif state == "library":
                page.click("#library-open")
                expect(page.locator("#library-kept li")).to_have_count(1)
            elif state == "viewer":
                page.locator(".card .thumbs button").first.click()
            elif state == "camera":
                page.locator(".card .camera").first.click()
                expect(page.locator("#camera-shoot")).to_be_enabled()
            elif state == "share":
                page.locator("#takeaway").get_by_role("button", name="Share").click()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{state} scrolls sideways"
            narrow = (
                "[...document.querySelectorAll('dialog[open]')].every((each) => each.scrollWidth <= each.clientWidth)"
            )
            assert page.evaluate(narrow), f"{state} scrolls sideways"
            page.screenshot(path=tmp_path / f"{state}.png")
            found = Axe().run(page).response["violations"]
            page.keyboard.press("Escape")
            serious = [v for v in found if v["impact"] in ("serious", "critical")]
            assert serious == [], [(v["id"], [node["html"] for node in v["nodes"]]) for v in serious]


def violations(page: Page) -> list[tuple[str, list[str]]]:
    """Everything that axe finds, however small: its name, and the elements."""
    found = Axe().run(page).response["violations"]
    return [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found]


def states(visit: Visit, folder: Path) -> Iterator[str]:
    """Lead the page through its states, as a visitor with photos would, and name each."""
    page = visit.page
    ask = photos(folder / "ask", "red", "blue", count=3)
    yield "start"
    page.locator("#none summary").click()
    visit.draw(page.locator("#negatives canvas").first, CHARACTERS["ring"])
    yield "negatives"
    visit.draw(page.locator("#cards canvas").first, CHARACTERS["ring"])
    visit.draw(page.locator("#cards canvas").nth(1), CHARACTERS["ex"])
    page.locator(".name").nth(1).fill("A")
    page.click("#create")
    expect(page.locator("#error")).to_contain_text("Two classes")
    yield "error"
    page.click("#start-over")
    expect(page.locator(".card .pad.drawn")).to_have_count(0)
    visit.drop("#teach .title", *photos(folder / "teach", "red", "blue"))
    expect(page.locator(".card .thumbs li")).to_have_count(8)
    yield "photos"
    page.click("#create")
    expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
    yield "learned"
    page.locator("#ask input[type=file]").set_input_files(ask[0] / "0.jpg")
    expect(page.locator("#bars li.best, #verdict.unknown")).to_have_count(1)
    yield "asked"
    visit.drop("#ask .title", *ask)
    expect(page.locator("#batch-title")).to_contain_text("6 of 6 photos answered")
    expect(page.locator("#batch-stop")).to_be_hidden()
    yield "table"
    page.locator(".card .thumbs button").first.click()
    page.click("#viewer-delete")  # with the offer to undo it, inside the dialog
    expect(page.locator("#toast-undo")).to_be_visible()
    yield "viewer"
    page.keyboard.press("Escape")
    page.route("**/tasks/*", lambda route: route.fulfill(status=404, json={"detail": "gone", "status": 404}))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#status")).to_contain_text("does not have this classifier")
    yield "lost"
    page.unroute("**/tasks/*")
    page.click("#library-open")
    expect(page.locator("#library-kept > li")).to_have_count(2)
    yield "library"
    page.keyboard.press("Escape")
    page.evaluate("location.hash = '#task=' + 'f'.repeat(24)")
    expect(page.locator("#notice")).to_be_visible()
    yield "notice"


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_in_any_state(
    browser: Browser, both: httpx.Client, viewport: ViewportSize, scheme: str, tmp_path: Path
) -> None:
    with Visit(browser, both, viewport, scheme) as visit:
        found = {}
        for state in states(visit, tmp_path):
            visit.page.screenshot(path=tmp_path / f"{state}.png", full_page=True)
            found[state] = violations(visit.page)
            is_wide = visit.page.evaluate("document.documentElement.scrollWidth > innerWidth")
            assert not is_wide, f"{state} scrolls sideways"
        assert {state: each for state, each in found.items() if each} == {}


def test_the_chosen_theme_is_remembered(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page

        def ground() -> int:
            """Return the lightness of the page's corner, 0 to 255."""
            return int(Image.open(io.BytesIO(page.screenshot())).convert("L").getpixel((3, 3)))  # type: ignore[arg-type]

        assert ground() > 200
        page.click("#theme")
        assert ground() < 60
        page.reload()
        expect(page.locator(".card")).to_have_count(5)
        assert ground() < 60
        page.click("#theme")
        assert ground() > 200
