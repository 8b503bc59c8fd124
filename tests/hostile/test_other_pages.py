"""Web pages of other sites get nothing from a service without keys. The headers are those that browsers send."""

import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from app.http.keys import KeyFile, new_key, write_keys
from app.http.middleware.other_pages import OwnNames
from app.settings import Settings
from tests.helpers.drawn import png
from tests.helpers.problems import assert_problem
from tests.helpers.serving import serving
from tests.helpers.tasks import FIVE, create, files

Headers = Sequence[tuple[str, str]]


@pytest.fixture(scope="module")
def open_to_all(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a service that listens on all addresses, as in a container, behind one known name."""
    changes = {
        "host": "0.0.0.0",  # noqa: S104
        "allowed_hosts": "Leo.Example.com, *.lab.example",
        "data_dir": tmp_path_factory.mktemp("open"),
    }
    with serving(settings.model_copy(update=changes)) as client:
        yield client


def answer_to(client: httpx.Client, request: str, headers: Sequence[str]) -> str:
    """Send a request without a body, with exactly these header lines, and return the answer's first line."""
    address = (client.base_url.host, client.base_url.port or 80)
    with socket.create_connection(address, timeout=30) as connection:
        lines = [f"{request} HTTP/1.1", *headers, "Connection: close", "", ""]
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        with connection.makefile("rb") as answer:
            return answer.readline().decode()


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "EVIL.example:{port}",
        "evil.example.",
        "localhost.evil.example:{port}",
        "127.0.0.1.evil.example",
        "evil",
        "10.0.0.7:{port}",
        "[fd00::1]:{port}",
        "2130706433",
        "127.1",
        "user@127.0.0.1",
        "127.0.0.1:{port}:80",
        "127.0.0.1 evil.example",
        "\xe9vil",
        "",
    ],
)
def test_a_foreign_name_is_refused_on_loopback(client: httpx.Client, host: str) -> None:
    named = {"Host": host.format(port=client.base_url.port).encode("latin-1")}
    task_id = create(client).json()["task_id"]
    before = len(client.get("/tasks", params={"limit": 100}).json()["tasks"])
    assert_problem(client.get("/tasks", headers=named), 403, "LEO_ALLOWED_HOSTS")
    assert_problem(client.get("/", headers=named), 403, "LEO_KEYS_FILE")
    assert_problem(client.get("/page/main.js", headers=named), 403)
    assert_problem(client.get("/metrics", headers=named), 403)
    assert_problem(client.delete(f"/tasks/{task_id}", headers=named), 403)
    assert_problem(client.post("/tasks", headers=named, data={"labels": FIVE}, files=files([png("ring")] * 5)), 403)
    assert len(client.get("/tasks", params={"limit": 100}).json()["tasks"]) == before


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:{port}",
        "127.0.0.1",
        "127.8.9.1",
        "localhost:{port}",
        "LocalHost",
        "localhost.:{port}",
        "leo.localhost",
        "[::1]:{port}",
        "[::ffff:127.0.0.1]",
    ],
)
def test_loopback_names_are_answered_on_loopback(client: httpx.Client, host: str) -> None:
    named = {"Host": host.format(port=client.base_url.port)}
    assert client.get("/models", headers=named).status_code == 200
    assert client.get("/", headers=named).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("10.1.2.3:8000", 200),  # a probe or a scrape of a pod
        ("[fd00::1]", 200),
        ("leo-1:8000", 200),  # a container's name in its network
        ("leo.default.svc.cluster.local", 200),
        ("leo.example.com:8080", 200),  # a setting
        ("LEO.example.COM.", 200),
        ("a.lab.example", 200),
        ("a.b.lab.example", 200),
        ("lab.example", 403),
        ("evil-lab.example", 403),
        ("notleo.example.com", 403),
        ("evil.example", 403),
        ("10.1.2.3.evil.example", 403),
    ],
)
def test_a_service_on_all_addresses_answers_under_addresses_and_own_names(
    open_to_all: httpx.Client, host: str, status: int
) -> None:
    assert open_to_all.get("/models", headers={"Host": host}).status_code == status
    assert open_to_all.get("/readyz", headers={"Host": host}).status_code == 200  # whatever a load balancer calls it


def test_odd_requests_are_judged_by_their_one_host_header(client: httpx.Client) -> None:
    own = f"Host: 127.0.0.1:{client.base_url.port}"
    assert " 200 " in answer_to(client, "GET /models", [own])
    assert " 400 " in answer_to(client, "GET /models", [own, "Host: evil.example"])
    assert " 400 " in answer_to(client, "GET /models", ["Host: evil.example", own])
    assert " 403 " in answer_to(client, "GET http://127.0.0.1/models", ["Host: evil.example"])
    assert " 200 " in answer_to(client, "GET http://127.0.0.1/models", [own])
    assert " 200 " in answer_to(client, "GET /models", [])  # a plain probe; browsers always send a Host


SITE = "Sec-Fetch-Site"
FOREIGN: list[Headers] = [
    [("Origin", "http://evil.example"), (SITE, "cross-site")],
    [("Origin", "http://evil.example")],  # a browser that sends no Sec-Fetch headers
    [(SITE, "cross-site")],  # a picture or a script of the page
    [(SITE, "same-site"), ("Origin", "http://127.0.0.1:3000")],  # another program on this machine
    [("Origin", "http://127.0.0.1:3000")],
    [("Origin", "http://127.0.0.1")],
    [("Origin", "http://localhost:{port}")],
    [("Origin", "null")],  # a sandboxed frame, or a file
    [("Origin", "null"), (SITE, "cross-site")],
    [("Origin", "file://")],
    [("Origin", "chrome-extension://abc")],
    [("Origin", "HTTP://Evil.Example:{port}")],
    [("Origin", "http://127.0.0.1:{port}.evil.example")],
    [("Origin", "http://127.0.0.1:{port}"), ("Origin", "http://evil.example")],
    [(SITE, "same-origin"), (SITE, "cross-site")],
    [(SITE, "Same-Site")],
    [("Origin", "http://evil.example"), (SITE, "same-origin")],
]


def filled(client: httpx.Client, headers: Headers) -> list[tuple[str, str]]:
    return [(name, value.format(port=client.base_url.port)) for name, value in headers]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_pages_of_other_sites_can_do_nothing(client: httpx.Client, headers: Headers) -> None:
    foreign = filled(client, headers)
    task_id = create(client).json()["task_id"]
    form = {"data": {"labels": FIVE}, "files": files([png(name) for name in FIVE])}
    assert_problem(client.post("/tasks", headers=foreign, **form), 403, "pages of other sites")
    assert_problem(client.post(f"/tasks/{task_id}/predict", headers=foreign, files=files([png("ring")])), 403)
    assert_problem(client.delete(f"/tasks/{task_id}", headers=foreign), 403)
    assert_problem(client.patch(f"/tasks/{task_id}", headers=foreign, json={"name": "x"}), 403)
    assert_problem(client.get("/tasks", headers=foreign), 403)
    assert_problem(client.options("/tasks", headers=[*foreign, ("Access-Control-Request-Method", "DELETE")]), 403)
    assert client.get(f"/tasks/{task_id}").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Origin", "http://127.0.0.1:{port}")],
        [("Origin", "http://127.0.0.1:{port}"), (SITE, "same-origin")],
        [("Origin", "null"), (SITE, "same-origin")],
        [("Origin", "https://127.0.0.1"), (SITE, "same-origin")],  # a gateway on another port that passed on no port
        [(SITE, "none")],
    ],
    ids=str,
)
def test_own_page_and_programs_may_do_everything(client: httpx.Client, headers: Headers) -> None:
    own = filled(client, headers)
    form = {"data": {"labels": FIVE}, "files": files([png(name) for name in FIVE])}
    created = client.post("/tasks", headers=own, **form)
    assert created.status_code == 201
    assert client.delete(f"/tasks/{created.json()['task_id']}", headers=own).status_code == 204


def test_links_of_other_sites_open_the_pages_and_nothing_else(client: httpx.Client) -> None:
    link = {SITE: "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    for page in ("/", "/docs", "/redoc"):
        assert client.get(page, headers=link).status_code == 200
        assert_problem(client.get(page, headers=link | {"Sec-Fetch-Dest": "iframe"}), 403)
        assert_problem(client.get(page, headers={SITE: "cross-site", "Sec-Fetch-Mode": "no-cors"}), 403)
    assert_problem(client.get("/tasks", headers=link), 403)
    assert_problem(client.post("/tasks", headers=link), 403)  # a form


def test_behind_a_gateway_the_page_is_the_services_own(open_to_all: httpx.Client) -> None:
    body = {"data": {"labels": FIVE}, "files": files([png(name) for name in FIVE])}

    def status(host: str, origin: str) -> int:
        return open_to_all.post("/tasks", headers={"Host": host, "Origin": origin}, **body).status_code

    assert status("leo.example.com", "https://leo.example.com") == 201
    assert status("leo.example.com:8080", "http://leo.example.com:8080") == 201
    assert status("leo:8000", "https://leo.example.com") == 201  # the gateway sends another Host
    assert status("10.0.0.1:8000", "http://10.0.0.1:8000") == 201
    assert status("10.0.0.1:8000", "http://10.0.0.1:3000") == 403
    assert status("leo:8000", "https://evil.example") == 403


def test_with_keys_the_key_alone_decides(settings: Settings, tmp_path: Path) -> None:
    key, secret = new_key("page", "page", ["read", "write"])
    write_keys(tmp_path / "keys.json", KeyFile(keys=[key]))
    changes = {"keys_file": tmp_path / "keys.json", "data_dir": tmp_path / "data"}
    foreign = {"Host": "evil.example", "Origin": "https://evil.example", SITE: "cross-site"}
    with serving(settings.model_copy(update=changes)) as client:
        assert_problem(client.get("/tasks", headers=foreign), 401)
        answer = client.get("/tasks", headers=foreign | {"Authorization": f"Bearer {secret}"})
        assert answer.status_code == 200
        assert not any(name.startswith("access-control") for name in answer.headers)


def test_any_name_may_be_allowed(settings: Settings, tmp_path: Path) -> None:
    foreign = {"Host": "any.example", "Origin": "https://other.example", SITE: "cross-site"}
    with serving(settings.model_copy(update={"allowed_hosts": "*", "data_dir": tmp_path})) as client:
        assert client.get("/tasks", headers=foreign).status_code == 200


@pytest.mark.parametrize("named", ["https://leo.example.com", "leo.example.com/leo", "a b", "leo.example.com,@"])
def test_a_setting_that_is_no_name_is_an_error(named: str) -> None:
    with pytest.raises(ValueError, match="is no host name; write it as in"):
        OwnNames("127.0.0.1", named)


def test_names_of_the_setting_are_read_as_people_write_them() -> None:
    own = OwnNames("127.0.0.1", "Leo.Example.com:8080, bücher.example,,[fd00::1]")
    for name in ("leo.example.com", "xn--bcher-kva.example", "[fd00::1]"):
        assert own.allows(name), name


def test_a_very_long_host_is_looked_at_in_no_time() -> None:
    own = OwnNames("127.0.0.1", "*.example.com")
    assert own.allows("a.example.com")
    assert not own.allows("." * 30_000 + "example.com")
    assert OwnNames("127.0.0.1", "*").allows("a" * 30_000)
