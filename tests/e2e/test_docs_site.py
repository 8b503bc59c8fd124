"""docs/ as a site: it builds without a warning, its links lead somewhere, and it talks to nobody."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from playwright.sync_api import Browser, expect

from app.settings import PROJECT
from tests.helpers.standalone import served

MERMAID = PROJECT / ".cache" / "mermaid" / "dist" / "mermaid.min.js"
LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Links(HTMLParser):
    """The ids of a page, what it links to, and what a browser loads for it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.ids, self.links, self.loads = set[str](), list[str](), list[str]()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADS and LOADS[tag] in given and given.get("rel") != "canonical":
            self.loads.append(given[LOADS[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("material") is None or not MERMAID.exists():
        pytest.skip("mkdocs-material or mermaid is not here: make docs-tools")
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    return {path: Links(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}


def test_every_guide_is_a_page(site: Path, pages: dict[Path, Links]) -> None:
    names = {path.relative_to(site).with_suffix("").as_posix() for path in pages}
    assert {guide.stem for guide in (PROJECT / "docs").glob("*.md")} < names
    assert {"index", "CONTRIBUTING", "CHANGELOG", "SECURITY", "client/index", "weights/omniglot/index"} < names


def test_every_link_leads_somewhere(site: Path, pages: dict[Path, Links]) -> None:
    wrong = []
    for path, page in pages.items():
        for link in [*page.links, *page.loads]:
            target, anchor = urldefrag(link)
            if urlsplit(link).scheme:
                continue
            there = (path.parent / unquote(target)).resolve() if target else path
            if not there.exists() or (anchor and there in pages and unquote(anchor) not in pages[there].ids):
                wrong.append(f"{path.relative_to(site)}: {link}")
    assert not wrong


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Links]) -> None:
    assert not [(path.name, load) for path, page in pages.items() for load in page.loads if urlsplit(load).netloc]
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert not re.search(r"url\(['\"]?(?:https?:)?//|@import", styles)


@pytest.fixture
def asked(browser: Browser, site: Path) -> Iterator[list[str]]:
    """What a browser asks for, while it reads the page with a diagram and searches."""
    with served(site) as url:
        context = browser.new_context()
        page = context.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{url}architecture.html")
        # The diagram is drawn, in a shadow root.
        expect(page.locator("div.mermaid")).to_be_visible()
        page.goto(f"{url}index.html")
        page.get_by_role("textbox", name="Search").fill("webcam")
        page.wait_for_load_state("networkidle")
        yield [each for each in asked if not each.startswith(url)]
        context.close()


def test_a_browser_asks_nobody_else(asked: list[str]) -> None:
    assert not [each for each in asked if not each.startswith(("data:", "blob:"))]
