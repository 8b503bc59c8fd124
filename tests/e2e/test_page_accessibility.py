"""The page for everybody: by keyboard, for assistive technology, in both colour schemes."""

import io
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.helpers.page import DESKTOP, NARROW, PHONE, Visit


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
