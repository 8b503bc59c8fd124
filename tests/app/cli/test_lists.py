"""What the commands list can be read by programs: whole ids, JSON, CSV that no spreadsheet runs."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.cli.common import defused
from leo_client import Client
from tests.helpers.command import run_leo
from tests.helpers.drawn import png

TWO = {"ring": png("ring"), "ex": png("ex")}


@pytest.fixture
def leo(client: httpx.Client) -> Iterator[Client]:
    with Client(str(client.base_url)) as leo:
        yield leo


def run(leo: Client, *arguments: object, status: int = 0) -> str:
    done = run_leo("tasks", *arguments, status=status, LEO_URL=str(leo._service.base_url))
    return done.stderr if status else done.stdout


def test_piped_ids_are_whole(leo: Client) -> None:
    task = leo.create(TWO, name="a rather long name " * 5, ttl_seconds=600)
    lines = run(leo, "list", "--name", "rather long").splitlines()
    assert any(task.task_id in line and "omniglot" in line for line in lines)


def test_lists_are_json_and_csv_too(leo: Client) -> None:
    task = leo.create(TWO, name="für alle", ttl_seconds=600)
    (listed,) = json.loads(run(leo, "list", "--name", "für alle", "--format", "json"))
    assert (listed["id"], listed["name"], listed["classes"], listed["examples"]) == (task.task_id, "für alle", 2, 2)
    assert listed["created"].endswith("Z")
    assert listed["expires"] > listed["created"]
    (row,) = csv.DictReader(io.StringIO(run(leo, "list", "--name", "für alle", "--format", "csv")))
    assert (row["id"], row["examples"]) == (task.task_id, "2")
    shown = json.loads(run(leo, "show", task.task_id, "--format", "json"))
    assert [each["class"] for each in shown] == ["ring", "ex"]
    assert shown[0]["agreement"] is None
    assert isinstance(shown[0]["margin"], float)
    examples = json.loads(run(leo, "examples", task.task_id, "--format", "json"))
    assert [each["label"] for each in examples] == ["ring", "ex"]
    assert json.loads(run(leo, "list", "--name", "nobody calls a task so", "--format", "json")) == []


def test_keys_are_listed_in_every_format(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    run_leo("keys", "add", "ann", "--file", file, "--max-tasks", 5)
    (listed,) = json.loads(run_leo("keys", "list", "--file", file, "--format", "json").stdout)
    assert (listed["name"], listed["max tasks"], listed["per second"]) == ("ann", 5, None)
    (row,) = csv.DictReader(io.StringIO(run_leo("keys", "list", "--file", file, "--format", "csv").stdout))
    assert (row["owner"], row["per second"]) == ("ann", "")


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0"])
def test_no_cell_is_a_formula(leo: Client, cell: str) -> None:
    assert defused(cell) == f"'{cell}"
    name = cell.strip()
    task = leo.create(TWO, name=name)
    rows = list(csv.DictReader(io.StringIO(run(leo, "list", "--format", "csv"))))
    assert {row["name"] for row in rows if row["id"] == task.task_id} == {f"'{name}"}
    leo.delete(task.task_id)


def test_answers_in_csv_hold_no_formula(leo: Client, tmp_path: Path) -> None:
    query = tmp_path / "=1+1.png"
    query.write_bytes(png("ring", 5))
    task = leo.create({"-ring": png("ring"), "@ex": png("ex")})
    (row,) = csv.DictReader(io.StringIO(run(leo, "predict", task.task_id, query, "--format", "csv")))
    assert row["label"] == "'-ring"
    for number in ("confidence",):
        assert 0 <= float(row[number]) <= 1  # numbers stay numbers


def test_the_beginning_of_an_id_is_enough(leo: Client, tmp_path: Path) -> None:
    task = leo.create(TWO, name="begins")
    short = task.task_id[:10]
    assert "begins" in run(leo, "show", short)
    run(leo, "rename", short, "renamed")
    assert leo.get(task.task_id).name == "renamed"
    assert "404" in run(leo, "show", "zzzz", status=1)
    made = [leo.create(TWO) for _ in range(17)]  # two of 17 begin with the same of 16 digits
    first = [each.task_id[0] for each in made]
    twice = next(digit for digit in first if first.count(digit) > 1)
    said = run(leo, "delete", task.task_id, twice, status=1)
    assert "give more of it" in said
    assert sum(each.task_id in said for each in made) >= 1
    assert leo.get(task.task_id)  # nothing is deleted if one of the ids is not clear
    for each in [*made, task]:
        run(leo, "delete", each.task_id[:12])
    assert not {each.task_id for each in leo.tasks()} & {each.task_id for each in made}


def test_a_refused_label_is_named_by_its_folder(leo: Client, tmp_path: Path) -> None:
    support = tmp_path / "support"
    for name in ("ring", "a" * 130):
        (support / name).mkdir(parents=True)
        (support / name / "1.png").write_bytes(png("ring"))
    said = run(leo, "create", support, status=1)
    assert f"{'a' * 130}/1.png" in said.replace("\n", "")
    assert "at most 100" in said


def test_completion_can_be_installed() -> None:
    assert "--install-completion" in run_leo("--help", COLUMNS="200").stdout


@pytest.mark.parametrize("name", ["n" * 300 + ".onnx", "n" * 300])
def test_a_name_that_is_too_long_is_named(client: httpx.Client, name: str) -> None:
    command = [sys.executable, "-m", "app.cli", "tasks", "export", "a" * 24, name, "--url", str(client.base_url)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == f"error: {name}: File name too long"
