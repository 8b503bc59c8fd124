"""Hasty hands: double clicks, a second photo before the first is read, going back, other tabs, keys that choose."""

import base64
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.helpers.drawn import encoded, png
from tests.helpers.page import DESKTOP, PHONE, Visit
from tests.helpers.page_task import id_of, photos, shots, teach_photos
from tests.helpers.photographed import coloured, product
from tests.helpers.tasks import FIVE, create
from tests.helpers.waiting import wait_until


def double_click(page: Page, target: Locator) -> None:
    """Press twice at one place, as a hand does, whatever lies there the second time."""
    target.hover()  # which waits until it is in its place, also where the list is drawn anew
    box = target.bounding_box()
    assert box is not None
    page.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def kept(page: Page) -> int:
    """How many classifiers "My classifiers" lists."""
    page.click("#library-open")
    expect(page.locator("#library")).to_be_visible()
    page.wait_for_timeout(300)
    count = page.locator("#library-kept > li").count()
    page.keyboard.press("Escape")
    return count


def test_a_double_click_on_the_example_makes_one(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        double_click(page, page.locator("#example"))
        visit.expect_verdict("clock")
        assert kept(page) == 1
        page.click("#example")  # it is shown again, not made again
        visit.expect_verdict("clock")
        assert kept(page) == 1
        page.locator(".name").first.fill("changed")
        page.click("#example")
        expect(page.locator(".name").first).to_have_value("ring")
        visit.expect_verdict("clock")
        assert kept(page) == 2


def test_a_double_click_on_start_over_can_be_undone(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, PHONE) as visit:
        page = visit.page
        visit.teach(FIVE[:2])
        double_click(page, page.locator("#start-over"))
        expect(page.locator(".card .pad.drawn")).to_have_count(0)
        page.click("#start-over")
        expect(page.locator("#toast-undo")).to_be_visible()
        page.click("#toast-undo")
        expect(page.locator(".card .pad.drawn")).to_have_count(2)


def test_the_second_click_of_two_hits_nothing_else(browser: Browser, both: httpx.Client, tmp_path: Path) -> None:
    with Visit(browser, both, DESKTOP) as visit:
        page = visit.page
        teach_photos(visit, tmp_path, "red", "blue", "lime")
        double_click(page, page.locator(".card .remove").first)
        expect(page.locator(".card")).to_have_count(2)  # the next class has moved to where the first was
        page.click("#toast-undo")
        expect(page.locator(".card")).to_have_count(3)
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        double_click(page, page.locator("#add"))
        expect(page.locator(".card")).to_have_count(4)
        expect(page.locator(".card .pad.drawn")).to_have_count(0)  # the pad of the new class is where the button was
        page.locator(".card .remove").nth(3).click()
        double_click(page, page.locator(".card .thumbs button").nth(2))
        expect(page.locator("#viewer")).to_be_visible()
        page.keyboard.press("Escape")
        for opener, dialog in (
            ("#library-open", "#library"),
            ("#takeaway button", "#share"),
            (".card .camera", "#camera"),
        ):
            double_click(page, page.locator(opener).first)
            expect(page.locator(dialog)).to_be_visible()
            page.keyboard.press("Escape")
            expect(page.locator(dialog)).to_be_hidden()
        expect(page.locator(".card .thumbs li")).to_have_count(12)


def test_a_double_click_on_delete_deletes_one_classifier(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        for names in (FIVE[:2], FIVE[2:4], FIVE[1:3]):
            visit.teach(names)
            page.click("#start-over")
        page.click("#library-open")
        rows = page.locator("#library-kept > li")
        expect(rows).to_have_count(3)
        double_click(page, rows.first.get_by_role("button", name="Delete"))
        expect(rows).to_have_count(2)
        page.click("#toast-undo")
        expect(rows).to_have_count(3)


def test_the_newest_photo_is_asked_about(browser: Browser, both: httpx.Client, tmp_path: Path) -> None:
    """A large photo takes long to read; a small one that was chosen after it is the question."""
    large, small = tmp_path / "large.png", tmp_path / "small.jpg"
    large.write_bytes(encoded(product("orange", 1).resize((6000, 4500)), compress_level=1))
    small.write_bytes(coloured("red", 30))
    with Visit(browser, both, DESKTOP) as visit:
        page = visit.page
        teach_photos(visit, tmp_path / "teach", "red", "blue")
        field = page.locator("#ask input[type=file]")
        field.set_input_files(large)
        field.set_input_files(small)
        visit.expect_verdict("red")
        expect(page.locator("#ask-note")).to_be_empty()
        field.set_input_files(large)
        expect(page.locator("#ask-note")).to_contain_text("Reading")
        expect(page.locator("#ask-note")).to_be_empty()


def test_one_photo_that_takes_long_to_read_is_said_to_be_read(
    browser: Browser, client: httpx.Client, tmp_path: Path
) -> None:
    (tmp_path / "red.jpg").write_bytes(coloured("red", 1))
    with Visit(browser, client, PHONE) as visit:
        page = visit.page
        page.add_init_script(
            """delete window.OffscreenCanvas; // so that the page itself reads photos
            const read = window.createImageBitmap;
            window.createImageBitmap = async (...given) => {
                while (!window.mayRead) await new Promise((resolve) => setTimeout(resolve, 20));
                return read(...given);
            };"""
        )
        page.reload()
        page.locator(".card input[type=file]").first.set_input_files(tmp_path / "red.jpg")
        expect(page.locator("#work-text")).to_have_text("Reading photos: 0 of 1")
        expect(page.locator("#stop")).to_be_visible()
        page.evaluate("window.mayRead = true")
        expect(page.locator(".card .thumbs li")).to_have_count(1)
        expect(page.locator("#work")).to_be_hidden()


def test_going_back_to_where_nothing_was_made(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.teach(FIVE[:2])
        page.click("#start-over")
        expect(page.locator(".card .pad.drawn")).to_have_count(0)
        page.click("#library-open")
        page.locator("#library-kept").get_by_role("button", name="Open").click()
        expect(page.locator(".card .pad.drawn")).to_have_count(2)
        page.go_back()
        expect(page.locator(".card .pad.drawn")).to_have_count(0)  # the new one, of which nothing was made
        expect(page.locator("#use")).to_be_hidden()
        page.go_back()
        expect(page.locator(".card .pad.drawn")).to_have_count(2)


def test_an_address_that_cannot_be_opened_leaves_what_is_open(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.teach(FIVE[:2])
        address = page.url
        page.evaluate("location.hash = '#task=' + 'f'.repeat(24)")
        expect(page.locator("#notice")).to_contain_text("no classifier at this address")
        expect(page).to_have_url(address)
        page.reload()
        expect(page.locator(".card .pad.drawn")).to_have_count(2)


def test_the_notice_of_a_wrong_address_goes_with_the_next_classifier(browser: Browser, client: httpx.Client) -> None:
    task_id = create(client, FIVE[:3]).json()["task_id"]
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        page.evaluate("location.hash = '#task=' + 'a'.repeat(24)")
        expect(page.locator("#notice")).to_contain_text("no classifier at this address")
        page.evaluate(f"location.hash = '#task={task_id}'")
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        expect(page.locator("#notice")).to_be_hidden()
        page.evaluate("location.hash = '#task=' + 'b'.repeat(24)")
        expect(page.locator("#notice")).to_contain_text("no classifier at this address")
        page.click("#start-over")
        expect(page.locator("#notice")).to_be_hidden()


def test_skipping_to_the_question_opens_nothing_else(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.teach(FIVE[:2])
        page.locator(".card .remove").nth(3).click()
        page.click("#start-over")
        expect(page.locator(".card .pad.drawn")).to_have_count(0)
        page.locator(".skip").press("Enter")
        expect(page.locator("#ask")).to_be_focused()
        expect(page.locator("#toast-undo")).to_be_visible()
        expect(page.locator(".card .pad.drawn")).to_have_count(0)
        page.click("#toast-undo")
        expect(page.locator(".card .pad.drawn")).to_have_count(2)
        assert id_of(page)


def test_a_classifier_deleted_in_another_tab_is_not_said_to_be_kept(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.teach(FIVE[:2])
        other = page.context.new_page()
        other.goto(page.url)
        expect(other.locator("#status")).to_contain_text("Ready")
        other.click("#library-open")
        other.locator("#library-kept").get_by_role("button", name="Delete").click()
        expect(page.locator(".card .pad.drawn")).to_have_count(0)
        expect(page.locator("#notice")).to_contain_text("deleted in another tab")
        expect(page.locator("#toast")).to_be_hidden()


def test_a_link_is_opened_once_the_key_may_see_it_or_the_network_is_back(
    browser: Browser, client: httpx.Client
) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        visit.teach(FIVE[:2])
        link = visit.page.url
    with Visit(browser, client, PHONE) as visit:
        page = visit.page

        def away(route: Route) -> None:
            route.abort()

        page.route("**/tasks/*", away)
        page.goto(link)
        page.reload()
        expect(page.locator("#notice")).to_contain_text("does not answer")
        page.unroute("**/tasks/*")
        page.evaluate("dispatchEvent(new Event('online'))")
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
        expect(page.locator("#notice")).to_be_hidden()
        assert page.url == link


def test_arrow_keys_choose_nothing_before_the_list_is_open(
    browser: Browser, both: httpx.Client, tmp_path: Path
) -> None:
    """On a closed list an arrow takes the first entry: a class to move to, or a day to be kept."""
    with Visit(browser, both, DESKTOP) as visit:
        page = visit.page
        teach_photos(visit, tmp_path, "red", "blue")
        before = both.get(f"/tasks/{id_of(page)}").json()
        lifetime = page.locator("#takeaway .lifetime")
        for key in ("ArrowDown", "ArrowUp", "End", "u"):
            lifetime.press(key)
            page.keyboard.press("Escape")
        page.locator(".card .thumbs button").first.click()
        page.locator("#viewer-move").press("ArrowDown")
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        assert both.get(f"/tasks/{id_of(page)}").json() == before
        page.locator("#takeaway .lifetime").select_option("1 week")
        wait_until(lambda: both.get(f"/tasks/{id_of(page)}").json()["expires_at"] != before["expires_at"])


def test_a_picture_is_pasted_into_the_classes_before_there_is_anything_to_ask(
    browser: Browser, client: httpx.Client
) -> None:
    paste = """(bytes) => {
        const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], "a.png", {type: "image/png"}));
        document.body.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));
    }"""
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        for n, name in enumerate(FIVE[:2]):
            page.evaluate(paste, base64.b64encode(png(name, 1)).decode())
            expect(page.locator(".card").nth(n).locator(".thumbs li")).to_have_count(1)
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
        page.evaluate(paste, base64.b64encode(png(FIVE[1], 9)).decode())
        visit.expect_verdict("B")


@pytest.mark.parametrize("name", ["a" + "🦊" * 60, "كلب " * 30])
def test_a_long_folder_name_is_the_label_that_the_server_takes(
    browser: Browser, both: httpx.Client, tmp_path: Path, name: str
) -> None:
    with Visit(browser, both, PHONE) as visit:
        page = visit.page
        red, _ = photos(tmp_path / "set", "red", "blue")
        red.rename(tmp_path / "set" / name.strip())
        visit.drop("#teach .title", tmp_path / "set")
        expect(page.locator(".card .thumbs li")).to_have_count(8)
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
        expect(page.locator("#create")).to_be_hidden()
        page.reload()
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
        visit.drop("#ask .title", tmp_path / "set")
        expect(page.locator("#batch-title")).to_contain_text("8 of 8 photos answered")
        assert {each.get_attribute("title") for each in page.locator(".confusion tbody th").all()} == set(
            shots(both, page)
        )
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"


def test_renaming_offline_says_so_where_it_is_seen(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, PHONE) as visit:
        page = visit.page
        visit.teach(FIVE[:2])
        page.route("**/tasks/*", lambda route: route.abort())
        page.fill("#name", "signs")
        page.locator("#name").press("Tab")
        expect(page.locator("#error")).to_contain_text("does not answer")
        expect(page.locator("#name")).to_have_value("signs")


def test_many_photos_for_a_classifier_that_is_gone(browser: Browser, both: httpx.Client, tmp_path: Path) -> None:
    with Visit(browser, both, PHONE) as visit:
        page = visit.page
        red, blue = photos(tmp_path, "red", "blue")
        visit.drop("#teach .title", red, blue)
        expect(page.locator(".card .thumbs li")).to_have_count(8)
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
        both.delete(f"/tasks/{id_of(page)}").raise_for_status()
        visit.drop("#ask .title", red)
        expect(page.locator("#batch-note")).to_contain_text("Your examples are still here")
        expect(page.locator("#create")).to_have_text("Create it again")
        page.click("#create")
        expect(page.locator("#batch-title")).to_contain_text("4 of 4 photos answered")
        expect(page.locator("#batch-note")).to_be_empty()
