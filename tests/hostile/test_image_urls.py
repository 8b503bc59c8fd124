"""Images named by URL: fetched from allowed hosts only, and nobody is harmed by what these hosts do."""

import asyncio
import base64
import json
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from app.http import fetching
from app.http.fetching import MOST_OF_AN_OWNER, MOST_URLS
from app.http.turns import PERMITS_ALONE
from app.main import create_app
from app.problems import Problem
from app.settings import Settings
from tests.helpers.drawn import png
from tests.helpers.picture_host import PictureHost, picture_host
from tests.helpers.problems import assert_problem
from tests.helpers.serving import serving
from tests.helpers.tasks import FIVE, create, predict
from tests.helpers.waiting import wait_until


@pytest.fixture(scope="module")
def host() -> Iterator[PictureHost]:
    with picture_host() as host:
        yield host


@pytest.fixture(autouse=True)
def as_new(host: PictureHost) -> None:
    host.asked.clear()
    host.may_answer.clear()


@pytest.fixture(scope="module")
def fetches(host: PictureHost, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a service that fetches from the host."""
    named = f"127.0.0.1:{host.port}, localhost:{host.port}, *.example.com:{host.port}"
    allowed = settings.model_copy(update={"data_dir": tmp_path_factory.mktemp("fetches"), "image_hosts": named})
    with serving(allowed) as client:
        yield client


@pytest.fixture(scope="module")
def task(fetches: httpx.Client) -> str:
    return str(create(fetches).json()["task_id"])


def ask(client: httpx.Client, task: str, *urls: str) -> httpx.Response:
    return client.post(f"/tasks/{task}/predict", json={"images": urls})


def names(monkeypatch: pytest.MonkeyPatch, **addresses: list[str]) -> list[str]:
    """Have names lead to addresses, or to none. Returns the names that are looked up, as they come."""
    real, looked_up = socket.getaddrinfo, list[str]()

    def look_up(name: Any, *arguments: Any, **options: Any) -> Any:
        if name not in addresses:
            return real(name, *arguments, **options)
        looked_up.append(name)
        if not addresses[name]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [found for address in addresses[name] for found in real(address, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return looked_up


def test_names_that_no_server_answers_for_hold_no_other_owners_look_ups(
    host: PictureHost, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up goes on in its thread after the request that asked for it was answered."""
    real, answers = socket.getaddrinfo, threading.Event()

    def look_up(name: str, *arguments: Any, **options: Any) -> Any:
        if name.endswith(".slow.test"):
            answers.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(name, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    named = f"*.slow.test,localhost:{host.port}"
    fetcher = fetching.Fetcher(settings.model_copy(update={"image_hosts": named}))

    async def fetch(owner: str, *urls: str) -> dict[int, bytes]:
        room = fetcher.room(beside=0)
        try:
            return await fetcher.fetch(dict(enumerate(urls)), owner, room)
        finally:
            fetcher.release(room)

    async def scenario() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(fetching, "SECONDS", 0.05)
            for n in range(20):
                with pytest.raises(Problem, match="did not send it within"):
                    await fetch("greedy", *[f"http://{n}-{m}.slow.test/a.png" for m in range(8)])
        url = host.url("/ring-1.png", "localhost")
        assert await fetch("other", url) == {0: png("ring", 1)}
        answers.set()
        assert await fetch("greedy", url) == {0: png("ring", 1)}

    try:
        asyncio.run(scenario())
    finally:
        answers.set()
        fetcher.close()


def test_images_are_sent_as_urls(fetches: httpx.Client, host: PictureHost) -> None:
    inline = base64.b64encode(png("tee", 1)).decode()
    support = [{"image": host.url(f"/{name}-1.png"), "label": name} for name in FIVE if name != "tee"]
    created = fetches.post("/tasks", json={"support": [*support, {"image": inline, "label": "tee"}]})
    assert created.status_code == 201, created.text
    task = created.json()["task_id"]
    assert created.json()["shots"] == dict.fromkeys(sorted(FIVE), 1)
    asked = ask(fetches, task, host.url("/ring-7.png"), base64.b64encode(png("ex", 7)).decode())
    sent = predict(fetches, task, [png("ring", 7), png("ex", 7)])
    assert asked.json()["predictions"] == sent
    more = {"support": [{"image": host.url("/ring-8.png", "localhost"), "label": "ring"}]}
    assert fetches.post(f"/tasks/{task}/support", json=more).json()["shots"]["ring"] == 2
    assert fetches.post(f"/tasks/{task}/evaluate", json=more).json()["accuracy"]["value"] == 1
    answers = [{"predicted": "ex", "label": "tee", "image": host.url("/tee-9.png")}, {"predicted": "ex", "label": "ex"}]
    judged = fetches.post(f"/tasks/{task}/feedback", json={"answers": answers}).json()
    assert (judged["shots"]["tee"], judged["feedback"]) == (2, {"judged": 2, "right": 1})


def test_without_the_setting_nothing_is_fetched(client: httpx.Client, host: PictureHost) -> None:
    task = create(client).json()["task_id"]
    problem = assert_problem(ask(client, task, host.url("/ring.png")), 422, "loads nothing from elsewhere", "base64")
    assert problem["index"] == 0
    assert not host.asked


def test_nothing_of_the_request_is_sent_along(fetches: httpx.Client, host: PictureHost, task: str) -> None:
    private = {"Authorization": "Bearer leo_secret", "Cookie": "session=secret", "X-API-Key": "secret"}
    for _ in range(2):  # the second time, after the host has set a cookie
        answer = fetches.post(f"/tasks/{task}/predict", json={"images": [host.url("/ring.png?sig=1")]}, headers=private)
        assert answer.status_code == 200
    for path, headers in host.asked:
        assert path == "/ring.png?sig=1"
        assert set(headers) == {"Host", "User-Agent", "Accept", "Accept-Encoding", "Connection"}
        assert "secret" not in str(headers)
        assert headers["Host"] == f"127.0.0.1:{host.port}"


FORBIDDEN = {
    "another host": ("http://evil.example/a.png", "evil.example, which is not among the hosts"),
    "another port": ("http://127.0.0.1:1/a.png", "127.0.0.1:1, which is not among"),
    "the standard port": ("http://127.0.0.1/a.png", "127.0.0.1, which is not among"),
    "a name and a password": ("http://me:pw@127.0.0.1:{port}/ring.png", "user name or password"),
    "an allowed host as the name": ("http://127.0.0.1:{port}@evil.example/", "user name or password"),
    "behind a backslash": ("http://127.0.0.1:{port}\\@evil.example/", "user name or password"),
    "a file": ("file:///etc/passwd", "only http and https"),
    "another scheme": ("gopher://127.0.0.1:{port}/_x", "only http and https"),
    "ftp": ("ftp://127.0.0.1:{port}/ring.png", "only http and https"),
    "no host": ("http:///ring.png", "names no host"),
    "a number as the host": ("http://2130706433:{port}/ring.png", "not among"),
    "hexadecimal": ("http://0x7f.0.0.1:{port}/ring.png", "not among"),
    "octal": ("http://0177.0.0.1:{port}/ring.png", "can"),
    "short": ("http://127.1:{port}/ring.png", "not among"),
    "all addresses": ("http://0.0.0.0:{port}/ring.png", "not among"),
    "IPv6's loopback": ("http://[::1]:{port}/ring.png", "not among"),
    "IPv4 in IPv6": ("http://[::ffff:127.0.0.1]:{port}/ring.png", "not among"),
    "a suffix of the name": ("http://notexample.com:{port}/ring.png", "not among"),
    "the name as a part": ("http://example.com.evil.example:{port}/ring.png", "not among"),
    "the name that is above": ("http://example.com:{port}/ring.png", "not among"),
    "a line break": ("http://127.0.0.1:{port}/ring.png HTTP/1.1\r\nX: y", "cannot be read"),
    "a host that is no name": ("http://a b:{port}/ring.png", "not among"),
    "a port that is none": ("http://127.0.0.1:99999999/ring.png", "not among"),
    "very long": ("http://127.0.0.1:{port}/" + "a" * 3000, "2048 characters"),
    "half a character": ("http://127.0.0.1:{port}/\ud800", "can"),
}


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_what_is_not_allowed_is_not_asked_for(fetches: httpx.Client, host: PictureHost, task: str, kind: str) -> None:
    url, said = FORBIDDEN[kind]
    url = url.format(port=host.port)
    # json.dumps writes half a character as an escape, as a client may.
    body = json.dumps({"images": [host.url("/ring.png"), url]})
    answer = fetches.post(f"/tasks/{task}/predict", content=body, headers={"Content-Type": "application/json"})
    problem = assert_problem(answer, 422, said)
    if "index" in problem:  # not for JSON that cannot be read
        assert problem["index"] == 1
    assert len(problem["detail"]) < 600
    assert not host.asked  # also not for the first, which is allowed


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("a.example.com", ["127.0.0.1"]),
        ("a.example.com", ["10.0.0.1", "192.168.1.1", "172.16.9.9"]),
        ("a.example.com", ["169.254.169.254"]),
        ("a.example.com", ["0.0.0.0"]),  # noqa: S104 - an attacker's
        ("a.example.com", ["100.64.0.1"]),
        ("a.example.com", ["::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"]),
        ("a.example.com", ["fd00:ec2::254", "fe80::1", "fec0::1", "::7f00:1", "ff02::1", "224.0.0.1"]),
        # Very names may lead into own networks, but not where cloud machines read their keys.
        ("localhost", ["169.254.169.254"]),
        ("localhost", ["fd00:ec2::254"]),
        ("localhost", ["0.0.0.0"]),  # noqa: S104
        ("localhost", ["100.100.100.200"]),
    ],
)
def test_a_name_that_leads_inwards_is_not_followed(
    fetches: httpx.Client,
    host: PictureHost,
    task: str,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    addresses: list[str],
) -> None:
    names(monkeypatch, **{name: addresses})
    problem = assert_problem(ask(fetches, task, host.url("/ring.png", name)), 422, name, "not public")
    assert not any(address in problem["detail"] for address in addresses)
    assert not host.asked


def test_a_name_is_looked_up_once_and_its_checked_address_is_asked(
    fetches: httpx.Client, host: PictureHost, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a name that leads elsewhere in the next moment (DNS rebinding) leads nowhere."""
    looked_up = names(monkeypatch, localhost=["169.254.169.254", "127.0.0.1"])
    assert ask(fetches, task, host.url("/ring.png", "LOCALHOST.")).status_code == 200
    assert looked_up == ["localhost"]
    assert host.asked[0][1]["Host"].lower() == f"localhost.:{host.port}"


def test_another_address_is_tried_if_the_first_does_not_answer(
    fetches: httpx.Client, host: PictureHost, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, localhost=["127.0.0.3", "127.0.0.1"])
    assert ask(fetches, task, host.url("/ring.png", "localhost")).status_code == 200


def test_redirects_lead_to_allowed_hosts_only(fetches: httpx.Client, host: PictureHost, task: str) -> None:
    def led_to(target: str) -> httpx.Response:
        return ask(fetches, task, host.url("/to?" + target))

    assert led_to("/ring.png").status_code == 200
    assert led_to(host.url("/ring.png", "localhost")).status_code == 200
    host.asked.clear()
    for target in (
        "http://169.254.169.254/latest/meta-data/",
        "//evil.example/a.png",
        f"http://127.0.0.2:{host.port}/",
    ):
        assert_problem(led_to(target), 422, "is redirected to a URL on", "not among the hosts")
    assert_problem(led_to("file:///etc/passwd"), 422, "only http and https")
    assert_problem(led_to(f"http://me:pw@127.0.0.1:{host.port}/ring.png"), 422, "password")
    assert len(host.asked) == 5
    assert_problem(ask(fetches, task, host.url("/around")), 422, "redirected more than 3 times")
    assert_problem(ask(fetches, task, host.url("/bad-redirect")), 422, "cannot be read")


BAD = {
    "/missing": (422, "answered 404"),
    "/no-http": (422, "cannot be read"),
    "/nothing": (422, "cannot be read"),
    "/cut": (422, "cannot be read"),
    "/large-head": (422, "cannot be read"),
    "/huge-length": (422, "cannot be read"),
    "/gzip": (422, "compressed"),
    "/crumbs": (422, "pieces of a few bytes"),
    "/lying-length": (413, "over the limit"),
    "/endless": (413, "over the limit"),
    "/large?40000000": (413, "over the limit"),
    "/large?1000": (422, "not a PNG"),
    "/large?0": (422, "empty"),
}


@pytest.mark.parametrize("path", BAD)
def test_a_bad_answer_names_its_image(fetches: httpx.Client, host: PictureHost, task: str, path: str) -> None:
    status, said = BAD[path]
    answer = ask(fetches, task, host.url("/ring.png"), host.url(path))
    problem = assert_problem(answer, status, "image 1 ", said)
    assert problem["index"] == 1


def test_a_host_that_cannot_be_reached_is_said(
    fetches: httpx.Client, host: PictureHost, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, **{"gone.example.com": [], "localhost": ["127.0.0.3"]})
    assert_problem(ask(fetches, task, host.url("/ring.png", "gone.example.com")), 422, "there is no host gone.")
    assert_problem(ask(fetches, task, host.url("/ring.png", "localhost")), 422, "localhost cannot be reached")


def test_a_slow_host_is_given_up(
    fetches: httpx.Client, host: PictureHost, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "SECONDS", 0.5)
    for path in ("/slow", "/held", "/informed"):
        assert_problem(ask(fetches, task, host.url("/ring.png"), host.url(path)), 422, "image 1", "within 0.5 s")


def test_urls_that_take_too_long_together_are_given_up(host: PictureHost, settings: Settings, tmp_path: Path) -> None:
    named = {"data_dir": tmp_path, "image_hosts": f"127.0.0.1:{host.port}", "request_timeout": 1.0}
    with serving(settings.model_copy(update=named)) as client:
        task = create(client).json()["task_id"]
        answer = ask(client, task, host.url("/ring.png"), host.url("/held"))
        assert assert_problem(answer, 422, "image 1 was not fetched within the 1 s")["index"] == 1


def test_number_and_bytes_are_limited(fetches: httpx.Client, host: PictureHost, task: str) -> None:
    assert_problem(ask(fetches, task, *[host.url("/ring.png")] * (MOST_URLS + 1)), 422, f"may name {MOST_URLS}")
    assert not host.asked
    # Each is within the limit, and all of them are not.
    assert_problem(ask(fetches, task, *[host.url("/large?9000000")] * 4), 413, "over the limit")
    form = {"images": (None, host.url("/ring.png"))}
    assert_problem(fetches.post(f"/tasks/{task}/predict", files=form), 422, "in a JSON body")


def test_who_waits_for_a_slow_host_keeps_nobody_from_an_answer(
    fetches: httpx.Client, host: PictureHost, task: str
) -> None:
    """More requests than the service works on at once wait for the host, and it answers others meanwhile."""
    waiting = PERMITS_ALONE["small"] + 8
    with ThreadPoolExecutor(waiting) as pool:
        held = [pool.submit(ask, fetches, task, host.url("/held")) for _ in range(waiting)]
        wait_until(lambda: len(host.asked) == MOST_OF_AN_OWNER)
        for seed in range(20):
            assert predict(fetches, task, [png("tee", seed)])
        assert not any(future.done() for future in held)
        assert len(host.asked) == MOST_OF_AN_OWNER  # an owner's share of connections
        host.may_answer.set()
        assert {future.result().status_code for future in held} == {200}


def test_a_caller_who_leaves_ends_the_fetching(fetches: httpx.Client, host: PictureHost, task: str) -> None:
    with pytest.raises(httpx.ReadTimeout):
        fetches.post(f"/tasks/{task}/predict", json={"images": [host.url("/held")] * 50}, timeout=0.5)
    host.may_answer.set()
    assert ask(fetches, task, host.url("/ring.png")).status_code == 200
    assert len([path for path, _ in host.asked if path == "/held"]) <= MOST_OF_AN_OWNER


def test_certificates_are_those_of_the_name(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("pictures.test").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    names(monkeypatch, **{"pictures.test": ["127.0.0.1"], "others.test": ["127.0.0.1"]})
    with picture_host(tls) as host:
        named = f"pictures.test:{host.port},others.test:{host.port}"
        update = {"data_dir": tmp_path / "data", "image_hosts": named}
        with serving(settings.model_copy(update=update)) as client:
            task = create(client).json()["task_id"]
            assert ask(client, task, host.url("/ring.png", "pictures.test")).status_code == 200
            assert_problem(ask(client, task, host.url("/ring.png", "others.test")), 422, "certificate")


def test_the_log_tells_nothing_of_urls(
    fetches: httpx.Client, host: PictureHost, task: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        ask(fetches, task, host.url("/ring.png?signature=hidden"))
        ask(fetches, task, "http://evil.example/a.png?signature=hidden")
        ask(fetches, task, host.url("/no-http?signature=hidden"))
    lines = [record.getMessage() for record in caplog.records if record.name not in ("httpx", "asyncio")]
    assert not [line for line in lines if "hidden" in line or "evil" in line]


def test_proxies_of_the_environment_are_not_used(
    fetches: httpx.Client, host: PictureHost, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert ask(fetches, task, host.url("/ring.png")).status_code == 200


@pytest.mark.parametrize(
    "named",
    [
        "*",
        "https://images.example.com",
        "images.example.com/path",
        "a.*.com",
        "*.127.0.0.1",
        "me@host",
        "a b",
        "a:x",
        "a:70000",
    ],
)
def test_a_setting_that_names_no_host_is_refused(settings: Settings, named: str) -> None:
    with pytest.raises(ValueError, match="LEO_IMAGE_HOSTS"):
        create_app(settings.model_copy(update={"image_hosts": named}))


def test_threads_end_with_the_service(host: PictureHost, settings: Settings, tmp_path: Path) -> None:
    named = {"data_dir": tmp_path, "image_hosts": f"127.0.0.1:{host.port}"}
    before = {thread.name for thread in threading.enumerate() if thread.name == "fetch"}
    with serving(settings.model_copy(update=named)) as client:
        task = create(client).json()["task_id"]
        assert ask(client, task, host.url("/ring.png")).status_code == 200
        running = [thread for thread in threading.enumerate() if thread.name == "fetch"]
        assert len(running) == len(before) + 1
    wait_until(lambda: sum(thread.name == "fetch" for thread in threading.enumerate()) == len(before))
