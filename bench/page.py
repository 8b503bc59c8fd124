"""How soon the page shows the answer to what a hand draws, in a real browser; and the README's picture of the page.

python -m bench.page              times 300 answers while drawing, writes bench/results/page.json
python -m bench.page --picture    draws docs/page.png and docs/page-folders.png only
"""

import argparse
import io
import statistics
import tempfile
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from app.settings import Settings
from bench.common import ROOT, write_results
from bench.newcomer import CHROMIUM, QUIETLY, save_strip
from model.checkpoint import read_info
from tests.helpers.page import PHONE, Visit
from tests.helpers.photographed import COLOURS, coloured
from tests.helpers.serving import serving

ANSWERS = 300


def example(browser: Browser, url: str) -> Page:
    """The page after its example in one click."""
    page = browser.new_page(viewport={"width": 1280, "height": 800}, device_scale_factor=1)
    page.goto(url)
    page.click("#example")
    expect(page.locator("#verdict .label")).to_have_text("clock", timeout=60_000)
    page.wait_for_timeout(3000)  # until the demonstration has drawn its last stroke
    return page


def draw_picture(page: Page) -> None:
    """A screenshot into docs/page.png."""
    out = ROOT / "docs" / "page.png"
    page.locator("#ask .title").click()
    shot = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    shot.quantize(64, dither=Image.Dither.NONE).save(out, optimize=True)
    print(f"wrote {out.relative_to(ROOT)}")


def draw_folders(browser: Browser, url: str, folder: Path) -> None:
    """A phone with folders of photos, and answers about sixteen at once: docs/page-folders.png."""
    for colour in COLOURS[:4]:
        for seed in range(16):
            file = folder / ("teach" if seed < 12 else "ask") / colour / f"{seed}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(coloured(colour, seed))
    with httpx.Client(base_url=url) as client, Visit(browser, client, PHONE) as visit:
        page, screens = visit.page, []
        visit.drop("#teach .title", folder / "teach")
        expect(page.locator(".card .thumbs li")).to_have_count(48, timeout=60_000)
        screens.append(screen(page, "#teach"))
        page.locator(".card .thumbs button").first.click()
        screens.append(shot(page))
        page.keyboard.press("Escape")
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready", timeout=60_000)
        visit.drop("#ask .title", folder / "ask")
        expect(page.locator("#batch-title")).to_contain_text("16 of 16 photos answered", timeout=60_000)
        screens.append(screen(page, "#batch"))
        screens.append(screen(page, "#use"))
    save_strip(screens, "page-folders.png", PHONE["width"])


def screen(page: Page, at: str) -> Image.Image:
    """What a phone shows when it is scrolled to an element."""
    page.locator(at).evaluate("(element) => element.scrollIntoView({block: 'start'})")
    return shot(page)


def shot(page: Page) -> Image.Image:
    """What the browser shows now."""
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def time_answers(page: Page) -> dict[str, float]:
    """Milliseconds from the first point that no earlier request carried to the bars that show it."""
    box = page.locator("#ask-pad canvas").bounding_box() or {"x": 0, "y": 0, "width": 0, "height": 0}
    left, top, wide, high = box["x"] + 30, box["y"] + 30, box["width"] - 60, box["height"] - 60
    page.evaluate("performance.clearMeasures()")
    measured: list[float] = []
    while len(measured) < ANSWERS:
        page.click("#ask .clear")
        page.mouse.move(left, top)
        page.mouse.down()
        for n in range(40):  # a zigzag, at a hand's 60 points a second
            page.mouse.move(left + n * wide / 40, top + (n * 37) % high)
            page.wait_for_timeout(16)
        page.mouse.up()
        measured = page.evaluate("performance.getEntriesByName('leo-answer').map((each) => each.duration)")
    marks = statistics.quantiles(measured, n=100)
    return {"answers": len(measured), "p50_ms": round(marks[49], 1), "p95_ms": round(marks[94], 1)}


def main() -> None:
    """Measure, or draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        models = "photos-lite0" if given.picture else ""
        settings = Settings(data_dir=Path(folder), device="cpu", models=models)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIETLY)
        with serving(settings) as client:
            page = example(browser, str(client.base_url))
            if given.picture:
                draw_picture(page)
                draw_folders(browser, str(client.base_url), Path(folder) / "photos")
            else:
                measured = time_answers(page)
                version = read_info(settings.weights).version
                what = "from a point drawn on the page to the bars that show it"
                write_results("page", what, model_version=version, browser=browser.version, **measured)
                print(measured)
        browser.close()


if __name__ == "__main__":
    main()
