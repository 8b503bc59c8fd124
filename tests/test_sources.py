"""Every source file says in its first line what it holds, and none repeats another."""

import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from app.settings import PROJECT

CODE = {".py": '"""', ".js": "// ", ".css": "/* "}
SETTINGS = dict.fromkeys((".yaml", ".yml", ".conf"), "# ")
MOST_EQUAL_LINES = 10


def sources(endings: Iterable[str]) -> list[Path]:
    """The files that git tracks, but for empty ones, which mark packages of tests."""
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    paths = [PROJECT / name for name in listed.splitlines()]
    return [path for path in paths if path.suffix in endings and path.exists() and path.stat().st_size]


def test_the_first_line_says_what_a_file_holds() -> None:
    comment = CODE | SETTINGS
    first = {path: path.read_text().partition("\n")[0] for path in sources(comment)}
    assert len(first) > 600
    assert not [path for path, line in first.items() if not line.startswith(comment[path.suffix])]
    assert not [line for line, times in Counter(first.values()).items() if times > 1]  # each its own


def test_no_long_run_of_lines_stands_twice() -> None:
    seen: dict[tuple[str, ...], str] = {}
    twice = set()
    for path in sources(CODE):
        if path.is_relative_to(PROJECT / "tests"):
            continue
        lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
        for begin in range(len(lines) - MOST_EQUAL_LINES):
            run = tuple(lines[begin : begin + MOST_EQUAL_LINES + 1])
            place = f"{path.relative_to(PROJECT)}: {run[0]}"
            if seen.setdefault(run, place) != place:
                twice.add((seen[run], place))
    assert not twice
