"""Creations and additions whose answer is lost: each is made once, whatever is pressed or reloaded meanwhile."""

import json
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from leo_client import Client
from tests.helpers.drawn import CHARACTERS, shaky
from tests.helpers.page import DESKTOP, PHONE, Visit
from tests.helpers.page_task import id_of, photos, shots, thumbs
from tests.helpers.photographed import coloured
from tests.helpers.tasks import FIVE


def lose_answers(page: Page, pattern: str, count: int) -> list[str]:
    """Let the server do what is asked, and lose so many answers. Returns the requests' Idempotency-Keys."""
    keys: list[str] = []

    def handle(route: Route) -> None:
        if route.request.method != "POST":
            return route.continue_()
        keys.append(route.request.headers.get("idempotency-key", ""))
        if len(keys) > count:
            return route.continue_()
        route.fetch()
        route.abort()

    page.route(pattern, handle)
    return keys


def add_drawing(visit: Visit) -> None:
    """Draw another example of the first class."""
    visit.page.locator(".card .another").first.click()
    visit.draw(visit.page.locator(".card canvas").first, shaky(CHARACTERS[FIVE[0]], 4))
    expect(visit.page.locator("#create")).to_have_text("Update classifier")


def lose_second_part(visit: Visit, folder: Path) -> None:
    """Create a task of forty photos, which are sent in two parts, and lose each answer to the second."""
    visit.drop("#teach .title", *photos(folder, "red", "blue", count=20))
    expect(visit.page.locator(".card .thumbs li")).to_have_count(40, timeout=120_000)
    lose_answers(visit.page, "**/support", 99)
    visit.page.click("#create")
    expect(visit.page.locator("#status")).to_contain_text("does not answer", timeout=60_000)


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_all_attempts_of_an_addition_carry_one_key(browser: Browser, client: httpx.Client, viewport: object) -> None:
    with Visit(browser, client, viewport) as visit:  # type: ignore[arg-type]
        page = visit.page
        visit.teach(FIVE[:3])
        keys = lose_answers(page, "**/support", 2)
        add_drawing(visit)
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        assert len(keys) == 3
        assert len(set(keys)) == 1
        assert keys[0]
        assert shots(client, page)[FIVE[0]] == 2
        add_drawing(visit)
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        assert len(set(keys)) == 2  # another action, another key
        assert shots(client, page)[FIVE[0]] == 3


def test_a_correction_whose_answer_is_lost_counts_once(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.teach(FIVE[:3])
        keys = lose_answers(page, "**/feedback", 1)
        visit.ask(shaky(CHARACTERS[FIVE[0]], 9))
        visit.expect_verdict(FIVE[0])
        page.locator("#bars .correct").nth(0).click()
        expect(page.locator("#learned")).to_contain_text("1 answer")
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        assert len(keys) == 2
        assert len(set(keys)) == 1
        task = client.get(f"/tasks/{id_of(page)}").json()
        assert (task["feedback"]["judged"], task["shots"][FIVE[0]]) == (1, 2)


def test_an_addition_meets_one_from_elsewhere_while_its_answer_is_lost(browser: Browser, client: httpx.Client) -> None:
    """The other one has the same label, so labels alone could not tell which of them is in the task."""
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.teach(FIVE[:3])
        tries: list[str] = []

        def handle(route: Route) -> None:
            if route.request.method != "POST":
                return route.continue_()
            tries.append(route.request.url)
            if len(tries) > 1:
                return route.continue_()
            route.abort()  # the request is lost, and somebody else adds an example
            sent = {"images": ("a.jpg", coloured("red", 1))}
            client.post(f"/tasks/{id_of(page)}/support", files=sent, data={"labels": FIVE[0]}).raise_for_status()

        page.route("**/support", handle)
        add_drawing(visit)
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        assert shots(client, page)[FIVE[0]] == 3
        expect(thumbs(page, FIVE[0])).to_have_count(2)  # and one on the pad


def test_a_reload_before_the_answer_adds_nothing_twice(browser: Browser, both: httpx.Client, tmp_path: Path) -> None:
    with Visit(browser, both, PHONE) as visit:
        page = visit.page
        lose_second_part(visit, tmp_path)
        page.unroute("**/support")
        page.reload()  # the second part is in the task, which this page was never told
        expect(page.locator(".card .thumbs li")).to_have_count(40, timeout=120_000)
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes")
        assert shots(both, page) == {"blue": 20, "red": 20}
        expect(page.locator(".card .thumbs li")).to_have_count(40)


def test_stopped_and_pressed_again_it_adds_nothing_twice(browser: Browser, both: httpx.Client, tmp_path: Path) -> None:
    with Visit(browser, both, DESKTOP) as visit:
        page = visit.page
        lose_second_part(visit, tmp_path)
        page.click("#stop")
        expect(page.locator("#error")).to_contain_text("Stopped")
        page.unroute("**/support")
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes", timeout=60_000)
        assert shots(both, page) == {"blue": 20, "red": 20}
        expect(page.locator(".card .thumbs li")).to_have_count(40)


def test_the_key_is_kept_until_the_addition_is_answered(browser: Browser, client: httpx.Client) -> None:
    """A press of the button after the page has given up is the same action."""
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.teach(FIVE[:3])
        keys: list[str] = []

        def refuse(route: Route) -> None:
            if route.request.method != "POST":
                return route.continue_()
            keys.append(route.request.headers.get("idempotency-key", ""))
            refused = {"status": 503, "detail": "full"}
            route.fulfill(status=503, headers={"Retry-After": "600"}, body=json.dumps(refused))  # not worth waiting

        page.route("**/support", refuse)
        add_drawing(visit)
        page.click("#create")
        expect(page.locator("#error")).to_contain_text("full")
        with page.expect_response("**/support"):
            page.click("#create")
        expect(page.locator("#error")).to_contain_text("full")
        assert len(keys) == 2
        assert len(set(keys)) == 1
        page.unroute("**/support")
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        assert shots(client, page)[FIVE[0]] == 2


def draw_three(visit: Visit) -> None:
    """Draw one example each of three classes."""
    for n in range(3):
        visit.draw(visit.page.locator(".card canvas").nth(n), shaky(CHARACTERS[FIVE[n]], 1))


def made(client: httpx.Client) -> list[str]:
    """The ids of the tasks that the server has."""
    with Client(str(client.base_url)) as leo:
        return [task.task_id for task in leo.tasks()]  # all pages: other tests have left theirs


@pytest.mark.parametrize("reaches", [True, False], ids=["answer lost", "request lost"])
def test_a_creation_goes_on_after_a_reload(browser: Browser, client: httpx.Client, reaches: bool) -> None:
    before = made(client)
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        keys: list[str] = []

        def lose(route: Route) -> None:
            keys.append(route.request.headers["idempotency-key"])
            if reaches:
                route.fetch()
            route.abort()

        page.route("**/tasks", lose)
        draw_three(visit)
        page.locator("#name").fill("lost")
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("does not answer")
        page.unroute("**/tasks")
        with page.expect_request(lambda request: request.method == "POST") as again:
            page.reload()
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        assert {*keys, again.value.headers["idempotency-key"]} == {keys[0]}
        new = [each for each in made(client) if each not in before]
        assert new == [id_of(page)]
        assert client.get(f"/tasks/{new[0]}").json()["name"] == "lost"
        page.reload()
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        assert len(made(client)) == len(before) + 1


def test_a_creation_in_parts_goes_on_after_a_reload(browser: Browser, both: httpx.Client, tmp_path: Path) -> None:
    before = made(both)
    with Visit(browser, both, PHONE) as visit:
        page = visit.page
        red, blue, lime = photos(tmp_path / "set", "red", "blue", "lime", count=20)
        visit.drop("#teach .title", red, blue, lime.rename(tmp_path / "_negatives"))
        expect(page.locator(".card .thumbs li")).to_have_count(60, timeout=120_000)
        lose_answers(page, "**/tasks", 99)
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("does not answer", timeout=60_000)
        page.unroute("**/tasks")
        page.reload()
        expect(page.locator("#status")).to_contain_text("Ready: 2 classes", timeout=60_000)
        assert [each for each in made(both) if each not in before] == [id_of(page)]
        task = both.get(f"/tasks/{id_of(page)}").json()
        assert (task["shots"], task["negatives"]) == ({"blue": 20, "red": 20}, 20)
        expect(page.locator(".card .thumbs li")).to_have_count(60)
        expect(page.locator("#create")).to_be_hidden()


def test_a_classifier_made_again_goes_on_after_a_reload(browser: Browser, client: httpx.Client) -> None:
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        visit.teach(FIVE[:3])
        before, old = made(client), id_of(page)
        page.check("#keep-images")
        expect(page.locator("#create")).to_have_text("Create it again")
        lose_answers(page, "**/tasks", 99)
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("does not answer")
        page.unroute("**/tasks")
        page.reload()
        page.wait_for_function("old => !location.hash.includes(old)", arg=old)
        expect(page.locator("#status")).to_contain_text("Ready: 3 classes")
        assert [each for each in made(client) if each not in before] == [id_of(page)]
        assert client.get(f"/tasks/{id_of(page)}").json()["keep_images"] is True


def test_a_creation_that_was_stopped_waits_for_another_press(browser: Browser, client: httpx.Client) -> None:
    before = made(client)
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        cards = page.locator(".card")
        for n in range(26):  # so many that the progress is shown, with its button to stop
            if n >= 5:
                page.click("#add")
            visit.draw(cards.nth(n).locator("canvas"), shaky(CHARACTERS[FIVE[n % 5]], n))
        keys = lose_answers(page, "**/tasks", 99)
        page.click("#create")
        expect(page.locator("#status")).to_contain_text("does not answer")
        page.click("#stop")
        expect(page.locator("#error")).to_contain_text("Stopped")
        page.unroute("**/tasks")
        page.reload()
        expect(page.locator("#status")).to_contain_text("26 classes have examples")
        expect(page.locator("#create")).to_have_text("Create classifier")
        with page.expect_request(lambda request: request.method == "POST") as again:
            page.click("#create")
        expect(page.locator("#status")).to_contain_text("Ready: 26 classes")
        assert {*keys, again.value.headers["idempotency-key"]} == {keys[0]}
        assert [each for each in made(client) if each not in before] == [id_of(page)]


def test_a_creation_that_was_refused_is_not_asked_again(browser: Browser, client: httpx.Client) -> None:
    before = made(client)
    with Visit(browser, client, DESKTOP) as visit:
        page = visit.page
        draw_three(visit)
        refused = json.dumps({"status": 422, "detail": "not today"})
        page.route("**/tasks", lambda route: route.fulfill(status=422, body=refused))
        page.click("#create")
        expect(page.locator("#error")).to_contain_text("not today")
        page.unroute("**/tasks")
        page.reload()
        expect(page.locator("#status")).to_contain_text("3 classes have examples")
        page.locator(".name").first.fill("renamed")
        page.wait_for_load_state("networkidle")
        assert made(client) == before
