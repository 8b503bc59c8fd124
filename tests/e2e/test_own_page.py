"""The service's own page, given names, addresses and records that are meant to break it."""

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.helpers.drawn import CHARACTERS, png, shaky
from tests.helpers.page import DESKTOP, Visit
from tests.helpers.photographed import coloured
from tests.helpers.tasks import FIVE

MARKUP = "<img src=x onerror=alert(1)>"


def test_names_are_shown_as_text(browser: Browser, both: httpx.Client, tmp_path: Path) -> None:
    images = [("images", ("a", png(name), "image/png")) for name in FIVE[:2]]
    labels = [MARKUP, "__proto__"]
    created = both.post("/tasks", files=images, data={"labels": labels, "name": MARKUP, "model": "omniglot"})
    assert created.status_code == 201, created.text
    (tmp_path / "ask" / MARKUP).mkdir(parents=True)
    for seed in range(2):
        (tmp_path / "ask" / MARKUP / f"<b>{seed}.jpg").write_bytes(coloured("red", seed))
    with Visit(browser, both, DESKTOP) as visit:
        page = visit.page
        page.goto(f"{both.base_url}#task={created.json()['task_id']}")
        expect(page.locator(".name").first).to_have_value(MARKUP)
        expect(page.locator(".card .thumbs li")).to_have_count(2)
        visit.ask(shaky(CHARACTERS[FIVE[1]], 9))
        visit.expect_verdict("__proto__")
        page.locator("#bars .correct").nth(1).click()
        expect(page.locator("#status")).to_contain_text("Ready")
        visit.drop("#ask .title", tmp_path / "ask")
        expect(page.locator("#batch-title")).to_contain_text("2 of 2 photos answered")
        expect(page.locator(".confusion tbody th")).to_have_text(MARKUP)
        page.click("#library-open")
        expect(page.locator("#library-kept input")).to_have_value(MARKUP)
        assert page.locator("img, b").count() == 0
        assert visit.wrong == []


@pytest.mark.parametrize(
    "address", ["#task=", "#task=../../metrics", "#task=%3Cb%3E", f"#task={'f' * 24}", "#draft=nothing", "#", "#ask"]
)
def test_odd_addresses_harm_nothing(browser: Browser, client: httpx.Client, address: str) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        page.goto(f"{client.base_url}{address}")
        page.reload()
        expect(page.locator(".card")).to_have_count(5)
        if "fff" in address:
            expect(page.locator("#notice")).to_contain_text("no classifier at this address")
        visit.teach(FIVE[:2])
        assert "#task=" in page.url
        assert not any("metrics" in urls for urls in visit.asked if "#" not in urls)


@pytest.mark.parametrize(
    "record",
    [
        "{id: 'odd'}",
        "{id: 'odd', name: 3, task: {}, sent: null, former: null, question: 'x', updated: 'then'}",
        "{id: 'odd', name: '', task: {task_id: 'gone', labels: 'none'}, sent: [7], former: [], question: {strokes: 4}}",
    ],
)
def test_damaged_records_do_not_break_the_page(browser: Browser, client: httpx.Client, record: str) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.draw(page.locator(".card canvas").first, CHARACTERS["ring"])
        page.wait_for_function("/#draft=/.test(location.hash)")
        kept = page.url
        page.evaluate(
            """(record) => new Promise((resolve, reject) => {
                const opening = indexedDB.open("leo/");
                opening.onsuccess = () => {
                    const writing = opening.result.transaction("classifiers", "readwrite");
                    writing.objectStore("classifiers").put(eval(record));
                    writing.oncomplete = resolve;
                    writing.onerror = reject;
                };
            })""".replace("eval(record)", record),
            record,
        )
        page.goto(f"{client.base_url}#draft=odd")
        page.reload()
        expect(page.locator(".card")).to_have_count(5)
        page.click("#library-open")
        expect(page.locator("#library-kept li")).to_have_count(2)
        page.keyboard.press("Escape")
        page.goto(kept)
        expect(page.locator(".card .pad.drawn")).to_have_count(1)
