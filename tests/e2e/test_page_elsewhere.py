"""The page and the server's own view of a task: changes made elsewhere, links, kept pictures, files, spelling."""

import zipfile
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page, expect

from tests.helpers.drawn import CHARACTERS, png, shaky
from tests.helpers.page import DESKTOP, PHONE, Visit
from tests.helpers.page_task import id_of, photos, shots, teach_photos, thumbs
from tests.helpers.photographed import coloured
from tests.helpers.tasks import FIVE
from tests.helpers.waiting import wait_until


def come_back(page: Page) -> None:
    """Leave the tab and come back to it, as far as the page can tell."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_changes_made_elsewhere_are_shown_and_keep_their_numbers(
    browser: Browser, both: httpx.Client, tmp_path: Path
) -> None:
    with Visit(browser, both, DESKTOP) as visit:
        page = visit.page
        teach_photos(visit, tmp_path, "red", "blue")
        task = f"/tasks/{id_of(page)}"
        listed = both.get(f"{task}/support").json()["examples"]
        blue, red = ([each["index"] for each in listed if each["label"] == label] for label in ("blue", "red"))
        both.delete(f"{task}/support/{blue[1]}").raise_for_status()
        both.patch(f"{task}/support/{blue[2]}", json={"label": "red"}).raise_for_status()
        added = {"images": ("a.jpg", coloured("lime", 1))}
        both.post(f"{task}/support", files=added, data={"labels": "lime"}).raise_for_status()
        come_back(page)
        expect(thumbs(page, "blue")).to_have_count(2)
        expect(thumbs(page, "red")).to_have_count(5)
        expect(thumbs(page, "lime")).to_have_count(1)
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")

        # Whatever is removed now is what the thumbnail shows: here the first of red, after the one that was blue.
        thumbs(page, "red").nth(1).locator("button").click()
        expect(page.locator("#viewer-name")).to_have_text("0.jpg")
        page.click("#viewer-delete")
        page.keyboard.press("Escape")
        wait_until(lambda: shots(both, page) == {"blue": 2, "red": 4, "lime": 1})
        left = [each["index"] for each in both.get(f"{task}/support").json()["examples"] if each["label"] == "red"]
        assert left == sorted([*red[1:], blue[2]])


def test_an_addition_meets_one_from_elsewhere(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.teach(FIVE[:3])
        task = f"/tasks/{id_of(page)}"
        sent = {"images": ("a.png", png(FIVE[0]))}
        client.post(f"{task}/support", files=sent, data={"labels": FIVE[0]}).raise_for_status()
        page.locator(".card .another").first.click()
        visit.draw(page.locator(".card canvas").first, shaky(CHARACTERS[FIVE[0]], 4))
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        assert shots(client, page)[FIVE[0]] == 3  # the first one, that from elsewhere, and the new one
        expect(thumbs(page, FIVE[0])).to_have_count(2)
        assert visit.wrong == [] or all("412" in each for each in visit.wrong)


def test_a_name_that_only_the_server_has_is_not_lost(browser: Browser, client: httpx.Client) -> None:
    """A class that was renamed elsewhere is renamed here, and keeps its examples."""
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.teach(FIVE[:3])
        task = f"/tasks/{id_of(page)}"
        client.patch(f"{task}/support/0", json={"label": "hat"}).raise_for_status()
        come_back(page)
        expect(page.locator(".name").nth(0)).to_have_value("hat")
        expect(page.locator(".card .pad.drawn")).to_have_count(3)
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        page.reload()
        expect(page.locator(".name").nth(0)).to_have_value("hat")


def test_a_link_lists_the_examples_and_they_can_be_moved_and_removed(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        visit.teach(FIVE[:4])
        link = visit.page.url
    with Visit(browser, client, PHONE) as visit:
        page = visit.page
        page.goto(link)
        expect(page.locator(".card .thumbs li")).to_have_count(4)
        thumbs(page, FIVE[1]).first.locator("button").click()
        expect(page.locator("#viewer-name")).to_contain_text("not in this browser")
        page.select_option("#viewer-move", label=FIVE[2])
        wait_until(lambda: shots(client, page) == {FIVE[0]: 1, FIVE[2]: 2, FIVE[3]: 1})
        page.click("#toast-undo")
        wait_until(lambda: shots(client, page).get(FIVE[1]) == 1)

        # Without its picture a removal could not be undone, so the server is told only when asked to.
        thumbs(page, FIVE[1]).first.locator("button").click()
        page.click("#viewer-delete")
        expect(page.locator("#create")).to_have_text("Update classifier")
        assert shots(client, page).get(FIVE[1]) == 1
        page.click("#toast-undo")
        expect(page.locator("#status")).to_contain_text("Ready: 4 classes")
        thumbs(page, FIVE[1]).first.locator("button").click()
        page.click("#viewer-delete")
        page.click("#create")
        wait_until(lambda: FIVE[1] not in shots(client, page))
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        page.keyboard.press("Control+z")
        expect(page.locator("#error")).to_contain_text("deleted it already")
        assert page.url == link


def test_pictures_that_the_server_keeps_are_seen_through_the_link(
    browser: Browser, both: httpx.Client, tmp_path: Path
) -> None:
    with Visit(browser, both, DESKTOP) as visit:
        visit.page.check("#keep-images")
        teach_photos(visit, tmp_path, "red", "blue")
        link = visit.page.url
        assert both.get(f"/tasks/{id_of(visit.page)}").json()["keep_images"] is True
    with Visit(browser, both, DESKTOP) as visit:
        page = visit.page
        page.goto(link)
        expect(page.locator(".card .thumbs li")).to_have_count(8)
        expect(page.locator("#keep-images")).to_be_checked()
        red = "c => { const p = c.getContext('2d').getImageData(44, 44, 1, 1).data; return p[0] > 150 && p[2] < 100; }"
        canvas = thumbs(page, "red").first.locator("canvas")
        wait_until(lambda: bool(canvas.evaluate(red)))
        thumbs(page, "red").first.locator("button").click()
        page.click("#viewer-delete")
        page.keyboard.press("Escape")
        wait_until(lambda: shots(both, page) == {"blue": 4, "red": 3})
        page.click("#toast-undo")
        wait_until(lambda: shots(both, page) == {"blue": 4, "red": 4})
        assert page.url == link
        assert visit.wrong == []


def test_a_classifier_is_saved_whole_and_opened_again(browser: Browser, both: httpx.Client, tmp_path: Path) -> None:
    with Visit(browser, both, DESKTOP) as visit:
        page = visit.page
        page.check("#keep-images")
        page.fill("#name", "colours")
        page.keyboard.press("Tab")
        teach_photos(visit, tmp_path, "red", "blue")
        address = page.url
        with page.expect_download() as download:
            page.locator("#takeaway select").first.select_option("export.zip")
        saved = tmp_path / "saved.zip"
        download.value.save_as(saved)
        assert len([name for name in zipfile.ZipFile(saved).namelist() if name.startswith("pictures/")]) == 8
    with Visit(browser, both, DESKTOP) as visit:
        page = visit.page
        page.click("#library-open")
        page.set_input_files("#library-import", {"name": "no.zip", "mimeType": "", "buffer": b"not a zip"})
        expect(page.locator("#library-note")).not_to_contain_text("Opening")
        expect(page.locator("#library-note")).not_to_be_empty()
        page.set_input_files("#library-import", saved)
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
        expect(page.locator(".card .thumbs li")).to_have_count(8)
        expect(page.locator("#name")).to_have_value("colours")
        assert page.url != address
        file = tmp_path / "ask.jpg"
        file.write_bytes(coloured("red", 30))
        page.locator("#ask input[type=file]").set_input_files(file)
        visit.expect_verdict("red")


def test_a_name_that_the_server_refuses_costs_no_photo(browser: Browser, both: httpx.Client, tmp_path: Path) -> None:
    with Visit(browser, both, PHONE) as visit:
        page = visit.page
        visit.drop("#teach .title", *photos(tmp_path, "red", "blue"))
        expect(page.locator(".card .thumbs li")).to_have_count(8)
        for name in ("\u202ered", "a\u2028b", "\u200b"):
            page.locator(".name").nth(1).fill(name)
            page.click("#create")
            expect(page.locator("#error")).to_contain_text("cannot be used")
            expect(page.locator(".name").nth(1)).to_be_focused()
            expect(page.locator(".flagged")).to_have_count(0)
        page.locator(".name").nth(1).fill("red")
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
        assert shots(both, page) == {"blue": 4, "red": 4}


def test_a_name_is_shown_as_the_server_spells_it(browser: Browser, both: httpx.Client, tmp_path: Path) -> None:
    with Visit(browser, both, DESKTOP) as visit:
        page = visit.page
        visit.drop("#teach .title", *photos(tmp_path, "red", "blue"))
        expect(page.locator(".card .thumbs li")).to_have_count(8)
        page.locator(".name").nth(0).fill("\u200bblue\u200b")
        page.locator(".name").nth(1).fill("re\u200dd")  # a joiner that joins nothing
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
        expect(page.locator(".name").nth(0)).to_have_value("blue")
        expect(page.locator(".name").nth(1)).to_have_value("red")
        thumbs(page, "red").first.locator("button").click()
        page.click("#viewer-delete")
        page.keyboard.press("Escape")
        wait_until(lambda: shots(both, page) == {"blue": 4, "red": 3})
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
