"""Tests that names, labels and paths are printed as they are, though rich reads [brackets] as markup."""

from pathlib import Path

import httpx
import pytest

from tests.helpers.command import run_leo
from tests.helpers.drawn import png

RING, EX, CLOSING = "[ring]", "[red]ex :cat:", "[/b]"


@pytest.fixture
def support(tmp_path: Path) -> Path:
    """A support folder whose classes and files have names that are markup to rich."""
    for label, name in ((RING, "ring"), (EX, "ex")):
        (tmp_path / "support" / label).mkdir(parents=True)
        for seed in (1, 2):
            (tmp_path / "support" / label / f"[b]{seed}.png").write_bytes(png(name, seed))
    return tmp_path / "support"


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")


def leo(*arguments: object, status: int = 0, **environment: str) -> str:
    return run_leo(*arguments, status=status, **environment).output


def test_labels_and_files_in_the_table_of_answers(support: Path) -> None:
    picture = support / RING / "[b]1.png"
    table = leo("classify", support, picture, "--top", 2)
    assert f" {RING} " in table
    assert f"{EX} " in table
    assert str(picture) in table
    (support.parent / "tee.png").write_bytes(png("tee"))
    assert "none of these ([r" in leo("classify", support, support.parent / "tee.png", "--threshold", 1)


def test_labels_and_files_in_warnings(support: Path) -> None:
    (support / EX / "[wrong].png").write_bytes(png("ring", 5))
    output = leo("classify", support, support / RING)
    assert f"{support / EX / '[wrong].png'} looks more like {RING}" in output


@pytest.mark.parametrize(
    "arguments",
    [
        ("classify", CLOSING, CLOSING),
        ("evaluate", "--data", CLOSING),
        ("compare", "--data", CLOSING),
        ("card", "--data", CLOSING),
        ("train", "--data", CLOSING, "--out", "out"),
        ("train", "--data", ".", "--out", "out", "--preset", CLOSING),
        ("low-rank", "--data", ".", "--out", "out", "--rank", "128", "--model", CLOSING),
        ("keys", "remove", CLOSING),
        ("tasks", "create", CLOSING),
        ("tasks", "export", "any", f"{CLOSING}.txt"),
    ],
)
def test_errors_name_what_was_given(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert CLOSING in leo(*arguments, status=1)


def test_names_and_labels_of_tasks(client: httpx.Client, support: Path) -> None:
    url = str(client.base_url)
    task_id = leo("tasks", "create", support, "--name", CLOSING, LEO_URL=url).strip()
    try:
        assert f" {CLOSING} " in leo("tasks", "list", LEO_URL=url)
        shown = leo("tasks", "show", task_id, LEO_URL=url)
        assert CLOSING in shown
        assert f" {RING} " in shown
        assert f" {EX} " in shown
    finally:
        leo("tasks", "delete", task_id, LEO_URL=url)


def test_errors_of_the_server(client: httpx.Client, support: Path) -> None:
    output = leo("tasks", "create", support, "--model", CLOSING, status=1, LEO_URL=str(client.base_url))
    assert CLOSING in output


def test_keys_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = f"{CLOSING}keys.json"
    assert file in leo("keys", "add", "ann", "--file", file)
    assert file in leo("keys", "list", "--file", file)
    assert file in leo("keys", "remove", "ann", "--file", file)


def test_control_characters_are_written_out(tmp_path: Path) -> None:
    """A name may command a terminal: here, to colour text, to set the window's title, and to write backwards."""
    for label, name in (("\x1b[31mred", "ring"), ("\u202eback", "ex")):
        folder = tmp_path / "support" / label
        folder.mkdir(parents=True)
        for seed in (1, 2):
            (folder / f"\x1b]0;title\x07{seed}.png").write_bytes(png(name, seed))
    table = leo("classify", tmp_path / "support", tmp_path / "support" / "\x1b[31mred")
    error = leo("classify", tmp_path / "\x1b[2J", tmp_path, status=1)
    for said in (table, error):
        assert not set(said) & set("\x1b\x07\u202e")
    assert r"\x1b[31mred" in table
    assert r"\x1b[2J" in error
