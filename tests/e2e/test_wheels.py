"""The wheels, installed where nothing else of this project is: the service, the library and the client run."""

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

import app
from app.settings import PROJECT
from tests.helpers.drawn import png
from tests.helpers.ports import free_port
from tests.helpers.server import wait_for_url
from tests.helpers.wheels import build_wheel, environment, environment_variables

BIGGEST = 20_000_000  # bytes


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The wheels of the service and of the client."""
    folder = tmp_path_factory.mktemp("dist")
    return [build_wheel(PROJECT, folder), build_wheel(PROJECT / "client", folder)]


@pytest.fixture(scope="module")
def python(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of an environment with both wheels."""
    return environment(tmp_path_factory.mktemp("venv"), *wheels)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """An empty folder, to run things from."""
    return tmp_path


@pytest.fixture
def url(python: Path, empty: Path) -> Iterator[str]:
    """The address of a `leo serve` that was started in an empty folder."""
    url = f"http://127.0.0.1:{free_port()}"
    settings = {
        "LEO_PORT": url.rpartition(":")[2],
        "LEO_WORKERS": "1",
        "LEO_DEVICE": "cpu",
        "LEO_MODELS": "photos-lite0",
    }
    log = empty.parent / f"{empty.name}.log"
    with log.open("wb") as output:
        command = [python.parent / "leo", "serve"]
        variables = environment_variables(python) | settings
        process = subprocess.Popen(command, cwd=empty, env=variables, stdout=output, stderr=output)
    try:
        wait_for_url(f"{url}/readyz", process, log)
        yield url
    finally:
        process.terminate()
        assert process.wait(60) == 0, log.read_text()


def run(python: Path, folder: Path, *command: str, **settings: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment_variables(python) | settings, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheels_claim_no_name_of_others(wheels: list[Path]) -> None:
    service, client = (zipfile.ZipFile(wheel).namelist() for wheel in wheels)
    assert {name.split("/")[0] for name in service} == {"leo_service", f"leo_service-{app.__version__}.dist-info"}
    assert {name.split("/")[0] for name in client} == {"leo_client", f"leo_client-{app.__version__}.dist-info"}
    for needed in ("page/index.html", "weights/omniglot/model.safetensors", "weights/photos-lite0/model.safetensors"):
        assert f"leo_service/{needed}" in service
    assert wheels[0].stat().st_size <= BIGGEST


def test_nothing_imports_the_names_of_the_repository(python: Path, empty: Path) -> None:
    program = """
import importlib, pkgutil, sys
import leo_service
for found in pkgutil.walk_packages(leo_service.__path__, "leo_service."):
    if ".on_ray" not in found.name and not found.name.endswith("__main__"):  # Ray is an extra
        importlib.import_module(found.name)
print(*sorted({name.split(".")[0] for name in sys.modules} & {"app", "model", "leo_client", "leo_service"}))
"""
    assert run(python, empty, "python", "-c", program).split() == ["leo_service"]


def test_the_service_runs_from_an_empty_folder(python: Path, empty: Path, url: str) -> None:
    assert run(python, empty, "leo", "--version") == f"leo {app.__version__}\n"
    for name in ("ring", "ex"):
        for number in ("", "2"):
            (empty / f"{name}{number}.png").write_bytes(png(name, len(number)))
    (empty / "what.png").write_bytes(png("ex", 7))
    first, second = re.findall(r"```python\n(.*?)```", (PROJECT / "client" / "README.md").read_text(), re.DOTALL)
    assert run(python, empty, "python", "-c", first.replace("http://127.0.0.1:8000", url)) == "ex\n"
    trustme.CA().cert_pem.write_to_path(empty / "company.pem")
    assert run(python, empty, "python", "-c", second, LEO_URL=url) == "['omniglot', 'photos-lite0']\n"
    listed = run(python, empty, "leo", "tasks", "list", LEO_URL=url)
    assert len(listed.splitlines()) > 3
    page = run(python, empty, "python", "-c", f"import httpx; print(httpx.get('{url}/').text[:15])")
    assert page.lower().startswith("<!doctype html>")
    models = run(python, empty, "python", "-c", f"import httpx; print(httpx.get('{url}/models').text)")
    assert '"name":"photos' in models
    assert (empty / "data").is_dir()


def test_the_readmes_library_example_runs_on_the_wheel(python: Path, empty: Path) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    (package,) = re.findall(r"from model import .*# with the installed package: from ([\w.]+)$", snippet, re.MULTILINE)
    installed = snippet.replace("from model import", f"from {package} import")
    run(python, empty, "python", "-c", f"{installed}\nassert logits.shape == (3, 5)")


def test_classes_are_told_apart_without_a_server(python: Path, empty: Path) -> None:
    for name in ("ring", "ex"):
        (empty / "support" / name).mkdir(parents=True)
        (empty / "support" / name / "1.png").write_bytes(png(name, 1))
    (empty / "what.png").write_bytes(png("ring", 5))
    answers = run(python, empty, "leo", "classify", "support", "what.png", "--format", "csv", "--device", "cpu")
    assert "what.png,ring," in answers


def test_the_source_distribution_makes_the_same_wheel(wheels: list[Path], tmp_path: Path) -> None:
    copy, dist = tmp_path / "copy", tmp_path / "dist"  # setuptools writes beside the project
    for name in ("app", "model", "client", "weights", "deploy"):
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, copy)
    program = "import sys; sys.path.insert(0, 'deploy/wheel'); from build_backend import build_sdist; build_sdist('.')"
    subprocess.run([sys.executable, "-c", program], cwd=copy, check=True, capture_output=True)
    (archive,) = copy.glob("leo_service-*.tar.gz")
    dist.mkdir()
    wheel = build_wheel(archive, dist)
    assert set(zipfile.ZipFile(wheel).namelist()) == set(zipfile.ZipFile(wheels[0]).namelist())
