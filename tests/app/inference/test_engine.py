"""Work gets the same result in a shared pass as alone."""

from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from app.inference.engine import Engine
from app.inference.support_features import SupportFeatures
from app.inference.work import Adapt, Adapted, Decode, Predict, Predicted, Work
from tests.helpers.models import WEIGHTS
from tests.helpers.results import assert_alike


@pytest.fixture(params=["omniglot", "omniglot-105"], scope="module")
def engine(request: pytest.FixtureRequest) -> Engine:
    return Engine(WEIGHTS / request.param, "cpu")


@pytest.mark.parametrize("stacked", [False, True], ids=["as on a CPU", "as on a GPU"])
def test_a_mixed_batch_gives_each_work_the_result_it_gets_alone(engine: Engine, *, stacked: bool) -> None:
    if stacked:
        engine = Engine(WEIGHTS / engine.info.name, "cpu", stacked=True)
    chance = np.random.default_rng(0)

    def images(count: int) -> np.ndarray:
        return chance.integers(0, 256, (count, *engine.shape), dtype=np.uint8)

    tasks: list[Work] = [
        Adapt(images(ways * shots), np.arange(ways * shots) % ways) for ways, shots in ((5, 1), (2, 4))
    ]
    made = [engine.run([task])[0] for task in tasks]
    assert all(isinstance(task, Adapted) for task in made)
    heads = [task.head for task in made if isinstance(task, Adapted)]
    codes = [task.codes for task in made if isinstance(task, Adapted)]
    batch: list[Work] = [
        Predict(images(3), heads[0], codes[0]),
        tasks[0],
        Predict(images(1), None, codes[1]),  # cold
        Decode(codes[0]),
        tasks[1],
        Predict(images(2), None, codes[0]),
        Predict(images(2), None, codes[1], decode=False),
        Predict(images(1), None, codes[0], decode=False),
        Predict(images(2), None, codes[0], negatives=2),
        Predict(images(2), None, codes[0], shots=3, shift=0.2),
        Predict(images(1), None, codes[0], shots=3, shift=-0.9),
        Predict(images(2), None, codes[0], decode=False, negatives=3),
    ]
    for alone, together in zip([engine.run([work])[0] for work in batch], engine.run(batch), strict=True):
        assert_alike(together, alone)


def test_answers_from_codes_equal_those_from_the_decoded_head(engine: Engine) -> None:
    chance = np.random.default_rng(1)
    for ways in (2, 7):
        codes = chance.normal(size=(ways, engine.info.config.latent_dim)).astype(np.float32)
        images = chance.integers(0, 256, (3, *engine.shape), dtype=np.uint8)
        by_codes, by_head = engine.run([Predict(images, None, codes, decode=False), Predict(images, None, codes)])
        assert isinstance(by_codes, Predicted)
        assert isinstance(by_head, Predicted)
        assert by_codes.head is None
        assert by_head.head is not None
        np.testing.assert_allclose(by_codes.probabilities, by_head.probabilities, atol=1e-5)
        assert (by_codes.known is None) == (by_head.known is None)
        if by_codes.known is not None and by_head.known is not None:
            np.testing.assert_allclose(by_codes.known, by_head.known, atol=1e-3)


def test_negatives_are_no_classes_but_lower_what_is_known(engine: Engine) -> None:
    chance = np.random.default_rng(2)
    images = chance.integers(0, 256, (8, *engine.shape), dtype=np.uint8)
    (adapted,) = engine.run([Adapt(images, np.arange(8))])
    assert isinstance(adapted, Adapted)
    codes, asked = adapted.codes, Predict(images, None, adapted.codes, negatives=3)
    stacked = Engine(WEIGHTS / engine.info.name, "cpu", stacked=True)
    plain, *others = (
        each.run([Predict(images, None, codes[:5], decode=decode), replace(asked, decode=decode)])
        for each, decode in ((engine, False), (engine, True), (stacked, False))
    )
    for alone, sharpened in (plain, *others):
        assert isinstance(alone, Predicted)
        assert isinstance(sharpened, Predicted)
        np.testing.assert_allclose(sharpened.probabilities, alone.probabilities, atol=1e-4)
        assert alone.known is not None
        assert sharpened.known is not None
        assert (sharpened.known <= alone.known + 1e-4).all()
        assert (sharpened.known[5:] < 0.6).all()  # they are the negatives themselves
    assert_alike(others[0][1], plain[1])


def test_the_time_that_work_takes_is_estimated_beforehand(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    two = np.zeros((2, *engine.shape), dtype=np.uint8)
    codes = np.zeros((2, engine.info.config.latent_dim), dtype=np.float32)
    kept = SupportFeatures(np.zeros((6, 1), dtype=np.float16), None, np.zeros(6, dtype=np.int64))
    predicts, teaches, adds = Predict(two, None, codes), Adapt(two, np.arange(2)), Adapt(two, np.arange(2), kept)
    each = engine.seconds_an_image
    assert each
    # The encoder may have blocks of its own, and the support may have several views.
    passes = 2 if engine.info.config.own_encoder else engine.info.config.support_views
    assert 0 < engine.seconds(Decode(codes)) < 0.001
    assert engine.seconds(Decode(codes.repeat(50, 0))) == pytest.approx(50 * engine.seconds(Decode(codes)))
    assert engine.seconds(predicts) == pytest.approx(2 * each)
    assert engine.seconds(teaches) == pytest.approx(2 * passes * each)
    assert engine.seconds(adds) == pytest.approx((2 * passes + 6) * each)
    monkeypatch.setattr(Engine, "seconds_an_image", None)  # PyTorch's phi is not timed
    assert {engine.seconds(work) for work in (predicts, teaches, Decode(codes))} == {float("inf")}


def test_an_engine_on_a_cpu_leaves_numpy_one_thread() -> None:
    """Where each core has a worker of its own, threads of OpenBLAS halved the predictions a second."""
    threadpool_limits(2, user_api="blas")
    Engine(WEIGHTS / "omniglot", "cpu")
    assert {found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"} == {1}
