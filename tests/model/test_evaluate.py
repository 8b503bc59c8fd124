import math
from pathlib import Path

import pytest
import torch

from model.data.omniglot import DataError, load_drawings
from model.evaluate import evaluate, evaluate_many, extract, mean_and_ci95
from tests.conftest import tiny
from tests.drawn import write_omniglot


def test_the_interval_is_of_the_mean() -> None:
    values = torch.tensor([0.0, 1.0] * 50, dtype=torch.double)
    mean, ci95 = mean_and_ci95(values)
    assert mean == 0.5
    assert ci95 == pytest.approx(1.96 * math.sqrt(0.25 * 100 / 99) / math.sqrt(100))


def test_rows_are_seeded_and_name_their_setting(tmp_path: Path) -> None:
    leo = tiny(decoder_skip=True).eval()
    features = extract(leo, load_drawings(write_omniglot(tmp_path, ["Alpha"], 6)))
    rows = list(evaluate_many(leo, features, [2, 5], [1, 3], query=2, episodes=150, seed=7))
    assert [(row.way, row.shot) for row in rows] == [(2, 1), (2, 3), (5, 1), (5, 3)]
    assert rows[0] == evaluate(leo, features, 2, 1, 2, 150, seed=7)
    assert rows[0] != evaluate(leo, features, 2, 1, 2, 150, seed=8)
    assert rows[0].inner_steps == 5
    assert evaluate(leo, features, 2, 1, 2, 150, seed=7, inner_steps=0).inner_steps == 0
    for row in rows:
        assert 1 / row.way < row.accuracy <= 1
    with pytest.raises(DataError, match="11"):
        evaluate(leo, features, 11, 1, 2, 10)


def test_an_encoder_with_blocks_of_its_own_sees_its_own_features(tmp_path: Path) -> None:
    leo = tiny(own_encoder=True).eval()
    features = extract(leo, load_drawings(write_omniglot(tmp_path, ["Alpha"], 3)))
    assert features.classifier.shape == features.encoder.shape
    assert not torch.equal(features.classifier, features.encoder)
