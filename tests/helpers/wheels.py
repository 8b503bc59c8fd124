"""Build wheels and install them, in an environment that has no other trace of this project."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

from app.settings import PROJECT


def build_wheel(project: Path, out: Path) -> Path:
    """Build the wheel of a project's folder or source distribution into the folder `out`, without a network."""
    before = set(out.glob("*.whl"))
    with tempfile.TemporaryDirectory() as folder:
        if project == PROJECT / "client":  # setuptools would leave files in it
            copy = Path(folder) / "client"
            project = shutil.copytree(project, copy, ignore=shutil.ignore_patterns("build", "*.egg-info"))
        _pip(sys.executable, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", out, project)
    (wheel,) = set(out.glob("*.whl")) - before
    return wheel


def environment(folder: Path, *wheels: Path) -> Path:
    """Make a virtual environment with these wheels and return its python.

    It sees the dependencies that are installed here, and this project by its wheels alone: editable installs count only
    in the environment that they were made for.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    _pip(str(python), "install", "--no-deps", "--no-index", *wheels)
    (site_packages,) = (folder / "lib").glob("python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python


def environment_variables(python: Path) -> dict[str, str]:
    """This process's environment, without what leads to this checkout, and with the commands beside `python`."""
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH" and not key.startswith("LEO_")}
    return clean | {"PATH": f"{python.parent}:{os.environ['PATH']}"}


def _pip(python: str, *arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--python", python, "--quiet", *arguments]
    # What PYTHONPATH leads to would count as installed.
    subprocess.run(command, check=True, env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"})
