"""What a real server logs."""

import json
import signal
from pathlib import Path

import httpx

from tests.helpers.server import Server
from tests.helpers.tasks import FIVE, create


def test_json_lines_carry_the_request_id_and_nothing_private(tmp_path: Path) -> None:
    server = Server(tmp_path, LEO_LOG_FORMAT="json")
    try:
        server.start()
        with httpx.Client(base_url=server.url, headers={"X-Request-ID": "from-the-gateway"}) as client:
            assert create(client, FIVE, name="a private name").status_code == 201
            assert client.get("/tasks/unknown").status_code == 404
        server.stop(signal.SIGTERM)
    finally:
        server.close()
    text = server.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert all({"level", "timestamp", "event"} <= set(line) for line in lines)
    assert f"listening on {server.url}" in [line["event"] for line in lines]
    mine = [line for line in lines if line.get("request_id") == "from-the-gateway"]
    assert [(line["method"], line["route"], line["status"]) for line in mine] == [
        ("POST", "/tasks", 201),
        ("GET", "/tasks/{task_id}", 404),
    ]
    assert mine[0]["milliseconds"] > 0
    assert "\\u001b" not in text  # colour codes
    assert "private" not in text
    assert FIVE[0] not in text
