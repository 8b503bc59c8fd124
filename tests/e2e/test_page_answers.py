"""Answers that are true while they change: grey, late, offline, corrected, and decided by what was learned."""

import re
import signal
import time
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, ViewportSize, expect

from app.settings import Settings
from tests.helpers.drawn import CHARACTERS, canvas, encoded, shaky
from tests.helpers.page import DESKTOP, PHONE, Visit
from tests.helpers.photographed import coloured
from tests.helpers.server import Server
from tests.helpers.serving import serving
from tests.helpers.tasks import FIVE

GREY = re.compile(r"\bpending\b")


def teach_photos(visit: Visit, folder: Path, *colours: str) -> None:
    """Drop five photos of each colour, and create the task."""
    for colour in colours:
        (folder / colour).mkdir(parents=True)
        for seed in range(5):
            (folder / colour / f"{seed}.jpg").write_bytes(coloured(colour, seed))
    visit.drop("#teach .title", *(folder / colour for colour in colours))
    expect(visit.page.locator(".card .thumbs li")).to_have_count(5 * len(colours))
    visit.page.click("#create")
    expect(visit.page.locator("#status")).to_contain_text(f"Ready: {len(colours)} classes")


def test_a_verdict_is_grey_from_the_moment_a_new_question_starts(browser: Browser, client: httpx.Client) -> None:
    held: list[Route] = []
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.teach(FIVE[:3])
        visit.ask(shaky(CHARACTERS[FIVE[1]], 9))
        visit.expect_verdict(FIVE[1])
        expect(page.locator("#ask")).not_to_have_class(GREY)
        page.route("**/predict*", lambda route: held.append(route))
        visit.draw(page.locator("#ask-pad canvas"), (((0.2, 0.2), (0.8, 0.8)),))
        expect(page.locator("#ask")).to_have_class(GREY)
        expect(page.locator("#verdict .label")).to_have_text(FIVE[1])  # the old one, in grey
        assert held
        page.unroute("**/predict*")  # which lets those go that were held
        expect(page.locator("#ask")).not_to_have_class(GREY)


@pytest.mark.parametrize("status", [429, 503])
def test_a_refused_question_is_asked_again_when_the_server_says(
    browser: Browser, client: httpx.Client, status: int
) -> None:
    asked: list[float] = []

    def refuse_twice(route: Route) -> None:
        asked.append(time.monotonic())
        if len(asked) > 2:
            return route.continue_()
        route.fulfill(status=status, headers={"Retry-After": "2"}, json={"detail": "too many", "status": status})

    with Visit(browser, client, PHONE) as visit:
        page = visit.page
        visit.teach(FIVE[:3])
        page.route("**/predict*", refuse_twice)
        visit.draw(page.locator("#ask-pad canvas"), shaky(CHARACTERS[FIVE[1]], 9))
        note = page.locator("#ask-note")
        expect(note).to_contain_text("slow down" if status == 429 else "busy")
        expect(note).to_contain_text("Trying again in 2 s")
        expect(page.locator("#ask")).to_have_class(GREY)
        visit.expect_verdict(FIVE[1])
        expect(note).to_be_empty()
        expect(page.locator("#ask")).not_to_have_class(GREY)
        assert asked[1] - asked[0] >= 1.9


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_offline_and_back(browser: Browser, client: httpx.Client, viewport: ViewportSize) -> None:
    with Visit(browser, client, viewport) as visit:
        page = visit.page
        visit.teach(FIVE[:3])
        visit.ask(shaky(CHARACTERS[FIVE[0]], 9))
        visit.expect_verdict(FIVE[0])
        page.context.set_offline(True)
        visit.ask(shaky(CHARACTERS[FIVE[1]], 9))
        expect(page.locator("#ask-note")).to_contain_text("You are offline")
        page.locator(".card .another").first.click()
        visit.draw(page.locator(".card canvas").first, shaky(CHARACTERS[FIVE[0]], 5))
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("You are offline")
        page.context.set_offline(False)
        visit.expect_verdict(FIVE[1])
        expect(page.locator("#ask-note")).to_be_empty()
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes", timeout=60_000)


def test_a_restarted_server_is_asked_again(browser: Browser, server: Server) -> None:

    with httpx.Client(base_url=server.url) as client, Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.teach(FIVE[:3])
        server.stop(signal.SIGTERM)
        visit.draw(page.locator("#ask-pad canvas"), shaky(CHARACTERS[FIVE[1]], 9))
        expect(page.locator("#ask-note")).to_contain_text("does not answer")
        server.start()
        expect(page.locator("#verdict .label")).to_have_text(FIVE[1], timeout=120_000)
        expect(page.locator("#ask-note")).to_be_empty()


def test_other_weights_are_said_and_the_task_is_made_again(browser: Browser, server: Server) -> None:

    with httpx.Client(base_url=server.url) as client, Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.teach(FIVE[:3])
        server.stop(signal.SIGTERM)
        server.settings["LEO_WEIGHTS"] = "weights/omniglot-105"
        server.start()
        visit.draw(page.locator("#ask-pad canvas"), shaky(CHARACTERS[FIVE[1]], 9))
        expect(page.locator("#ask-note")).to_contain_text("another model now", timeout=60_000)
        page.locator("#ask-note button").click()
        expect(page.locator("#verdict .label")).to_have_text(FIVE[1], timeout=60_000)


def test_one_correction_improves_the_next_answer(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.teach(FIVE[:3])
        page.locator("#reject").fill("0")  # a wave taught as an ell is still unlike the other ell
        visit.ask(shaky(CHARACTERS["wave"], 9))
        expect(page.locator("#bars li.best, #verdict.unknown")).to_have_count(1)
        row = page.locator("#bars li").nth(1)
        page.locator("#bars li").nth(1).locator(".correct").click()
        expect(page.locator(".card").nth(1).locator(".thumbs li")).to_have_count(1)
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        visit.ask(shaky(CHARACTERS["wave"], 4))  # drawn anew
        visit.expect_verdict(FIVE[1])
        expect(row).to_have_class("best")
        task_id = page.url.rpartition("=")[2]
        assert client.get(f"/tasks/{task_id}").json()["shots"][FIVE[1]] == 2
        page.click("#toast-undo")
        expect(page.locator(".card").nth(1).locator(".thumbs li")).to_have_count(0)
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        assert client.get(f"/tasks/{page.url.rpartition('=')[2]}").json()["shots"][FIVE[1]] == 1


def test_a_photo_in_the_table_is_corrected_in_one_click(browser: Browser, both: httpx.Client, tmp_path: Path) -> None:
    with Visit(browser, both, DESKTOP) as visit:
        page = visit.page
        teach_photos(visit, tmp_path / "teach", "red", "blue")
        for n, (folder, colour) in enumerate([("red", "red"), ("red", "blue"), ("blue", "blue"), ("other", "lime")]):
            (tmp_path / "ask" / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / "ask" / folder / f"{n}.jpg").write_bytes(coloured(colour, 20 + n))
        visit.drop("#ask .title", tmp_path / "ask")
        expect(page.locator("#batch-title")).to_contain_text("4 of 4 photos answered")
        expect(page.locator(".confusion tbody th")).to_have_text(["blue", "red", "other"])
        wrong = page.locator("#batch-rows tr").filter(has_text="red/1.jpg")
        expect(wrong).to_have_class("wrong")
        wrong.get_by_role("button", name="Learn as red").click()
        expect(
            page.locator(".card").filter(has=page.locator("[aria-label='Examples kept of red']")).locator(".thumbs li")
        ).to_have_count(6)
        expect(wrong).to_have_class("right")
        assert both.get(f"/tasks/{page.url.rpartition('=')[2]}").json()["shots"] == {"blue": 5, "red": 6}


def test_identical_drawings_in_two_classes_are_not_called_easy(
    browser: Browser, client: httpx.Client, tmp_path: Path
) -> None:
    same = tmp_path / "same.png"
    same.write_bytes(encoded(canvas(CHARACTERS["ring"])))
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        for n in (0, 1):
            page.locator(".card input[type=file]").nth(n).set_input_files(same)
            expect(page.locator(".card").nth(n).locator(".thumbs li")).to_have_count(1)
        page.click("#create")
        expect(page.locator("#learned")).to_contain_text("almost the same picture")
        expect(page.locator("#learned")).not_to_contain_text("easy")
        expect(page.locator("#quality")).to_contain_text("almost the same picture in two classes")


def test_a_creation_interrupted_half_way_is_continued(browser: Browser, both: httpx.Client, tmp_path: Path) -> None:
    """Neither a lost request nor a lost answer adds an example twice."""

    def lose(page: Page) -> None:
        state = {"n": 0}

        def handle(route: Route) -> None:
            state["n"] += 1
            if state["n"] == 1:
                return route.abort()  # the request is lost
            if state["n"] == 2:
                route.fetch()  # the server has it, and the answer is lost
                return route.abort()
            route.continue_()

        page.route("**/support", handle)

    for colour in ("red", "blue"):
        (tmp_path / colour).mkdir()
        for seed in range(30):
            (tmp_path / colour / f"{seed}.jpg").write_bytes(coloured(colour, seed))
    with Visit(browser, both, DESKTOP) as visit:
        page = visit.page
        lose(page)
        visit.drop("#teach .title", tmp_path / "red", tmp_path / "blue")
        expect(page.locator(".card .thumbs li")).to_have_count(60, timeout=120_000)
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes", timeout=120_000)
        assert both.get(f"/tasks/{page.url.rpartition('=')[2]}").json()["shots"] == {"blue": 30, "red": 30}


def test_starting_over_while_photos_are_sent_keeps_what_was_sent(
    browser: Browser, both: httpx.Client, tmp_path: Path
) -> None:
    for colour in ("red", "blue"):
        (tmp_path / colour).mkdir()
        for seed in range(40):
            (tmp_path / colour / f"{seed}.jpg").write_bytes(coloured(colour, seed))
    with Visit(browser, both, DESKTOP) as visit:
        page = visit.page
        visit.drop("#teach .title", tmp_path / "red", tmp_path / "blue")
        expect(page.locator(".card .thumbs li")).to_have_count(80, timeout=120_000)
        held: list[Route] = []
        page.route("**/support", lambda route: held.append(route))
        with page.expect_request("**/support"):
            page.click("#create")
        page.click("#start-over")
        expect(page.locator(".card")).to_have_count(5)
        visit.draw(page.locator(".card canvas").nth(0), CHARACTERS["ring"])
        visit.draw(page.locator(".card canvas").nth(1), CHARACTERS["ex"])
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes", timeout=60_000)
        page.unroute("**/support")
        page.go_back()
        expect(page.locator(".card .thumbs li")).to_have_count(80, timeout=120_000)
        expect(page.locator("#create")).to_have_text("Update classifier")
        page.click("#create")
        expect(page.locator("#create")).to_be_hidden(timeout=60_000)
        task = both.get(f"/tasks/{page.url.rpartition('=')[2]}").json()
        assert task["shots"] == {"blue": 40, "red": 40}


def test_a_server_that_takes_small_requests_gets_smaller_parts(
    browser: Browser, settings: Settings, tmp_path: Path
) -> None:
    for colour in ("red", "blue"):
        (tmp_path / colour).mkdir()
        for seed in range(10):
            (tmp_path / colour / f"{seed}.jpg").write_bytes(coloured(colour, seed))
    small = settings.model_copy(update={"max_body_bytes": 60_000, "data_dir": tmp_path})
    with serving(small) as client, Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.drop("#teach .title", tmp_path / "red", tmp_path / "blue")
        expect(page.locator(".card .thumbs li")).to_have_count(20)
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
        task = client.get(f"/tasks/{page.url.rpartition('=')[2]}").json()
        assert task["shots"] == {"blue": 10, "red": 10}


def test_the_button_tells_the_truth_after_a_failed_creation(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.teach(FIVE[:3])
        page.locator(".name").nth(0).fill("changed")
        page.route("**/support/*", lambda route: route.fulfill(status=500, json={"detail": "broken"}))
        page.click("#create")
        expect(page.locator("#error")).to_have_text("broken")
        expect(page.locator("#create")).to_have_text("Update classifier")
        page.locator(".name").nth(0).fill(FIVE[0])
        expect(page.locator("#create")).to_be_hidden()
        expect(page.locator("#status")).to_contain_text("Ready")
