"""The shipped models on drawings made by code and on Omniglot's validation alphabets."""

import pytest
import torch

from model.data.episodes import sample_episodes
from model.data.omniglot import Drawings, load_drawings
from model.evaluation.accuracy import measure_accuracy
from model.evaluation.extracted_features import extract_leo_features
from model.functional import code_spread, one_hot
from model.images.resize import to_side
from model.leo import LatentEmbeddingOptimization
from tests.helpers.drawn import write_omniglot
from tests.helpers.models import WEIGHTS


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawings:
    return load_drawings(write_omniglot(tmp_path_factory.mktemp("drawn"), ["Alpha"], 12))


@pytest.fixture(scope="module")
def validation(omniglot: Drawings) -> Drawings:
    """Validation alphabets, half of the drawings of each class: enough to notice a broken model."""
    whole = omniglot.split("validation")
    return Drawings(whole.images[:, ::2], whole.counts // 2, whole.alphabets, whole.names)


def test_five_steps_lower_the_support_loss(shipped: LatentEmbeddingOptimization, drawn: Drawings) -> None:
    tasks = sample_episodes(drawn.counts, 20, 10, 5, 1, torch.Generator().manual_seed(0))
    images = to_side(drawn.images, shipped.config.resolution).unsqueeze(2).float() / 255
    support, labels, *_ = tasks.gather(images)
    with torch.no_grad():
        membership = one_hot(labels)
        features = shipped.support_features(support)
        codes = shipped.encode_task(support, labels)
        losses = shipped.adapt(codes, features, membership).losses
    assert losses[:, -1].mean() < losses[:, 0].mean()
    assert (losses[:, -1] <= losses[:, 0] + 1e-5).all()
    assert code_spread(codes) > 0.3


def test_five_classes_of_drawings_made_by_code(shipped: LatentEmbeddingOptimization, drawn: Drawings) -> None:
    assert measure_accuracy(shipped, extract_leo_features(shipped, drawn), 5, 1, 5, episodes=100).accuracy > 0.97


def test_five_steps_move_the_codes(shipped: LatentEmbeddingOptimization, drawn: Drawings) -> None:
    tasks = sample_episodes(drawn.counts, 20, 10, 1, 1, torch.Generator().manual_seed(0))
    images = to_side(drawn.images, shipped.config.resolution).unsqueeze(2).float() / 255
    support, labels, *_ = tasks.gather(images)
    with torch.no_grad():
        codes = shipped.encode_task(support, labels)
        adapted = shipped.adapt(codes, shipped.support_features(support), one_hot(labels)).codes
    moved = (adapted - codes).norm(dim=-1) / codes.norm(dim=-1)  # [T, N]
    assert moved.amax(dim=-1).mean() > 0.02  # of each task, the code that had most to learn


@pytest.mark.parametrize(("name", "one_shot", "five_shot"), [("omniglot", 0.98, 0.99), ("omniglot-105", 0.93, 0.98)])
def test_validation_alphabets(validation: Drawings, name: str, one_shot: float, five_shot: float) -> None:
    leo = LatentEmbeddingOptimization.from_pretrained(WEIGHTS / name)
    features = extract_leo_features(leo, validation)
    assert measure_accuracy(leo, features, 5, 1, 4, episodes=300).accuracy > one_shot
    assert measure_accuracy(leo, features, 5, 5, 4, episodes=300).accuracy > five_shot
