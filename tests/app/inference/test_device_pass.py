"""The pass for a GPU, on the CPU: it answers what the pass for CPUs answers, and keeps nothing of a batch."""

from collections.abc import Iterator

import numpy as np
import pytest

from app.inference.engine import Engine
from app.inference.support_features import SupportFeatures
from app.inference.work import Adapt, Adapted, Decode, Images, Predict, Predicted, Work
from model.serving import stacked
from model.serving.phi import NotQuantisable, sample_drawings, sample_photos
from tests.helpers.models import WEIGHTS
from tests.helpers.results import assert_alike


@pytest.fixture(params=["omniglot", "omniglot-105", "photos-lite0"], scope="module")
def engines(request: pytest.FixtureRequest) -> tuple[Engine, Engine]:
    """The same model on both passes, in float32."""
    folder = WEIGHTS / request.param
    return Engine(folder, "cpu", quantise=False), Engine(folder, "cpu", stacked=True)


def images(engine: Engine, count: int, seed: int) -> Images:
    """Drawings or photos made by code, others for each seed."""
    sample = sample_drawings if engine.takes_drawings else sample_photos
    return sample(64, engine.info.config.resolution)[np.random.default_rng(seed).permutation(64)[:count]]


def every_kind_of_work(engine: Engine) -> Iterator[Work]:
    first = Adapt(images(engine, 4, 0), np.array([0, 1, 0, 1]))
    second = Adapt(images(engine, 3, 1), np.array([2, 0, 1]))
    (adapted,) = engine.run([first])
    assert isinstance(adapted, Adapted)
    yield Predict(images(engine, 3, 2), adapted.head, adapted.codes, shots=2)
    yield second
    yield Decode(adapted.codes)
    yield Adapt(images(engine, 2, 3), np.array([2, 0]), adapted.support)  # more examples, for an old class and a new
    yield Adapt(images(engine, 0, 6), np.empty(0, dtype=np.int64), adapted.support)  # as after a removed example
    yield Predict(images(engine, 1, 4), None, adapted.codes)
    yield first
    yield Decode(np.repeat(adapted.codes, 3, axis=0))
    yield Predict(images(engine, 2, 5), None, np.repeat(adapted.codes, 2, axis=0), decode=False)
    if engine.takes_negatives:
        (negative,) = engine.run([Adapt(images(engine, 1, 7), np.array([0]))])
        assert isinstance(negative, Adapted)
        codes = np.concatenate([adapted.codes, negative.codes])
        both = np.concatenate([images(engine, 1, 7), images(engine, 2, 2)])  # the negative itself, and others
        yield Predict(both, None, codes, decode=False, negatives=1)
        yield Predict(both, None, codes, negatives=1)


def test_both_passes_answer_alike(engines: tuple[Engine, Engine]) -> None:
    by_request, together = engines
    batch = list(every_kind_of_work(by_request))
    for found, expected in zip(together.run(batch), by_request.run(batch), strict=True):
        assert_alike(found, expected)
    for work in batch:  # each kind alone: a batch may lack any of them
        assert_alike(together.run([work])[0], by_request.run([work])[0])
    assert together.run([]) == by_request.run([]) == []


def test_more_images_than_fit_a_pass_run_in_parts(
    engines: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, engine = engines
    codes = np.random.default_rng(0).normal(size=(3, engine.info.config.latent_dim)).astype(np.float32)
    batch: list[Work] = [Predict(images(engine, 5, 0), None, codes), Adapt(images(engine, 6, 1), np.arange(6) % 2)]
    whole = engine.run(batch)
    monkeypatch.setattr(stacked, "MOST_IMAGES", 2)
    for found, expected in zip(engine.run(batch), whole, strict=True):
        assert_alike(found, expected)


def test_a_result_does_not_keep_its_batch_in_memory(engines: tuple[Engine, Engine]) -> None:
    for engine in engines:
        work = Adapt(images(engine, 4, 0), np.array([0, 1, 0, 1]))
        for result in engine.run([work, Adapt(images(engine, 40, 1), np.arange(40) % 8)]):
            assert isinstance(result, Adapted)
            assert memory_of(result.codes) == result.codes.nbytes
            assert memory_of(result.support.features) == result.support.features.nbytes
            assert memory_of(result.support.labels) <= max(result.support.labels.nbytes, work.labels.nbytes)


def memory_of(array: np.ndarray) -> int:
    """Bytes that an array keeps in memory: its own, or those of what it is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.nbytes


def test_a_result_may_be_waited_for_while_the_next_batch_is_gathered(engines: tuple[Engine, Engine]) -> None:
    for engine in engines:
        batch = list(every_kind_of_work(engines[0]))
        first, second = engine.begin(batch[:4]), engine.begin(batch[4:])
        for found, expected in zip(first() + second(), engine.run(batch), strict=True):
            assert_alike(found, expected)


def test_a_task_that_is_not_finite_is_told_and_harms_no_neighbour(engines: tuple[Engine, Engine]) -> None:
    for engine in engines:
        broken = np.full((1, *engine.info.config.example_shape), np.nan, dtype=np.float16)
        own = None if engine.leo.encoder.features is None else broken
        earlier = SupportFeatures(broken, own, np.array([0]))
        bad = Adapt(images(engine, 2, 0), np.array([0, 1]), earlier)
        good = Adapt(images(engine, 2, 0), np.array([0, 1]))
        results = engine.run([good, bad, good])
        assert [isinstance(one, Adapted) and one.is_finite for one in results] == [True, False, True]


def test_no_head_is_kept_where_decoding_costs_less_than_finding_it(engines: tuple[Engine, Engine]) -> None:
    _, engine = engines
    assert not engine.keeps_heads
    codes = np.zeros((2, engine.info.config.latent_dim), dtype=np.float32)
    adapted, predicted = engine.run(
        [Adapt(images(engine, 2, 0), np.arange(2)), Predict(images(engine, 1, 0), None, codes)]
    )
    assert isinstance(adapted, Adapted)
    assert isinstance(predicted, Predicted)
    assert (adapted.head, predicted.head) == (None, None)


def test_8_bits_are_refused_where_they_would_not_be_used() -> None:
    with pytest.raises(NotQuantisable, match="float32"):
        Engine(WEIGHTS / "omniglot", "cpu", quantise=True, stacked=True)
