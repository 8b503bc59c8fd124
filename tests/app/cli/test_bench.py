"""`leo bench` against a real server, and what it says where there is none."""

import json
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from app.cli import app


def leo_bench(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["bench", *(str(argument) for argument in arguments)])
    assert result.exit_code == status, f"{result.output}\n{result.exception!r}"
    return result.output


def test_a_running_server_is_measured_and_left_as_it_was(
    client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    out = tmp_path / "bench.json"
    said = leo_bench(
        "--url", client.base_url, "--way", 3, "--shot", 2, "--images", 2, "--clients", "1,3", "--seconds", 0.2,
        "--out", out,
    )  # fmt: skip
    assert "3-way 2-shot" in said
    written = json.loads(out.read_text())
    assert [(each["call"], each["clients"]) for each in written["measured"]] == [
        ("create a task", 1), ("create a task", 3), ("predict", 1), ("predict", 3),
    ]  # fmt: skip
    for each in written["measured"]:
        assert each["failed"] == 0
        assert each["requests"] >= each["clients"]
        assert 0 < each["p50_ms"] <= each["p90_ms"] <= each["p99_ms"]
        assert each["right"] is None or each["right"] > 0.9
    assert client.get("/tasks", params={"name": "leo bench"}).json()["tasks"] == []


def test_a_server_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEO_URL", raising=False)
    assert "2-way 1-shot" in leo_bench("--way", 2, "--clients", 2, "--seconds", 0.1)
    monkeypatch.setenv("LEO_WEIGHTS", "/nowhere")
    assert "/nowhere/config.json is missing" in leo_bench(status=1).replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--url", "http://127.0.0.1:1"), "no answer from http://127.0.0.1:1"),
        (("--clients", "many"), "--clients many"),
        (("--clients", "0"), "numbers from 1 on"),
        (("--model", "absent"), "no model called"),
    ],
)
def test_what_is_wrong_is_one_line(client: httpx.Client, arguments: tuple[str, str], said: str) -> None:
    given = arguments if "--url" in arguments else ("--url", str(client.base_url), *arguments)
    assert said in leo_bench(*given, status=1)
