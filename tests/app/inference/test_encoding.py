"""Many examples are encoded in parts, between which others have their turn, and make the same task."""

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from app.inference.batcher import PART_SECONDS, Batcher
from app.inference.encoding import encoded_in_parts
from app.inference.engine import Engine
from app.inference.work import Adapt, Adapted, Result, Work
from model.serving.phi import sample_drawings
from tests.helpers.models import WEIGHTS

SECONDS_AN_IMAGE = PART_SECONDS / 7


@pytest.fixture(scope="module", params=["omniglot", "omniglot-105"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return Engine(WEIGHTS / request.param, "cpu")


@pytest.fixture
def support(engine: Engine) -> tuple[np.ndarray, np.ndarray]:
    """Drawings of five classes, and their classes in an order in which parts begin and end anywhere."""
    images = sample_drawings(16, engine.info.config.resolution)
    return np.concatenate([images, images[:14]]), np.arange(30) % 5


def alike(found: Result, expected: Result) -> None:
    assert isinstance(found, Adapted)
    assert isinstance(expected, Adapted)
    np.testing.assert_allclose(found.codes, expected.codes, atol=5e-3)  # features are kept in half precision
    np.testing.assert_allclose(found.losses, expected.losses, atol=5e-3)
    np.testing.assert_allclose(found.support.features, expected.support.features, atol=2e-3)
    assert (found.support.encoder_features is None) == (expected.support.encoder_features is None)
    assert found.support.labels.tolist() == expected.support.labels.tolist()


def test_a_task_is_the_same_in_parts_also_beside_earlier_examples(
    engine: Engine, support: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = support
    sizes = []

    async def submit(work: Work) -> Result:
        assert isinstance(work, Adapt)
        sizes.append(len(work.images))
        return engine.run([work])[0]

    (whole,) = engine.run([Adapt(images, labels)])
    (first,) = engine.run([Adapt(images[:10], labels[:10])])
    assert isinstance(first, Adapted)
    for work in (Adapt(images, labels), Adapt(images[10:], labels[10:], first.support)):
        alike(engine.run([asyncio.run(encoded_in_parts(work, 8, submit))])[0], whole)
    assert sizes == [8, 8, 8, 6, 8, 8, 4]
    few = Adapt(images[:8], labels[:8])
    assert asyncio.run(encoded_in_parts(few, 8, submit)) is few


def test_the_queue_encodes_what_takes_long_in_parts(engine: Engine, support: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = support
    batches: list[int] = []

    def run(batch: list[Work]) -> list[Result]:
        batches.append(sum(len(work.images) for work in batch if isinstance(work, Adapt)))
        return engine.run(batch)

    def seconds(work: Work) -> float:
        return SECONDS_AN_IMAGE * len(work.images) if isinstance(work, Adapt) else 0.0

    async def adapted() -> Iterator[Result]:
        batcher = Batcher(run, max_images=1000, timeout=60, seconds=seconds)
        batcher.start()
        found = [await batcher.submit(Adapt(images[:count], labels[:count])) for count in (30, 7)]
        batcher.close()
        return iter(found)

    many, _ = asyncio.run(adapted())
    assert batches == [7, 7, 7, 7, 2, 0, 7]
    alike(many, engine.run([Adapt(images, labels)])[0])
