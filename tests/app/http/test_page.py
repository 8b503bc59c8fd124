"""How the server delivers the page's files; `tests/e2e/test_page.py` tests the page in a browser."""

import re

import httpx


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
    again = client.get(f"/{loaded[0]}", headers={"If-None-Match": client.get(f"/{loaded[0]}").headers["etag"]})
    assert again.status_code == 304
    assert client.get("/page/../main.py").status_code == 404
