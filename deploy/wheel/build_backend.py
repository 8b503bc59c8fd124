"""Builds the distribution, as pip and `python -m build` ask for it.

In the repository the packages are `app`, `model` and, in `client/`, `leo_client`. Names such as `app` belong to nobody,
so an installed wheel must not claim them. A wheel therefore holds one package, `leo_service`, with the same modules and
the shipped weights in it, and its absolute imports are written for these names. Everything else is setuptools' work,
editable installs included: those serve development, and keep the repository's names.
"""

import ast
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
]

PROJECT = Path(__file__).resolve().parents[2]
#: What the packages are called where they are installed, by the first part of their name here.
INSTALLED = {"app": "leo_service", "model": "leo_service.model", "leo_client": "leo_service.client"}
FOLDERS = {"app": "app", "model": "model", "leo_client": "client/leo_client"}
LARGE = "photos-large"  # 16 MB; who wants it takes the folder from the repository
#: What the wheel's pyproject says instead.
CHANGES = {
    'leo = "app.cli:main"': 'leo = "leo_service.cli:main"',
    'attr = "app.__version__"': 'attr = "leo_service.__version__"',
    'where = [".", "client"]': 'where = ["."]',
    'include = ["app*", "model*", "leo_client*"]': 'include = ["leo_service*"]\nnamespaces = false',
    'app = ["page/**/*", "standalone/*"]': 'leo_service = ["page/**/*", "standalone/*", "weights/*/*", "py.typed"]',
}


def build_wheel(
    wheel_directory: str,
    config_settings: dict[str, Any] | None = None,
    metadata_directory: str | None = None,  # noqa: ARG001 - build backends take it
) -> str:
    """Build a wheel from a copy of the project in which the packages have their installed names."""
    out = Path(wheel_directory).resolve()
    with tempfile.TemporaryDirectory() as folder:
        stage(Path(folder))
        before = Path.cwd()
        os.chdir(folder)
        try:
            return build_meta.build_wheel(str(out), config_settings)
        finally:
            os.chdir(before)


def stage(folder: Path) -> None:
    """Copy the project into a folder, under its installed names."""
    for package, installed in INSTALLED.items():
        target = folder.joinpath(*installed.split("."))
        shutil.copytree(PROJECT / FOLDERS[package], target, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PROJECT / "weights", folder / "leo_service" / "weights", ignore=shutil.ignore_patterns(LARGE))
    (folder / "leo_service" / "py.typed").touch()
    for file in (folder / "leo_service").rglob("*.py"):
        file.write_text(with_installed_names(file.read_text(encoding="utf-8")), encoding="utf-8")
    for name in ("README.md", "LICENSE"):
        shutil.copy(PROJECT / name, folder)
    pyproject = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    for ours, theirs in CHANGES.items():
        if ours not in pyproject:
            raise ValueError(f"pyproject.toml has no line {ours!r}: correct {__file__}")
        pyproject = pyproject.replace(ours, theirs)
    (folder / "pyproject.toml").write_text(pyproject, encoding="utf-8")


def with_installed_names(source: str) -> str:
    """Write the imports of a module for the installed names.

    Raises:
        ValueError: for `import app...`, which binds a name that the rest of the module uses.
    """
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] in INSTALLED for alias in node.names):
            raise ValueError(f"line {node.lineno}: write `from ... import ...`")
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            first = node.module.split(".")[0]
            if first in INSTALLED:
                # `from` is where the statement begins; nothing before it on the line is as long as its module.
                at = node.col_offset
                line = lines[node.lineno - 1]
                renamed = re.sub(rf"from(\s+){first}\b", rf"from\1{INSTALLED[first]}", line[at:], count=1)
                lines[node.lineno - 1] = line[:at] + renamed
    return "".join(lines)
