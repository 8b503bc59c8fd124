"""The service behind a path prefix, through a real nginx that passes the prefix on or strips it."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, expect

from leo_client import Client
from tests.helpers.cluster import gateway
from tests.helpers.drawn import png
from tests.helpers.page import DESKTOP, Visit
from tests.helpers.server import Server
from tests.helpers.tasks import FIVE, create, predict

PREFIX = "/leo"
LOCATIONS = """
location /leo/ { proxy_pass http://leo; }
location = /leo { proxy_pass http://leo; }
location /stripped/leo/ { proxy_pass http://leo/; }
"""


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The ways to a server with a path prefix: through a gateway, and straight."""
    folder = tmp_path_factory.mktemp("prefix")
    server = Server(folder / "data", LEO_ROOT_PATH=f"{PREFIX}/", LEO_WORKERS="1")
    try:
        server.start()
        with gateway(folder, [server], override=LOCATIONS) as url:
            yield {
                "gateway": url,
                "passed on": f"{url}{PREFIX}",
                "stripped": f"{url}/stripped{PREFIX}",
                "no gateway": server.url,
            }
    finally:
        server.close()


@pytest.fixture(scope="module")
def gateway_url(urls: dict[str, str]) -> str:
    """The gateway's own URL, without a prefix."""
    return urls["gateway"]


@pytest.fixture(params=["passed on", "stripped", "no gateway"])
def client(request: pytest.FixtureRequest, urls: dict[str, str]) -> Iterator[httpx.Client]:
    """A client whose calls arrive at the server with the prefix, or without."""
    with httpx.Client(base_url=urls[request.param], timeout=60) as client:
        yield client


def test_links_and_redirects_have_the_prefix(client: httpx.Client) -> None:
    created = create(client)
    task_id = created.json()["task_id"]
    assert created.headers["location"] == f"{PREFIX}/tasks/{task_id}"
    head = client.get(f"/tasks/{task_id}/parameters")
    assert head.headers["cache-control"] == "no-store"
    imported = client.post("/tasks/import", content=head.content)
    assert imported.headers["location"] == f"{PREFIX}/tasks/{imported.json()['task_id']}"
    redirected = client.get("/tasks/", params={"limit": 1})
    assert (redirected.status_code, redirected.headers["location"]) == (307, f"{PREFIX}/tasks?limit=1")
    assert client.get("/openapi.json").json()["servers"] == [{"url": PREFIX}]
    assert [each["label"] for each in predict(client, task_id, [png(name, 7) for name in FIVE])] == FIVE
    assert 'route="/tasks/{task_id}/predict"' in client.get("/metrics").text


def test_docs_load_their_files_from_the_prefix(client: httpx.Client, gateway_url: str) -> None:
    for path in ("/docs", "/redoc"):
        sources = re.findall(r"""(?:src|href|url|spec-url)(?:=|: )["']([^"']+)""", client.get(path).text)
        assert len(sources) >= 2
        for source in sources:
            assert source.startswith(f"{PREFIX}/"), source
            assert httpx.get(gateway_url + source).status_code == 200


def test_the_prefix_alone_leads_to_the_page(gateway_url: str) -> None:
    redirected = httpx.get(f"{gateway_url}{PREFIX}")
    assert (redirected.status_code, redirected.headers["location"]) == (307, f"{PREFIX}/")
    assert httpx.get(f"{gateway_url}{PREFIX}/").headers["content-type"].startswith("text/html")
    assert httpx.get(f"{gateway_url}{PREFIX}nardo/readyz").status_code == 404
    assert httpx.get(f"{gateway_url}{PREFIX}{PREFIX}/readyz").status_code == 404
    assert httpx.get(f"{gateway_url}/readyz").status_code == 200  # as a probe asks


def test_the_python_client_takes_a_url_with_a_prefix(gateway_url: str) -> None:
    with Client(f"{gateway_url}{PREFIX}/") as leo:
        task = leo.create({name: png(name) for name in FIVE})
        assert leo.predict(task.task_id, [png("ring", 4)])[0].label == "ring"
        leo.delete(task.task_id)


def test_the_page_and_the_docs_work_in_a_browser(browser: Browser, gateway_url: str) -> None:
    with httpx.Client(base_url=f"{gateway_url}{PREFIX}/") as client, Visit(browser, client, DESKTOP) as visit:
        visit.page.click("#example")
        visit.expect_verdict("clock")
        assert {urlsplit(url).path.startswith(f"{PREFIX}/") for url in visit.asked} == {True}
        expect(visit.page.locator("#snippet")).to_contain_text(f"{gateway_url}{PREFIX}/tasks/")
        visit.page.goto(f"{gateway_url}{PREFIX}/docs")
        expect(visit.page.get_by_text("Create a task: a classifier")).to_be_visible()
        assert visit.wrong == []


def test_with_keys_the_prefix_opens_no_other_path(tmp_path: Path) -> None:
    from app.http.keys import KeyFile, new_key, write_keys

    key, secret = new_key("reader", "reader", ["read"])
    write_keys(tmp_path / "keys.json", KeyFile(keys=[key]))
    server = Server(tmp_path / "data", LEO_ROOT_PATH=PREFIX, LEO_WORKERS="1", LEO_KEYS_FILE=str(tmp_path / "keys.json"))
    try:
        server.start()
        reader = {"Authorization": f"Bearer {secret}"}
        for prefix in ("", PREFIX):
            assert httpx.get(f"{server.url}{prefix}/tasks").status_code == 401
            assert httpx.get(f"{server.url}{prefix}/page/../tasks").status_code == 401
            assert httpx.get(f"{server.url}{prefix}/page/main.js").status_code == 200
            assert httpx.get(f"{server.url}{prefix}/tasks", headers=reader).status_code == 200
            assert httpx.get(f"{server.url}{prefix}/metrics", headers=reader).status_code == 403
            assert httpx.post(f"{server.url}{prefix}/tasks", headers=reader).status_code == 403
            # Predicting needs the right to read only, so this call gets as far as its missing images.
            assert httpx.post(f"{server.url}{prefix}/tasks/0/predict", headers=reader).status_code == 422
    finally:
        server.close()


HEAD_PATHS = ["/", "/docs", "/openapi.json", "/healthz", "/readyz", "/metrics", "/models", "/tasks", "/page/main.js"]


@pytest.mark.parametrize("path", HEAD_PATHS)
def test_head_is_answered_as_get_without_a_body(client: httpx.Client, path: str) -> None:
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert client.get("/healthz").json() == {"status": "ok"}  # the connection is as it should be


def test_head_is_refused_as_get_is(client: httpx.Client) -> None:
    task_id = create(client).json()["task_id"]
    assert client.head(f"/tasks/{task_id}/export.onnx").status_code == 200
    assert client.head("/tasks/0123").status_code == 404
    assert client.head(f"/tasks/{task_id}/predict").status_code == 405
    assert 'method="HEAD",route="/tasks/{task_id}/export.onnx",status="200"' in client.get("/metrics").text
