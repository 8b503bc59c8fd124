"""Bodies are parsed where they hold nobody up."""

import base64
import threading

import httpx
import pytest

from app.http import parsing, reading
from tests.helpers.drawn import png


def test_large_bodies_are_parsed_off_the_event_loop(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    is_json = parsing._is_json

    def noting(content_type: str, body: bytes) -> bool:
        threads.append(threading.get_ident())
        return is_json(content_type, body)

    monkeypatch.setattr(parsing, "_is_json", noting)
    image = base64.b64encode(png("ring")).decode()
    for count in (1, 1, 1 + reading.LARGE_BODY // len(image)):
        client.post(f"/tasks/{'0' * 24}/predict", json={"images": [image] * count})
    small, again, large = threads
    assert small == again
    assert large != small
