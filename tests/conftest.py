"""Fixtures that tests share: models, data, and a running service."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.settings import PROJECT, Settings
from model.data.omniglot import Drawings, load_drawings
from model.leo import LatentEmbeddingOptimization
from tests.helpers.datasets import DATA
from tests.helpers.models import WEIGHTS
from tests.helpers.serving import serving

# Servers and commands that tests start run this checkout, wherever another one is installed.
CHECKOUT = [str(PROJECT), str(PROJECT / "client")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [*CHECKOUT, os.environ.get("PYTHONPATH")]))
# pytest-xdist gives its processes a width of 80, at which a command breaks the lines that tests look for.
os.environ.pop("COLUMNS", None)


@pytest.fixture(autouse=True)
def log_to_open_streams() -> None:
    """Forget handlers of earlier tests that configured the log inside a captured command, whose stream is closed."""
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, logging.StreamHandler) and getattr(handler.stream, "closed", False):
            root.removeHandler(handler)


@pytest.fixture(scope="session")
def background() -> Path:
    """Omniglot's background set, where this machine has it."""
    path = DATA / "omniglot" / "images_background.zip"
    if not path.exists():
        pytest.skip("Omniglot is not here; set LEO_TEST_DATA to a folder with omniglot/images_background.zip")
    return path


@pytest.fixture(scope="session")
def omniglot(background: Path) -> Drawings:
    """The background set, loaded once."""
    return load_drawings(background)


@pytest.fixture(params=["omniglot", "omniglot-105"], scope="session")
def shipped(request: pytest.FixtureRequest) -> LatentEmbeddingOptimization:
    """Each of the shipped models."""
    return LatentEmbeddingOptimization.from_pretrained(WEIGHTS / request.param)


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of the service under test, untouched by the environment's LEO_ variables."""
    return Settings(data_dir=tmp_path_factory.mktemp("data"), weights=WEIGHTS / "omniglot", device="cpu")


@pytest.fixture(scope="session")
def client(settings: Settings) -> Iterator[httpx.Client]:
    """A client of the service with the shipped default model."""
    with serving(settings) as client:
        yield client


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of the service with models for drawings and for photos."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("both"), weights=WEIGHTS / "omniglot", models="photos-lite0", device="cpu"
    )
    with serving(settings) as client:
        yield client


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests did not run; with LEO_NO_SKIPS the run has then failed."""
    if os.environ.get("LEO_NO_SKIPS") and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("LEO_NO_SKIPS is set and tests were skipped: this counts as a failure", red=True)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With LEO_NO_SKIPS set, fail the run if a test was skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("LEO_NO_SKIPS") and exitstatus == 0 and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
