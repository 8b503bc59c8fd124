"""A real browser on pages of other sites, in front of a service without keys."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Response

from app.http.routes.page import PAGE
from tests.helpers.tasks import create

# A request that a page may send to any site, although it cannot read the answer: a form with files.
SEND_FORM = """async (url) => {
  const canvas = Object.assign(document.createElement("canvas"), {width: 60, height: 60});
  const pen = canvas.getContext("2d");
  pen.fillStyle = "white"; pen.fillRect(0, 0, 60, 60);
  pen.fillStyle = "black"; pen.fillRect(10, 20, 9, 30);
  const picture = await new Promise((done) => canvas.toBlob(done)), form = new FormData();
  for (const label of ["a", "b"]) { form.append("images", picture, "a.png"); form.append("labels", label); }
  await fetch(url, {method: "POST", mode: "no-cors", body: form}).catch(() => null);
}"""


class OtherProgram(BaseHTTPRequestHandler):
    """A program that serves a page of its own."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><body><h1>Another page</h1></body>")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def other() -> Iterator[str]:
    """The address of another program's page on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), OtherProgram) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_pages_of_other_sites_make_and_read_no_tasks(browser: Browser, client: httpx.Client, other: str) -> None:
    service, port = str(client.base_url), client.base_url.port
    create(client)
    before = client.get("/tasks", params={"limit": 100}).json()
    answers: list[Response] = []
    context = browser.new_context(bypass_csp=True)  # the rebinding page would bring its own policy
    try:
        page = context.new_page()
        page.on("response", lambda answer: answers.append(answer))
        # The service's own page makes a task this way, so the form is one that it takes.
        page.goto(service)
        with page.expect_response("**/tasks") as made:
            page.evaluate(SEND_FORM, f"{service}/tasks")
        assert made.value.status == 201
        client.delete(made.value.headers["location"])

        # Another program's page on this machine: another port, and so another origin.
        page.goto(other)
        with page.expect_response("**/tasks") as refused:
            page.evaluate(SEND_FORM, f"{service}/tasks")
        assert refused.value.status == 403
        assert client.get("/tasks", params={"limit": 100}).json() == before

        # A site whose name has been bent to this machine: to the browser, page and service have one origin.
        evil = f"http://evil.example:{port}"
        assert page.goto(f"{evil}/").status == 403  # type: ignore[union-attr]
        answer = page.evaluate("async () => (await fetch('/tasks')).status")
        assert answer == 403
        page.evaluate(SEND_FORM, f"{evil}/tasks")
        assert {each.status for each in answers if urlsplit(each.url).hostname == "evil.example"} == {403}
        assert client.get("/tasks", params={"limit": 100}).json() == before

        # A link on another site opens the service's page, with all of its files.
        page.goto(other)
        page.evaluate(
            "url => document.body.append(Object.assign(document.createElement('a'), {href: url, text: 'LEO'}))",
            service,
        )
        answers.clear()
        page.click("a")
        page.locator(".card").first.wait_for()
        page.wait_for_load_state("networkidle")
        assert len(answers) >= len(list(PAGE.glob("*.js")))
        assert {each.status for each in answers} <= {200, 304}
    finally:
        context.close()
