"""How long a newcomer needs from the opened page to a right answer about photos of their own, step by step.

python -m bench.newcomer                    photos made by code; draws docs/page-steps.png and docs/page-drop.png
python -m bench.newcomer --photos FOLDER    photos in a folder or zip of classes instead; draws nothing

A driven Chromium does what a hand would do, and waits as long as somebody would who sees the page for the first time:
`PAUSES` says how long. Both ways are timed: on a phone, each class's photos are chosen from the phone's album; on a
desktop, folders of photos are dropped. Writes bench/results/newcomer.json.
"""

import argparse
import io
import tempfile
import time
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from app.settings import Settings
from bench.common import ROOT, write_results
from model.data.classes import find_classes
from tests.helpers.page import PHONE, Visit
from tests.helpers.photographed import jpeg, product
from tests.helpers.serving import serving

CHROMIUM = "/usr/bin/chromium"
QUIETLY = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PAUSES = {  # seconds
    "look at a screen that is new": 5.0,
    "find and choose photos": 12.0,
    "find folders, and drag them onto the page": 15.0,
    "type a letter": 0.3,
    "look at an answer": 3.0,
}
TAUGHT = 4  # photos of each class
CLASSES = 3  # of which the last is none that is taught


class Newcomer:
    """Somebody who has opened the page for the first time."""

    def __init__(self, browser: Browser, client: httpx.Client, viewport: ViewportSize) -> None:
        self.began = time.perf_counter()
        self.visit = Visit(browser, client, viewport)
        self.page: Page = self.visit.page
        self.steps: list[dict[str, str | float]] = []
        self.screens: list[Image.Image] = []

    def pause(self, reason: str, times: int = 1) -> None:
        """Wait as long as a person takes for this."""
        self.page.wait_for_timeout(1000 * PAUSES[reason] * times)

    def done(self, step: str, at: str) -> None:
        """Note the time, and take a picture of the screen where this element begins."""
        self.steps.append({"step": step, "seconds": round(time.perf_counter() - self.began, 1)})
        self.page.locator(at).evaluate("(element) => element.scrollIntoView({block: 'start'})")
        self.screens.append(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB"))
        self.pause("look at a screen that is new")

    def create(self) -> None:
        """Press the button that has appeared."""
        self.page.click("#create")
        expect(self.page.locator("#status")).to_contain_text("Ready", timeout=60_000)
        self.done("pressed “Create classifier”", "#ask")

    def ask(self, photo: Path, label: str | None) -> None:
        """Show it a photo that it has not seen, and read what it says."""
        self.pause("find and choose photos")
        self.page.locator("#ask input[type=file]").set_input_files(photo)
        if label is not None:
            self.visit.expect_verdict(label)
            self.done("showed it another photo: a right answer", "#ask")
            return
        expect(self.page.locator("#correct-none")).to_be_visible()
        self.pause("look at an answer")
        self.page.click("#correct-none")
        expect(self.page.locator("#toast-text")).to_contain_text("Added this")
        expect(self.page.locator("#status")).to_contain_text("Ready")
        self.done("corrected what is none of them", "#ask")


def on_a_phone(new: Newcomer, photos: dict[str, list[Path]]) -> None:
    """Choose the photos of each class, and name it."""
    *taught, stranger = photos
    new.done("opened the page", "header")
    for n, name in enumerate(taught):
        card = new.page.locator(".card").nth(n)
        new.pause("find and choose photos")
        card.locator("input[type=file]").set_input_files(photos[name][:TAUGHT])
        expect(card.locator(".thumbs li")).to_have_count(TAUGHT)
        card.locator(".name").fill(name)
        new.pause("type a letter", len(name))
        new.done(f"filled box {n + 1}", "#teach")
    new.create()
    new.ask(photos[taught[1]][TAUGHT], taught[1])
    new.ask(photos[stranger][TAUGHT], None)


def on_a_desktop(new: Newcomer, photos: dict[str, list[Path]], folder: Path) -> None:
    """Drop a folder of each class."""
    *taught, stranger = photos
    new.done("opened the page", "header")
    for name in taught:
        (folder / name).mkdir(parents=True)
        for photo in photos[name][:TAUGHT]:
            (folder / name / photo.name).write_bytes(photo.read_bytes())
    new.pause("find folders, and drag them onto the page")
    new.visit.drop("#teach .title", *(folder / name for name in taught))
    expect(new.page.locator(".card .thumbs li")).to_have_count(TAUGHT * len(taught), timeout=60_000)
    new.done("dropped folders of photos", "#teach")
    new.create()
    new.ask(photos[taught[1]][TAUGHT], taught[1])
    new.ask(photos[stranger][TAUGHT], None)


def made_photos(folder: Path) -> dict[str, list[Path]]:
    """Photos made by code, by the class that they are of."""
    photos: dict[str, list[Path]] = {}
    for name in ("orange", "lime", "carton"):
        photos[name] = [folder / f"{name}{seed}.jpg" for seed in range(TAUGHT + 1)]
        for seed, file in enumerate(photos[name]):
            file.write_bytes(jpeg(product(name, seed)))
    return photos


def real_photos(data: Path, folder: Path) -> dict[str, list[Path]]:
    """The first photos of some classes of a folder or zip, evenly spread among them."""
    classes = find_classes(data).named()
    names = sorted(classes)[:: len(classes) // CLASSES][:CLASSES]
    photos: dict[str, list[Path]] = {}
    for name in names:
        photos[name[-1]] = [
            folder / f"{name[-1]}-{n}{file.suffix}" for n, file in enumerate(classes[name][: TAUGHT + 1])
        ]
        for path, file in zip(photos[name[-1]], classes[name], strict=False):
            path.write_bytes(file.read())
    return photos


def save_strip(screens: list[Image.Image], name: str, width: int, columns: int = 6) -> None:
    """Screens in rows, each so many pixels wide, as a picture in docs/."""
    gap = 24
    height = screens[0].height * width // screens[0].width
    columns, rows = min(columns, len(screens)), -(-len(screens) // columns)
    strip = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for n, each in enumerate(screens):
        shown = each.resize((width, height), Image.Resampling.LANCZOS)
        strip.paste(shown, (n % columns * (width + gap), n // columns * (height + gap)))
    strip.quantize(200, dither=Image.Dither.NONE).save(ROOT / "docs" / name, optimize=True)
    print(f"wrote docs/{name}")


def main() -> None:
    """Go both ways once, each in a browser that has never seen the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder or zip of classes of photos")
    given = parser.parse_args()
    ways: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        folder = Path(made)
        photos = real_photos(given.photos, folder) if given.photos else made_photos(folder)
        settings = Settings(data_dir=folder / "data", device="cpu", models="photos-lite0")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIETLY)
        expect.set_options(timeout=30_000)
        with serving(settings) as client:
            for way, viewport in (("phone", PHONE), ("desktop", DESKTOP)):
                new = Newcomer(browser, client, viewport)
                with new.visit:
                    if viewport is PHONE:
                        on_a_phone(new, photos)
                    else:
                        on_a_desktop(new, photos, folder / "dropped")
                right = next(each["seconds"] for each in new.steps if "right answer" in str(each["step"]))
                ways[way] = {"seconds_to_a_right_answer": right, "steps": new.steps}
                print(way, ways[way], flush=True)
                if not given.photos:
                    save_strip(new.screens, *(("page-steps.png", 390) if way == "phone" else ("page-drop.png", 640, 3)))
        version = browser.version
        browser.close()
    source = given.photos.name if given.photos else "made by code"
    what = "seconds since the page was opened, of a driven browser that pauses as a newcomer would"
    write_results("newcomer", what, browser=version, photos=source, pauses=PAUSES, **ways)


if __name__ == "__main__":
    main()
