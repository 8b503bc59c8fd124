"""What shares a pass comes out as it would alone."""

from pathlib import Path

import numpy as np
import pytest

from app.cache import Head
from app.engine import Adapt, Adapted, Decode, Engine, Predict, Predicted, Work
from tests.conftest import WEIGHTS


@pytest.fixture(params=["omniglot", "omniglot-105"], scope="module")
def engine(request: pytest.FixtureRequest) -> Engine:
    return Engine(Path(WEIGHTS / request.param), "cpu")


def test_a_batch_of_everything_is_each_alone(engine: Engine) -> None:
    chance = np.random.default_rng(0)

    def images(count: int) -> np.ndarray:
        return chance.integers(0, 256, (count, *engine.shape), dtype=np.uint8)

    tasks: list[Work] = [
        Adapt(images(ways * shots), np.arange(ways * shots) % ways) for ways, shots in ((5, 1), (2, 4))
    ]
    made = [engine.run([task])[0] for task in tasks]
    assert all(isinstance(task, Adapted) for task in made)
    heads = [Head(task.weight, task.bias) for task in made if isinstance(task, Adapted)]
    codes = [task.codes.numpy() for task in made if isinstance(task, Adapted)]
    batch: list[Work] = [
        Predict(images(3), heads[0], codes[0]),
        tasks[0],
        Predict(images(1), None, codes[1]),  # cold
        Decode(codes[0]),
        tasks[1],
        Predict(images(2), None, codes[0]),
    ]
    for alone, together in zip([engine.run([work])[0] for work in batch], engine.run(batch), strict=True):
        assert type(alone) is type(together)
        if isinstance(alone, Predicted) and isinstance(together, Predicted):
            np.testing.assert_allclose(together.probabilities, alone.probabilities, atol=1e-4)
            assert together.probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
        elif not isinstance(alone, Predicted) and not isinstance(together, Predicted):
            np.testing.assert_allclose(together.weight, alone.weight, atol=1e-3, rtol=1e-3)  # noise: weights up to 18
            np.testing.assert_allclose(together.bias, alone.bias, atol=1e-3)
