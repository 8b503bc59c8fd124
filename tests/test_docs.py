"""The guides are true: their snippets run, and their links, files, settings and make targets exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app.settings import PROJECT, Settings
from bench import accuracy, image, performance, photos_tables, scaling
from tests.helpers.drawn import png

GUIDES = sorted((PROJECT / "docs").glob("*.md"))
LINK = re.compile(r"\]\(([^)#]+)\)")
FILE = re.compile(r"`((?:app|model|client|deploy|bench)/[\w./-]+)`")
SETTING = re.compile(r"\bLEO_([A-Z_]+[A-Z])\b")
MAKE_TARGET = re.compile(r"make ([a-z-]+)`")


@pytest.fixture
def drawings(tmp_path: Path) -> Path:
    """The pictures that the HTTP guide speaks of."""
    for name in ("ring", "ex", "tee", "zed"):
        (tmp_path / f"{name}.png").write_bytes(png(name, 1))
        (tmp_path / f"{name}2.png").write_bytes(png(name, 2))
        (tmp_path / "support" / name).mkdir(parents=True)
        (tmp_path / "support" / name / "1.png").write_bytes(png(name, 3))
    (tmp_path / "what.png").write_bytes(png("ring", 9))
    (tmp_path / "queries").mkdir()
    (tmp_path / "queries" / "ring.png").write_bytes(png("ring", 8))
    return tmp_path


def snippets(guide: str, language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", (PROJECT / "docs" / guide).read_text(), flags=re.DOTALL)
    assert found
    return found


def environment(client: httpx.Client) -> dict[str, str]:
    here = Path(sys.executable).parent
    return os.environ | {"LEO": str(client.base_url).rstrip("/"), "PATH": f"{here}:{os.environ['PATH']}"}


def test_the_http_guide_runs_from_top_to_bottom(client: httpx.Client, drawings: Path) -> None:
    script = "set -euo pipefail\n" + "\n".join(snippets("http.md", "sh"))
    done = subprocess.run(
        ["bash", "-c", script], cwd=drawings, env=environment(client), capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert '"label":"ring"' in done.stdout
    assert (drawings / "signs.onnx").stat().st_size > 10_000
    assert (drawings / "shapes.onnx").stat().st_size > 10_000


def test_the_http_guides_python_runs(client: httpx.Client, drawings: Path) -> None:
    for snippet in snippets("http.md", "python"):
        done = subprocess.run(
            [sys.executable, "-c", snippet], cwd=drawings, env=environment(client), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("ring ")


def test_the_export_guides_python_runs(tmp_path: Path) -> None:
    (tmp_path / "weights").symlink_to(PROJECT / "weights")
    for snippet in snippets("export.md", "python"):
        command, settings = [sys.executable, "-c", snippet], os.environ | {"PYTHONPATH": str(PROJECT)}
        done = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "my-signs" / "model.safetensors").exists()


@pytest.mark.parametrize("names", [LINK, FILE, SETTING, MAKE_TARGET], ids=["links", "files", "settings", "targets"])
def test_the_guides_have_names_to_check(names: re.Pattern[str]) -> None:
    assert any(names.search(guide.read_text()) for guide in GUIDES)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_a_guide_names_what_exists(guide: Path) -> None:
    text = guide.read_text()
    for target in LINK.findall(text):
        if not target.startswith("https://"):
            assert (guide.parent / target).exists(), target
    for path in FILE.findall(text):
        assert (PROJECT / path).exists(), path
    for name in SETTING.findall(text):
        assert name.lower() in Settings.model_fields or name in ("API_KEY", "URL", "GATEWAY_ADDRESS"), f"LEO_{name}"
    makefile = (PROJECT / "Makefile").read_text()
    for target in MAKE_TARGET.findall(text):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_the_figures_on_scaling_are_those_of_the_results_files() -> None:
    guide = (PROJECT / "docs" / "scaling.md").read_text()
    assert scaling.written(guide) == guide, "run: python -m bench.scaling"


def test_the_figures_of_the_image_are_those_of_the_results_file() -> None:
    document = image.DOCUMENT.read_text()
    assert image.written(document) == document, "run: make bench-image"


def test_tables_of_accuracy_are_those_of_the_results_files() -> None:
    document = accuracy.DOCUMENT.read_text()
    assert accuracy.written(document) == document, "run: python -m bench.accuracy"


def test_tables_of_photos_are_those_of_the_results_files() -> None:
    document = photos_tables.DOCUMENT.read_text()
    assert photos_tables.written(document) == document, "run: python -m bench.photos_tables"


def test_tables_of_performance_are_those_of_the_results_files() -> None:
    document = performance.DOCUMENT.read_text()
    assert performance.written(document) == document, "run: python -m bench.performance"


def test_the_security_page_names_tests_that_exist() -> None:
    text = (PROJECT / "docs" / "security.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)?::(\w+)", text)
    files = re.findall(r"`(tests/[\w/]+\.py)", text)
    assert len(named) > 100
    assert all((PROJECT / file).exists() for file in files)
    defined = {
        name for path in (PROJECT / "tests").rglob("*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert not {name for _, name in named} - defined
