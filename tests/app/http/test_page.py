"""How the server delivers the page's files; `tests/e2e/test_page.py` tests the page in a browser."""

import re
from pathlib import Path

import httpx

from app.http.keys import KeyFile, new_key, write_keys
from app.http.routes.page import PAGE
from app.settings import Settings
from tests.helpers.serving import serving


def test_the_page_and_its_files_come_under_a_strict_policy(client: httpx.Client) -> None:
    index = client.get("/")
    assert index.headers["content-type"].startswith("text/html")
    loaded = re.findall(r"""(?:src|href)="(page/[^"]+)""", index.text)
    assert len(loaded) >= 3
    for answer in [index, *(client.get(f"/{path}") for path in loaded)]:
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]*src=)|style=|onclick=", index.text), "inline code or style"
    for path in ("/", f"/{loaded[0]}"):
        again = client.get(path, headers={"If-None-Match": client.get(path).headers["etag"]})
        assert again.status_code == 304
    assert client.get("/page/../main.py").status_code == 404


def test_no_module_waits_for_more_than_one_other(client: httpx.Client) -> None:
    preloaded = re.findall(r'rel="modulepreload" href="page/([^"]+)"', client.get("/").text)
    imported = re.findall(r'from "./([^"]+)"', client.get("/page/main.js").text)
    assert sorted([*preloaded, *imported, "main.js"]) == sorted(file.name for file in PAGE.glob("*.js"))


def test_access_tells_only_what_the_presented_key_may_do(
    client: httpx.Client, settings: Settings, tmp_path: Path
) -> None:
    assert client.get("/page/access.json").json() == {"keys": False, "rights": None, "most_examples": 1000}
    reading, presented = new_key("reading", "ann", ["read"])
    write_keys(tmp_path / "keys.json", KeyFile(keys=[reading]))
    locked = settings.model_copy(update={"keys_file": tmp_path / "keys.json", "data_dir": tmp_path})
    with serving(locked) as guarded:
        for headers, rights in (
            ({}, None),
            ({"Authorization": "Bearer nonsense"}, None),
            ({"Authorization": f"Bearer {presented}x"}, None),
            ({"Authorization": f"Bearer {presented}"}, ["read"]),
            ({"X-API-Key": presented}, ["read"]),
        ):
            told = {"keys": True, "rights": rights, "most_examples": 1000}
            assert guarded.get("/page/access.json", headers=headers).json() == told
