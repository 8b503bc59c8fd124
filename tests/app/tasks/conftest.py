"""A service for each shipped model of drawings."""

from collections.abc import Iterator

import httpx
import pytest

from app.settings import Settings
from tests.helpers.models import WEIGHTS
from tests.helpers.serving import serving


@pytest.fixture(scope="module", params=["omniglot", "omniglot-105"])
def each_model(
    request: pytest.FixtureRequest, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A client of a service with one of the models: the first shares phi with its encoder, the second does not."""
    folder = tmp_path_factory.mktemp(request.param)
    with serving(settings.model_copy(update={"data_dir": folder, "weights": WEIGHTS / request.param})) as client:
        yield client


@pytest.fixture(scope="module", params=["omniglot", "omniglot-105"])
def each_float32_model(
    request: pytest.FixtureRequest, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """The same, with phi in float32 on every CPU."""
    changed = {"data_dir": tmp_path_factory.mktemp(request.param), "weights": WEIGHTS / request.param}
    with serving(settings.model_copy(update={**changed, "phi_precision": "float32"})) as client:
        yield client
