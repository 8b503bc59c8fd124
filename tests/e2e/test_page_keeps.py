"""What the page keeps: over reloads, in several tabs, for tasks that are gone, with keys, and without IndexedDB."""

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from app.http.keys import KeyFile, Right, new_key, write_keys
from app.settings import Settings
from tests.helpers.drawn import CHARACTERS, shaky
from tests.helpers.page import DESKTOP, PHONE, Visit
from tests.helpers.serving import serving
from tests.helpers.tasks import FIVE
from tests.helpers.waiting import wait_until


def drawn_cards(page: Page) -> list[str]:
    """The names of the classes that have a drawing on their pads."""
    expect(page.locator(".card .pad.drawn").first).to_be_visible()
    return [name.input_value() for name in page.locator(".card:has(.pad.drawn) .name").all()]


def saved(page: Page) -> None:
    """Wait until the page has written what was drawn: its address then names the classifier."""
    page.wait_for_function("/#(draft|task)=/.test(location.hash)")


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_reload_keeps_drawings_task_and_answer(
    browser: Browser, client: httpx.Client, viewport: ViewportSize
) -> None:
    with Visit(browser, client, viewport) as visit:
        page = visit.page
        visit.teach(FIVE)
        visit.ask(shaky(CHARACTERS[FIVE[2]], 9))
        visit.expect_verdict(FIVE[2])
        address = page.url
        assert "#task=" in address
        page.reload()
        expect(page.locator("#status")).to_contain_text("Ready: 5 classes")
        assert drawn_cards(page) == FIVE
        visit.expect_verdict(FIVE[2])  # about the drawing that is still on the pad
        visit.ask(shaky(CHARACTERS[FIVE[3]], 9))
        visit.expect_verdict(FIVE[3])
        assert page.url == address
        expect(page.locator("#create")).to_be_hidden()  # nothing has changed
        assert visit.wrong == []


def test_other_pages_and_going_back_lose_nothing(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.draw(page.locator(".card canvas").first, CHARACTERS["ring"])
        page.locator(".name").first.fill("ring")
        page.click("text=API docs")  # at once: what was drawn is written as the page closes
        page.wait_for_url("**/docs")
        page.go_back()
        expect(page.locator(".card .pad.drawn")).to_have_count(1)
        expect(page.locator(".name").first).to_have_value("ring")
        page.goto(str(client.base_url))  # without an address of its own, the last classifier is opened
        expect(page.locator(".card .pad.drawn")).to_have_count(1)


def test_classifiers_are_opened_renamed_copied_kept_longer_and_deleted(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.teach(FIVE[:2])
        first = page.url
        page.fill("#name", "first")
        page.keyboard.press("Tab")
        page.click("#start-over")
        expect(page.locator(".card .pad.drawn")).to_have_count(0)
        expect(page.locator("#use")).to_be_hidden()
        visit.teach(FIVE[2:5])
        page.click("#library-open")
        rows = page.locator("#library-kept > li")
        expect(rows).to_have_count(2)
        task_id = first.rpartition("=")[2]
        assert client.get(f"/tasks/{task_id}").json()["name"] == "first"

        rows.nth(1).locator("input").fill("renamed")
        page.keyboard.press("Enter")
        rows.filter(has=page.locator("input[aria-label='Name of renamed']")).locator(".lifetime").select_option(
            "1 year"
        )
        page.wait_for_function(
            f"fetch('tasks/{task_id}').then((a) => a.json()).then((t) => t.name === 'renamed' && "
            "Date.parse(t.expires_at) > Date.now() + 360 * 86400e3)"
        )
        rows.filter(has=page.locator("input[aria-label='Name of renamed']")).get_by_role("button", name="Open").click()
        expect(page).to_have_url(first)
        assert drawn_cards(page) == FIVE[:2]
        expect(page.locator("#name")).to_have_value("renamed")
        page.go_back()
        expect(page.locator(".card .pad.drawn")).to_have_count(3)
        page.go_forward()
        expect(page.locator(".card .pad.drawn")).to_have_count(2)

        page.click("#library-open")
        renamed = rows.filter(has=page.locator("input[aria-label='Name of renamed']"))
        renamed.get_by_role("button", name="Duplicate").click()
        expect(page.locator("#name")).to_have_value("Copy of renamed")
        assert drawn_cards(page) == FIVE[:2]
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready")
        assert page.url != first

        page.click("#library-open")
        expect(rows).to_have_count(3)
        renamed.get_by_role("button", name="Delete").click()
        expect(rows).to_have_count(2)
        page.keyboard.press("Escape")
        page.click("#toast-undo")
        page.click("#library-open")
        expect(rows).to_have_count(3)
        assert client.get(f"/tasks/{task_id}").status_code == 200
        renamed.get_by_role("button", name="Delete").click()
        expect(rows).to_have_count(2)
        page.goto("about:blank")  # leaving ends the time in which it can be undone
        wait_until(lambda: client.get(f"/tasks/{task_id}").status_code == 404)


def test_every_removal_can_be_undone(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.teach(FIVE)
        address = page.url
        page.locator(".card .remove").nth(1).click()
        expect(page.locator(".card")).to_have_count(4)
        expect(page.locator("#status")).to_contain_text("Ready: 4 classes")
        page.click("#toast-undo")
        assert drawn_cards(page) == FIVE
        expect(page.locator("#status")).to_contain_text("Ready: 5 classes")

        page.locator(".card .another").nth(0).click()
        expect(page.locator("#status")).to_contain_text("Ready")  # a drawing that is kept is still the same example
        page.locator(".card .thumbs button").first.click()
        page.click("#viewer-delete")
        expect(page.locator("#viewer")).to_be_hidden()
        page.keyboard.press("Control+z")
        expect(page.locator(".card .thumbs li")).to_have_count(1)
        page.locator(".card .thumbs button").first.click()
        page.select_option("#viewer-move", label=FIVE[1])
        expect(page.locator(".card").nth(1).locator(".thumbs li")).to_have_count(1)
        page.keyboard.press("Control+z")
        expect(page.locator(".card").nth(0).locator(".thumbs li")).to_have_count(1)
        expect(page.locator("#status")).to_contain_text("Ready: 5 classes")
        expect(page).to_have_url(address)  # it is the same task all the time

        page.click("#start-over")
        expect(page.locator(".card .pad.drawn")).to_have_count(0)
        page.click("#toast-undo")
        expect(page.locator(".card .pad.drawn")).to_have_count(4)
        expect(page).to_have_url(address)
        page.click("#example")  # keeps what was there, too
        visit.expect_verdict("clock")
        page.click("#toast-undo")
        expect(page).to_have_url(address)
        visit.ask(CHARACTERS["ring"])
        page.click("#ask .clear")
        expect(page.locator("#ask-pad")).not_to_have_class("pad drawn")
        page.click("#ask .undo")
        expect(page.locator("#ask-pad")).to_have_class("pad drawn")
        page.keyboard.press("Tab")
        page.locator("#ask-pad canvas").press("Control+z")  # on a pad it takes a stroke back
        expect(page.locator("#ask-pad")).not_to_have_class("pad drawn")


def test_changes_keep_the_task_and_its_address(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.teach(FIVE[:3])
        address = page.url
        page.locator(".card .another").first.click()
        visit.draw(page.locator(".card canvas").first, shaky(CHARACTERS[FIVE[0]], 4))
        page.locator(".name").nth(3).fill(FIVE[3])
        visit.draw(page.locator(".card > .pad canvas").nth(3), shaky(CHARACTERS[FIVE[3]], 4))
        expect(page.locator("#create")).to_have_text("Update classifier")
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 4 classes")
        assert page.url == address
        old = address.rpartition("=")[2]
        assert client.get(f"/tasks/{old}").json()["shots"] == {FIVE[0]: 2, FIVE[1]: 1, FIVE[2]: 1, FIVE[3]: 1}
        page.locator(".name").nth(3).fill("renamed")
        page.click("#create")
        expect(page.locator("#bars")).to_contain_text("renamed")
        assert page.url == address
        assert client.get(f"/tasks/{old}").json()["shots"] == {FIVE[0]: 2, FIVE[1]: 1, FIVE[2]: 1, "renamed": 1}
        # A drawing that is drawn anew replaces the one before.
        page.locator(".card > .pad canvas").nth(1).press("Delete")
        visit.draw(page.locator(".card > .pad canvas").nth(1), shaky(CHARACTERS[FIVE[1]], 7))
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 4 classes")
        assert client.get(f"/tasks/{old}").json()["shots"] == {FIVE[0]: 2, FIVE[1]: 1, FIVE[2]: 1, "renamed": 1}
        assert len(client.get(f"/tasks/{old}/support").json()["examples"]) == 5
        assert page.url == address


def test_another_model_makes_another_task(browser: Browser, both: httpx.Client) -> None:
    with Visit(browser, both, DESKTOP) as visit:
        page = visit.page
        page.select_option("#kind", "omniglot")
        visit.teach(FIVE[:3])
        address = page.url
        old = address.rpartition("=")[2]
        page.select_option("#kind", label=page.locator("#kind option").filter(has_text="photos (").inner_text())
        expect(page.locator("#create")).to_have_text("Create it again")
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes. Now show it another photo.")
        assert page.url != address
        assert both.get(f"/tasks/{old}").status_code == 200  # code may still use it, for a day
        page.goto(address)
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes. Now show it another photo.")


def pixels(page: Page) -> str:
    """What the second class's pad shows."""
    return str(page.locator(".card canvas").nth(1).evaluate("canvas => canvas.toDataURL()"))


def test_two_tabs_show_the_same(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.draw(page.locator(".card canvas").first, CHARACTERS["ring"])
        saved(page)
        other = page.context.new_page()
        other.goto(page.url)
        expect(other.locator(".card .pad.drawn")).to_have_count(1)
        # Both edit at once: neither loses anything.
        other.locator(".name").nth(1).fill("from the other")
        page.locator(".name").nth(0).fill("from the first")
        for each in (page, other):
            expect(each.locator(".name").nth(0)).to_have_value("from the first")
            expect(each.locator(".name").nth(1)).to_have_value("from the other")
        page.bring_to_front()
        visit.draw(page.locator(".card canvas").nth(1), CHARACTERS["ex"])
        # The other tab shows a drawing while it is drawn, and would send that much of it.
        wait_until(lambda: pixels(other) == pixels(page))
        other.bring_to_front()
        other.click("#create")
        expect(other.locator("#status")).to_contain_text("Ready: 2 classes")
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
        assert page.url == other.url
        other.click("#library-open")
        other.locator("#library-kept").get_by_role("button", name="Delete").click()
        expect(page.locator(".card .pad.drawn")).to_have_count(0)
        assert visit.wrong == []


def test_a_link_opens_the_task_elsewhere_and_it_can_be_extended(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        visit.teach(FIVE[:3])
        visit.page.locator("#takeaway").get_by_role("button", name="Share").click()
        link = visit.page.locator("#share-link").input_value()
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        page.goto(link)
        expect(page.locator(".card")).to_have_count(3)
        expect(page.locator(".card .thumbs li")).to_have_count(3)  # without pictures
        visit.ask(shaky(CHARACTERS[FIVE[1]], 9))
        visit.expect_verdict(FIVE[1])
        visit.draw(page.locator(".card canvas").first, shaky(CHARACTERS[FIVE[0]], 5))
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        assert page.url == link
        page.goto(f"{client.base_url}#task={'0' * 24}")
        expect(page.locator("#notice")).to_contain_text("no classifier at this address")


def test_a_task_that_is_gone_is_made_again_from_the_drawings(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.teach(FIVE[:3])
        visit.ask(shaky(CHARACTERS[FIVE[1]], 9))
        visit.expect_verdict(FIVE[1])
        task_id = page.url.rpartition("=")[2]
        client.delete(f"/tasks/{task_id}")
        visit.ask(shaky(CHARACTERS[FIVE[2]], 9))
        expect(page.locator("#ask-note")).to_contain_text("expired or was deleted")
        page.reload()
        expect(page.locator("#status")).to_contain_text("Your examples are still here")
        page.locator("#ask-note button").click()
        visit.expect_verdict(FIVE[2])
        assert page.url.rpartition("=")[2] != task_id


def test_without_indexeddb_the_page_works_and_says_so(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        page.add_init_script("Object.defineProperty(window, 'indexedDB', {get() { throw new Error('private') }})")
        page.reload()
        expect(page.locator("#notice")).to_contain_text("keeps nothing")
        visit.teach(FIVE[:2])
        visit.ask(shaky(CHARACTERS[FIVE[1]], 9))
        visit.expect_verdict(FIVE[1])


def test_full_storage_is_said_and_costs_nothing_else(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        page.add_init_script(
            "IDBObjectStore.prototype.put = () => { throw new DOMException('full', 'QuotaExceededError') }"
        )
        page.reload()
        visit.teach(FIVE[:2])
        expect(page.locator("#notice")).to_contain_text("storage is full")
        visit.ask(shaky(CHARACTERS[FIVE[1]], 9))
        visit.expect_verdict(FIVE[1])


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_key_is_asked_for_at_the_start_and_offers_what_it_may_do(
    browser: Browser, settings: Settings, viewport: ViewportSize, tmp_path: Path
) -> None:
    def key_of(name: str, rights: list[Right]) -> str:
        stored, presented = new_key(name, "ann", rights)
        kept.append(stored)
        return presented

    kept: list = []  # type: ignore[type-arg]
    full, reading = key_of("full", ["read", "write"]), key_of("reading", ["read"])
    write_keys(tmp_path / "keys.json", KeyFile(keys=kept))
    locked = settings.model_copy(update={"keys_file": tmp_path / "keys.json", "data_dir": tmp_path})
    with serving(locked) as guarded, Visit(browser, guarded, viewport) as visit:
        page = visit.page
        expect(page.locator("#key-form")).to_be_visible()
        page.fill("#key", full)
        page.keyboard.press("Enter")
        expect(page.locator("#key-form")).to_be_hidden()
        visit.teach(FIVE[:2])
        second = page.context.new_page()  # the key is kept until the browser closes, in all its tabs
        second.goto(page.url)
        expect(second.locator("#status")).to_contain_text("Ready")
        expect(second.locator("#key-form")).to_be_hidden()
        second.close()
        page.reload()
        expect(page.locator("#status")).to_contain_text("Ready")
        expect(page.locator("#key-form")).to_be_hidden()

        page.click("#change-key")
        page.fill("#key", "nonsense")
        page.keyboard.press("Enter")
        expect(page.locator("#key-note")).to_contain_text("not accepted")
        page.fill("#key", reading)
        page.keyboard.press("Enter")
        expect(page.locator("#create")).to_be_hidden()
        expect(page.locator("#teach .reading")).to_be_visible()
        visit.ask(shaky(CHARACTERS[FIVE[1]], 9))
        visit.expect_verdict(FIVE[1])
        expect(page.locator("#bars .correct").first).to_be_hidden()
        page.click("#library-open")
        expect(page.locator("#library-kept > li")).to_have_count(1)
        for offered in ("New classifier", "Duplicate"):
            expect(page.locator("#library").get_by_role("button", name=offered)).to_have_count(0)
        page.keyboard.press("Escape")

        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
        elsewhere = browser.new_context(viewport=viewport).new_page()
        elsewhere.goto(page.url)
        elsewhere.fill("#key", reading)
        elsewhere.keyboard.press("Enter")
        expect(elsewhere.locator("#ask-hint")).to_contain_text("Draw one of them again")
        elsewhere.context.close()
        assert [each for each in visit.wrong if "401" not in each] == []
