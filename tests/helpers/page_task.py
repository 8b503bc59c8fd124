"""The open task of the page, as the page and the server have it."""

from pathlib import Path

import httpx
from playwright.sync_api import Locator, Page, expect

from tests.helpers.page import Visit
from tests.helpers.photographed import coloured


def id_of(page: Page) -> str:
    """The id of the open task, from the page's address."""
    return page.url.rpartition("#task=")[2]


def shots(client: httpx.Client, page: Page) -> dict[str, int]:
    """How many examples of each class the server has of the open task."""
    return dict(client.get(f"/tasks/{id_of(page)}").json()["shots"])


def thumbs(page: Page, name: str) -> Locator:
    """The thumbnails of a class."""
    return page.locator(f"[aria-label='Examples kept of {name}'] li")


def photos(folder: Path, *colours: str, count: int = 4) -> list[Path]:
    """Folders of photos, one for each colour."""
    for colour in colours:
        (folder / colour).mkdir(parents=True)
        for seed in range(count):
            (folder / colour / f"{seed}.jpg").write_bytes(coloured(colour, seed))
    return [folder / colour for colour in colours]


def teach_photos(visit: Visit, folder: Path, *colours: str, count: int = 4) -> None:
    """Drop folders of photos, and create the task."""
    visit.drop("#teach .title", *photos(folder, *colours, count=count))
    expect(visit.page.locator(".card .thumbs li")).to_have_count(count * len(colours))
    visit.page.click("#create")
    expect(visit.page.locator("#status")).to_contain_text(f"Ready: {len(colours)} classes")
