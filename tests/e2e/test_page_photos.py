"""The page with a model for photos beside the one for drawings."""

import io
import zipfile
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import ExifTags, Image
from playwright.sync_api import Browser, expect

from tests.helpers.datasets import DATA
from tests.helpers.page import DESKTOP, PHONE, Visit
from tests.helpers.photographed import jpeg, product
from tests.helpers.tasks import FIVE

PAIR = ("orange", "carton")


@pytest.fixture(scope="module")
def snaps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Six photos of each of two products."""
    folder = tmp_path_factory.mktemp("snaps")
    found: dict[str, list[Path]] = {}
    for name in PAIR:
        for seed in range(6):
            path = folder / f"{name}{seed}.jpg"
            path.write_bytes(from_a_phone(product(name, seed)))
            found.setdefault(name, []).append(path)
    return found


def from_a_phone(picture: Image.Image) -> bytes:
    """Return a JPEG of 4032x3024 as phones save it: its pixels lie on their side, and an EXIF tag says so."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return jpeg(picture.resize((3024, 4032)).transpose(Image.Transpose.ROTATE_90), exif=exif)


def ask_about(visit: Visit, snaps: dict[str, list[Path]]) -> None:
    """Create a task from five photos of each product, and check the answer for a sixth."""
    page = visit.page
    cards = page.locator(".card")
    for n, (name, files) in enumerate(snaps.items()):
        cards.nth(n).locator(".name").fill(name)
        cards.nth(n).locator("input[type=file]").set_input_files(files[:5])
        expect(cards.nth(n).locator(".thumbs li")).to_have_count(5)
    page.click("#create")
    expect(page.locator("#status")).to_contain_text("Ready: 2 classes. Now show it another photo.")
    for name, files in snaps.items():
        page.locator("#ask input[type=file]").set_input_files(files[5])
        visit.expect_verdict(name)


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_ten_photos_of_two_products_make_a_task_with_the_right_answers(
    browser: Browser,
    both: httpx.Client,
    snaps: dict[str, list[Path]],
    viewport: dict[str, int],
    tmp_path: Path,
) -> None:
    with Visit(browser, both, viewport) as visit:  # type: ignore[arg-type]
        expect(visit.page.locator("#kind")).to_be_visible()
        ask_about(visit, snaps)
        assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
        visit.page.screenshot(path=tmp_path / "photos.png", full_page=True)
        found = Axe().run(visit.page).response["violations"]
        assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []
        assert visit.wrong == []


def test_the_chosen_model_is_used(browser: Browser, both: httpx.Client) -> None:
    with Visit(browser, both, DESKTOP) as visit:
        visit.page.select_option("#kind", "omniglot")
        visit.teach(FIVE[:2])
        expect(visit.page.locator("#status")).to_contain_text("Now draw one of them again.")


def test_with_one_kind_of_model_there_is_nothing_to_choose(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        expect(visit.page.locator("#kind")).to_be_hidden()
        expect(visit.page.locator("header p")).to_have_text(
            "Give it a few drawings of each kind. It learns to tell them apart.", use_inner_text=True
        )


def test_real_photos_of_two_products_are_told_apart(browser: Browser, both: httpx.Client, tmp_path: Path) -> None:
    path = DATA / "natural" / "grocery.zip"
    if not path.exists():
        pytest.skip("the grocery photos are not here; set LEO_TEST_DATA to a folder with natural/grocery.zip")
    snaps: dict[str, list[Path]] = {}
    with zipfile.ZipFile(path) as archive:
        for name in ("Kiwi", "Yellow-Onion"):
            inside = sorted(each for each in archive.namelist() if f"/{name}/" in each and each.endswith(".jpg"))[:6]
            snaps[name] = [Path(archive.extract(each, tmp_path)) for each in inside]
            for file in snaps[name]:
                file.write_bytes(from_a_phone(Image.open(io.BytesIO(file.read_bytes()))))
    with Visit(browser, both, DESKTOP) as visit:
        ask_about(visit, snaps)
        visit.page.screenshot(path=tmp_path / "real.png", full_page=True)
