"""Many classes with long labels: nothing is wider than the screen, and what counts is in sight."""

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, FloatRect, Locator, Page, ViewportSize, expect

from tests.helpers.page import DESKTOP, NARROW, PHONE, Visit
from tests.helpers.photographed import COLOURS, coloured

TABLET: ViewportSize = {"width": 1024, "height": 768}
LABELS = [
    *(f"{colour} things" for colour in COLOURS),
    "Donaudampfschifffahrtsgesellschaftskapitän",
    "fire extinguisher, wall mounted (type B, 6 kg), with hose",
    "x" * 100,
    "y" * 100,
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`teach` and `ask`, folders of classes. The last two have one photo in common, so that both are suspected."""
    root = tmp_path_factory.mktemp("labels")
    for n, label in enumerate(LABELS):
        for seed in range(3):
            file = root / ("teach" if seed < 2 else "ask") / label / f"{seed}-{'long_name_' * 8}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(coloured(COLOURS[n % len(COLOURS)], seed + 10 * n))
    for label in LABELS[-2:]:
        (root / "teach" / label / "same.jpg").write_bytes(coloured("gold", 500))
    return root


def fits(page: Page) -> bool:
    """Whether all text is inside its section and its dialog, and the page inside the window."""
    return bool(
        page.evaluate(
            """() => [document.documentElement, ...document.querySelectorAll("section, #quality, dialog[open]")]
                .every((each) => each.scrollWidth <= each.clientWidth + 1)"""
        )
    )


def box(locator: Locator) -> FloatRect:
    """Where an element is."""
    found = locator.bounding_box()
    assert found is not None
    return found


@pytest.mark.parametrize("viewport", [DESKTOP, TABLET, PHONE, NARROW], ids=["desktop", "tablet", "phone", "narrow"])
def test_long_labels_are_no_wider_than_the_screen(
    browser: Browser, both: httpx.Client, folders: Path, viewport: ViewportSize
) -> None:
    with Visit(browser, both, viewport) as visit:
        page = visit.page
        visit.drop("#teach .title", folders / "teach")
        expect(page.locator(".card")).to_have_count(len(LABELS))
        expect(page.locator(".card .thumbs li")).to_have_count(2 * len(LABELS) + 2)
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready")
        expect(page.locator("#quality")).to_contain_text("x" * 100)
        assert fits(page), "what is worth a look"

        page.locator("#ask input[type=file]").set_input_files(next((folders / "ask" / LABELS[-1]).iterdir()))
        best = page.locator("#bars li.best")
        expect(best).to_have_count(1)
        row, bars = box(best), box(page.locator("#bars"))
        assert bars["y"] <= row["y"] <= bars["y"] + bars["height"] + 1 - row["height"], "the answer's bar"
        assert box(best.locator(".track"))["width"] >= 24, "the answer's bar is too short to read"
        assert fits(page), "an answer"

        visit.drop("#ask .title", folders / "ask")
        expect(page.locator("#batch-title")).to_contain_text(f"of {len(LABELS)} photos answered")
        expect(page.locator("#batch-stop")).to_be_hidden()
        assert fits(page), "the table"
        table = box(page.locator("#batch .scrolling").last)
        for each in ("#batch-rows tr:first-child td:has(select)", ".confusion caption span"):
            found = box(page.locator(each))
            assert found["x"] + found["width"] <= table["x"] + table["width"] + 1, f"{each} is seen by scrolling only"

        page.locator(".card .thumbs button").first.click()
        assert fits(page), "one example"
        page.keyboard.press("Escape")
        assert visit.wrong == []
