"""Before the service is ready, every model has done every kind of work."""

import asyncio

import pytest

from app.inference.batcher import Batcher
from app.inference.engine import Engine
from app.inference.models import Models
from app.inference.warm_up import warm_up
from app.inference.work import Adapt, Predict, Result, Work
from app.problems import Problem
from tests.helpers.models import WEIGHTS


@pytest.fixture(scope="module")
def models() -> Models:
    return Models([Engine(WEIGHTS / name, "cpu") for name in ("omniglot", "omniglot-105")])


def warmed(models: Models, max_images: int) -> list[list[Work]]:
    """Return the batches that the models ran."""
    batches: list[list[Work]] = []

    def run(batch: list[Work]) -> list[Result | Problem]:
        batches.append(batch)
        return models.run(batch)

    async def scenario() -> None:
        batcher = Batcher(run, max_images=max_images, timeout=30)
        batcher.start()
        await warm_up(models, batcher)
        batcher.close(10)

    asyncio.run(scenario())
    return batches


def test_every_model_adapts_and_predicts_one_and_many(models: Models) -> None:
    batches = warmed(models, 4096)
    for engine in models:
        works = [work for batch in batches for work in batch if work.model_version == engine.info.version]
        for kind in (Adapt, Predict):
            sizes = [len(work.images) for work in works if isinstance(work, Adapt | Predict) and isinstance(work, kind)]
            assert min(sizes) <= 2 < 8 <= max(sizes)
        assert {work.decode for work in works if isinstance(work, Predict)} == {False, True}
    for kind in (Adapt, Predict):  # several requests in one pass
        assert any(sum(isinstance(work, kind) for work in batch) > 1 for batch in batches)


def test_a_queue_too_short_for_it_is_no_reason_not_to_start(models: Models) -> None:
    assert warmed(models, 1)
