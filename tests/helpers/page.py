"""The page in a browser, used as a visitor would use it."""

from pathlib import Path

import httpx
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect

from tests.helpers.drawn import CHARACTERS, Strokes, shaky

DESKTOP: ViewportSize = {"width": 1360, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
NARROW: ViewportSize = {"width": 360, "height": 640}


class Visit:
    """A page opened at some width. It records every URL that it asked for, and every error that it reported."""

    def __init__(self, browser: Browser, client: httpx.Client, viewport: ViewportSize, scheme: str = "light") -> None:
        self._context = browser.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        self.page: Page = self._context.new_page()
        self.asked: list[str] = []
        self.wrong: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        self.page.goto(str(client.base_url))
        expect(self.page.locator(".card")).to_have_count(5)

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()

    def draw(self, pad: Locator, strokes: Strokes) -> None:
        """Draw with the mouse, as a hand would."""
        pad.scroll_into_view_if_needed()
        box = pad.bounding_box()
        assert box is not None
        mouse = self.page.mouse
        for stroke in strokes:
            points = [
                (box["x"] + (0.15 + 0.7 * x) * box["width"], box["y"] + (0.15 + 0.7 * y) * box["height"])
                for x, y in stroke
            ]
            mouse.move(*points[0])
            mouse.down()
            for point in points[1:]:
                mouse.move(*point, steps=4)
            mouse.up()

    def drop(self, selector: str, *paths: Path) -> None:
        """Drop files or folders from outside the browser, as a file manager would."""
        target = self.page.locator(selector).first
        target.scroll_into_view_if_needed()
        box = target.bounding_box()
        assert box is not None
        where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + min(box["height"] / 2, 200)}
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        session = self._context.new_cdp_session(self.page)
        for kind in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": kind, **where, "data": data})
        session.detach()

    def teach(self, names: list[str]) -> None:
        """Draw a character for each name, and create the task."""
        cards = self.page.locator(".card")
        for n, name in enumerate(names):
            cards.nth(n).locator(".name").fill(name)
            self.draw(cards.nth(n).locator("canvas").first, shaky(CHARACTERS[name], 1))
        self.page.click("#create")
        expect(self.page.locator("#status")).to_contain_text(f"Ready: {len(names)} classes")

    def ask(self, strokes: Strokes) -> None:
        """Draw what is to be classified."""
        self.page.click("#ask .clear")
        self.draw(self.page.locator("#ask-pad canvas"), strokes)

    def expect_verdict(self, label: str) -> None:
        """Wait until the page answers with this label."""
        expect(self.page.locator("#verdict .label")).to_have_text(label)
