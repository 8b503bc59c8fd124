"""Tests of `leo --help` and of what importing the commands costs."""

import subprocess
import sys

from app import __version__
from app.settings import PROJECT
from tests.helpers.command import leo_output


def test_help_lists_the_commands() -> None:
    output = leo_output("--help")
    for command in ("bench", "card", "classify", "compare", "evaluate", "keys", "low-rank", "serve", "tasks", "train"):
        assert f" {command} " in output


def test_version_is_that_of_the_package() -> None:
    assert leo_output("--version").split() == ["leo", __version__]


def test_help_of_tasks_lists_its_commands() -> None:
    output = leo_output("tasks", "--help")
    for command in ("create", "add", "predict", "list", "show", "rename", "delete", "export", "import"):
        assert f" {command} " in output


def test_help_of_serve_names_its_settings() -> None:
    assert "LEO_DATA_DIR" in leo_output("serve", "--help")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, app.cli\n"
        "heavy = ('torch', 'model', 'fastapi', 'pydantic', 'numpy', 'PIL')\n"
        "light = ('model', 'model.shipped')\n"
        "print([name for name in sys.modules if name.split('.')[0] in heavy and name not in light])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert done.stdout.strip() == "[]"
