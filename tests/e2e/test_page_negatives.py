"""The page's place for what is none of the classes: drawn, dropped, kept, sent with the creation, and undone."""

import shutil
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, Response, ViewportSize, expect

from app.settings import Settings
from tests.helpers.drawn import CHARACTERS, png, shaky
from tests.helpers.page import DESKTOP, PHONE, Visit
from tests.helpers.page_task import id_of, photos, shots, teach_photos
from tests.helpers.serving import serving
from tests.helpers.tasks import FIVE

STRANGER = next(name for name in CHARACTERS if name not in FIVE)


def negatives(client: httpx.Client, page: Page) -> int:
    """How many negatives the server has of the open task."""
    return int(client.get(f"/tasks/{id_of(page)}").json()["negatives"])


def numbers(client: httpx.Client, page: Page) -> list[int]:
    """The numbers of the negatives that the server has of the open task."""
    return list(client.get(f"/tasks/{id_of(page)}/negatives").json()["negatives"])


def changes_negatives(response: Response) -> bool:
    """Whether it answers the removal of a negative."""
    return response.request.method == "DELETE" and "/negatives/" in response.url


def draw_negatives(visit: Visit, count: int) -> None:
    """Open the place for what is none of the classes, and draw a stranger there so many times."""
    visit.page.locator("#none summary").click()
    card = visit.page.locator("#negatives .card")
    for seed in range(count):
        if seed:
            card.locator(".another").click()
        visit.draw(card.locator(".pad canvas"), shaky(CHARACTERS[STRANGER], seed))


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_what_is_drawn_as_none_of_them_is_sent_kept_and_known_as_such(
    browser: Browser, client: httpx.Client, viewport: ViewportSize
) -> None:
    with Visit(browser, client, viewport) as visit:
        page = visit.page
        expect(page.locator("#negatives .card")).to_have_count(0)  # few need it
        visit.teach(FIVE)
        assert negatives(client, page) == 0
        first = page.url
        draw_negatives(visit, 2)
        expect(page.locator("#create")).to_have_text("Update classifier")
        expect(page.locator("#status")).to_contain_text("use the new examples")
        page.reload()
        expect(page.locator("#negatives .thumbs li")).to_have_count(1)
        expect(page.locator("#negatives .pad.drawn")).to_have_count(1)
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 5 classes")
        assert page.url == first
        assert negatives(client, page) == 2
        assert shots(client, page) == dict.fromkeys(FIVE, 1)
        visit.ask(shaky(CHARACTERS[STRANGER], 9))
        visit.expect_verdict("None of these")
        visit.ask(shaky(CHARACTERS[FIVE[1]], 9))
        visit.expect_verdict(FIVE[1])
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
        page.reload()
        expect(page.locator("#status")).to_contain_text("Ready: 5 classes")
        expect(page.locator("#create")).to_be_hidden()
        assert visit.wrong == []


def test_a_folder_of_negatives_is_no_class(browser: Browser, both: httpx.Client, tmp_path: Path) -> None:
    *_, lime, cyan = photos(tmp_path / "set", "red", "blue", "lime", "cyan")
    (tmp_path / "set" / "_negatives" / "deeper").mkdir(parents=True)
    lime.rename(tmp_path / "set" / "_negatives" / "lime")
    cyan.rename(tmp_path / "set" / "_negatives" / "deeper" / "cyan")
    (tmp_path / "set" / "_negatives" / "broken.tiff").write_bytes(b"II*\0 and no more")
    with Visit(browser, both, DESKTOP) as visit:
        page = visit.page
        visit.drop("#teach .title", tmp_path / "set")
        expect(page.locator("#negatives .thumbs li")).to_have_count(9)
        expect(page.locator("#cards .thumbs li")).to_have_count(8)
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
        expect(page.locator("#error")).to_contain_text("could not read 1 photo")
        assert shots(both, page) == {"blue": 4, "red": 4}
        assert negatives(both, page) == 8
        expect(page.locator("#create")).to_be_hidden()


def test_what_is_dropped_on_the_closed_place_goes_there(browser: Browser, both: httpx.Client, tmp_path: Path) -> None:
    (lime,) = photos(tmp_path, "lime")
    with Visit(browser, both, DESKTOP) as visit:
        page = visit.page
        visit.drop("#none summary", lime)
        expect(page.locator("#negatives .thumbs li")).to_have_count(4)
        expect(page.locator("#cards .thumbs li")).to_have_count(0)
        expect(page.locator("#status")).to_contain_text("Fill two boxes")


def test_they_are_removed_moved_and_brought_back(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        draw_negatives(visit, 2)
        visit.teach(FIVE[:3])
        address = page.url
        assert negatives(client, page) == 2
        page.locator("#negatives .thumbs button").click()
        with page.expect_response(changes_negatives) as removal:
            page.click("#viewer-delete")
        assert removal.value.url.endswith("/negatives/0")  # the one that was drawn first, not the one on the pad
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        assert numbers(client, page) == [1]
        page.keyboard.press("Control+z")
        expect(page.locator("#negatives .thumbs li")).to_have_count(1)
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        assert numbers(client, page) == [1, 2]
        page.locator("#negatives .thumbs button").click()
        page.select_option("#viewer-move", label=FIVE[1])
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        expect(page.locator("#create")).to_be_hidden()
        assert numbers(client, page) == [1]
        assert shots(client, page) == {FIVE[0]: 1, FIVE[1]: 2, FIVE[2]: 1}
        page.click("#toast-undo")
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        assert numbers(client, page) == [1, 3]
        assert shots(client, page) == dict.fromkeys(FIVE[:3], 1)
        assert (page.url, visit.wrong) == (address, [])  # it is the same task all the while


def test_what_others_remove_of_them_goes_from_the_page_too(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        draw_negatives(visit, 3)
        visit.teach(FIVE[:2])
        assert numbers(client, page) == [0, 1, 2]
        client.delete(f"/tasks/{id_of(page)}/negatives/1").raise_for_status()
        page.reload()
        expect(page.locator("#negatives .thumbs li")).to_have_count(1)
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
        page.locator("#negatives .undo").click()  # the last one, which is on the pad
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
        expect(page.locator("#create")).to_be_hidden()
        assert numbers(client, page) == [0]


def test_another_tab_takes_neither_the_hand_nor_the_choice_away(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        draw_negatives(visit, 1)
        visit.draw(page.locator("#cards canvas").first, CHARACTERS["ring"])
        page.wait_for_function("/#draft=/.test(location.hash)")
        other = page.context.new_page()
        other.goto(page.url)
        expect(other.locator("#negatives .pad.drawn")).to_have_count(1)
        pad = page.locator("#negatives .pad canvas")
        pad.focus()
        other.locator(".name").nth(1).fill("meanwhile")
        expect(page.locator(".name").nth(1)).to_have_value("meanwhile")
        expect(pad).to_be_focused()
        page.locator("#none summary").click()
        expect(pad).to_be_hidden()
        other.locator(".name").nth(1).fill("later")
        expect(page.locator(".name").nth(1)).to_have_value("later")
        expect(pad).to_be_hidden()


def test_a_copy_has_them_and_a_new_classifier_does_not(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        draw_negatives(visit, 1)
        visit.teach(FIVE[:2])
        page.click("#library-open")
        expect(page.locator("#library-kept .about")).to_contain_text("2 classes")
        page.get_by_role("button", name="Duplicate").click()
        expect(page.locator("#negatives .pad.drawn")).to_have_count(1)
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
        assert negatives(client, page) == 1
        page.click("#start-over")
        expect(page.locator("#negatives .card")).to_have_count(0)
        page.go_back()
        expect(page.locator("#negatives .pad.drawn")).to_have_count(1)


@pytest.mark.parametrize("kept", [True, False], ids=["with its examples", "without"])
def test_through_a_link_they_are_shown_and_can_be_removed(browser: Browser, client: httpx.Client, kept: bool) -> None:
    strangers = [("negatives", png(STRANGER, seed)) for seed in range(2)]
    files = [*(("images", png(label, 0)) for label in FIVE[:3]), *strangers]
    content = {"labels": FIVE[:3], "keep_support": str(kept).lower()}
    task = client.post("/tasks", files=files, data=content).raise_for_status().json()
    with Visit(browser, client, PHONE) as visit:
        page = visit.page
        link = f"{client.base_url}/#task={task['task_id']}"
        page.goto(link)
        expect(page.locator("#negatives .thumbs li")).to_have_count(2)
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        visit.draw(page.locator("#negatives .pad canvas"), shaky(CHARACTERS[STRANGER], 5))
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        assert (numbers(client, page), page.url) == ([0, 1, 2], link)
        page.locator("#negatives .undo").click()
        page.locator("#negatives .thumbs button").first.click()
        expect(page.locator("#viewer-move option")).to_have_count(
            1
        )  # to be a class's, its picture would have to be here
        page.click("#viewer-delete")
        page.keyboard.press("Escape")
        page.click("#create")  # it can be brought back until then
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        assert (numbers(client, page), page.url) == ([1], link)


def test_an_answer_is_corrected_to_none_of_these_in_one_click(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, PHONE) as visit:
        page = visit.page
        visit.teach(FIVE[:3])
        address, before = page.url, shots(client, page)
        wrong = page.locator("#correct-none")
        expect(wrong).to_be_hidden()
        page.locator("#reject").fill("0")
        visit.ask(shaky(CHARACTERS[STRANGER], 1))
        expect(page.locator("#bars li.best")).to_have_count(1)
        wrong.click()
        expect(page.locator("#toast-text")).to_contain_text("none of these")
        expect(page.locator("#negatives .thumbs li")).to_have_count(1)
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        assert (negatives(client, page), shots(client, page), page.url) == (1, before, address)
        page.locator("#reject").fill("5")
        visit.ask(shaky(CHARACTERS[STRANGER], 2))
        visit.expect_verdict("None of these")
        page.locator("#bars .correct").nth(1).click()  # whoever pressed the wrong one presses another
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        wrong.click()
        expect(page.locator("#negatives .thumbs li")).to_have_count(2)
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        assert (negatives(client, page), shots(client, page)) == (2, before)
        page.click("#toast-undo")
        expect(page.locator("#negatives .thumbs li")).to_have_count(1)
        assert visit.wrong == []


def test_photos_in_the_table_are_corrected_to_none_of_these(
    browser: Browser, both: httpx.Client, tmp_path: Path
) -> None:
    with Visit(browser, both, DESKTOP) as visit:
        page = visit.page
        teach_photos(visit, tmp_path / "teach", "red", "blue")
        page.locator("#reject").fill("0")
        visit.drop("#ask .title", *photos(tmp_path / "ask", "red", "lime", count=2))
        expect(page.locator("#batch-title")).to_contain_text("4 of 4 photos answered")
        first, second = page.locator("#batch-rows tr:has-text('lime/')").all()
        first.get_by_role("button", name="Learn as none of these").click()
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
        assert negatives(both, page) == 1
        choice = page.locator("#batch-rows tr:has-text('red/') select").first
        choice.focus()
        choice.select_option(label="none of these")
        expect(page.locator("#negatives .thumbs li")).to_have_count(2)
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
        assert negatives(both, page) == 2
        expect(second).to_be_visible()


def test_a_model_that_cannot_tell_offers_no_such_correction(
    browser: Browser, settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(settings.weights, folder)
    (folder / "known.safetensors").unlink()
    changed = settings.model_copy(update={"data_dir": tmp_path / "data", "weights": folder})
    with serving(changed) as client, Visit(browser, client, DESKTOP) as visit:
        visit.teach(FIVE[:3])
        visit.ask(shaky(CHARACTERS[FIVE[0]], 9))
        visit.expect_verdict(FIVE[0])
        expect(visit.page.locator("#correct-hint")).to_be_visible()
        expect(visit.page.locator("#correct-none")).to_be_hidden()
