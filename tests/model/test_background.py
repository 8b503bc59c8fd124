"""Tests of the background classes: scores, what they become, and their file."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from model.background import Background, pack, unpack
from model.checkpoint import BACKGROUND, CheckpointError, read_background, read_info, save_model
from model.leo import LatentEmbeddingOptimization
from tests.helpers.models import tiny

WIDTH = 8  # F of the tiny model


def example(width: int = WIDTH) -> Background:
    chance = np.random.default_rng(0)
    return Background(
        heads=chance.normal(size=(4, width + 1)).astype(np.float16).astype(np.float32),
        temperature=2.0,
        shots=np.array([1, 4], dtype=np.float32),
        levels=np.array([0, 0.5, 1], dtype=np.float32),
        quantiles=np.array([[0, 2, 4], [2, 4, 8]], dtype=np.float32),
        by_cohesion=np.array([[0, 0.5, 0.2, 0.8], [10, 0.5, 0.2, 0.8]], dtype=np.float32),
    )


def test_a_score_is_the_log_odds_of_the_best_class_against_the_background() -> None:
    background, chance = example(), np.random.default_rng(1)
    features, best = chance.normal(size=(3, WIDTH)).astype(np.float32), np.array([1, 2, 3], dtype=np.float32)
    logits = features @ background.heads[:, :-1].T + background.heads[:, -1]
    odds = np.exp(best / 2) / np.exp(logits / 2).sum(axis=1)
    np.testing.assert_allclose(background.score(features, best), np.log(odds), atol=1e-5)


def test_scores_of_logits_that_lack_a_common_head_are_the_same() -> None:
    background, chance = example(), np.random.default_rng(2)
    features, best = chance.normal(size=(3, WIDTH)).astype(np.float32), np.array([1, 2, 3], dtype=np.float32)
    common = chance.normal(size=WIDTH + 1).astype(np.float32)
    lacking = best - (features @ common[:-1] + common[-1])
    np.testing.assert_allclose(
        background.less(common).score(features, lacking), background.score(features, best), atol=1e-4
    )


def test_a_negative_is_one_more_background_class_of_its_task() -> None:
    background, chance = example(), np.random.default_rng(3)
    features, best = chance.normal(size=(3, WIDTH)).astype(np.float32), np.array([1, 2, 3], dtype=np.float32)
    negatives = chance.normal(size=(2, WIDTH + 1)).astype(np.float32)
    of_negatives = background.of_negatives(features @ negatives[:, :-1].T + negatives[:, -1])
    scores = background.joined_by(negatives).score(features, best)
    np.testing.assert_allclose(background.score(features, best, of_negatives), scores, atol=1e-5)
    assert (scores < background.score(features, best)).all()
    none = np.full(3, -np.inf, dtype=np.float32)
    np.testing.assert_allclose(background.score(features, best, none), background.score(features, best), atol=1e-6)


@pytest.mark.parametrize(
    ("score", "shots", "known"),
    [
        (-1, 1, 0),  # lower than any
        (1, 1, 0.25),
        (2, 1, 0.5),
        (4, 1, 1),
        (99, 1, 1),
        (4, 4, 0.5),
        (3, 2, 0.5),  # half way between 1 and 4, in the logarithm
        (6, 100, 0.75),  # more shots than were measured
    ],
)
def test_known_is_the_share_of_own_pictures_that_score_lower(score: float, shots: float, known: float) -> None:
    found = example().known(np.array([score, score], dtype=np.float32), np.array([shots, shots], dtype=np.float32))
    np.testing.assert_allclose(found, known, atol=1e-6)
    among_others = example().known(np.array([score, 0], dtype=np.float32), np.array([shots, 3], dtype=np.float32))
    np.testing.assert_allclose(among_others[0], known, atol=1e-6)


@pytest.mark.parametrize(
    ("shots", "cohesion", "shift"),
    [
        (4, 0.5, 0),  # as usual
        (4, 0.7, 2),
        (4, 0.3, -2),
        (4, 0.9, 3),  # more than was measured
        (4, -1, -3),
        (100, 0.7, 2),
        (2, 0.7, 1),  # half way between 1 and 4, in the logarithm
        (1, 0.7, 0),
        (4, None, 0),
    ],
)
def test_scores_shift_with_the_cohesion(shots: float, cohesion: float | None, shift: float) -> None:
    assert example().shift(shots, cohesion) == pytest.approx(shift, abs=1e-5)
    assert replace(example(), by_cohesion=None).shift(shots, cohesion) == 0


def of_own_scores() -> Background:
    return replace(example(), by_cohesion=None, by_own_score=example().by_cohesion)


@pytest.mark.parametrize(("own_score", "shift"), [(0.5, 0), (0.7, 2), (99, 3), (-99, -3), (None, -3)])
def test_scores_shift_with_that_of_the_own_examples(own_score: float | None, shift: float) -> None:
    # A task made before the score was kept counts as one of those that score lowest.
    assert of_own_scores().shift(4, 0.9, own_score) == pytest.approx(shift, abs=1e-5)
    assert of_own_scores().shift(1, None, own_score) == 0


@pytest.mark.parametrize(
    ("shots", "cohesion", "own_score", "shift"),
    [
        (4, 0.5, 0.5, 0),  # as usual
        (4, 0.7, 0.6, 2 + 1),
        (4, 0.7, None, 2),  # made before the score was kept: the cohesion alone
        (4, None, None, 0),  # made before either was
        (4, 0.3, 99, -2 + 3),
        (1, None, 0.7, 0),
    ],
)
def test_both_shifts_are_added(shots: float, cohesion: float | None, own_score: float | None, shift: float) -> None:
    both = replace(example(), by_own_score=example().by_cohesion)
    assert both.shift(shots, cohesion, own_score) == pytest.approx(shift, abs=1e-5)


def test_the_own_score_is_only_taken_where_it_counts() -> None:
    assert of_own_scores().takes_own_score(4)
    assert not of_own_scores().takes_own_score(1)  # whose slope is 0
    assert not example().takes_own_score(4)


def test_the_own_score_is_that_of_each_example_by_its_own_class() -> None:
    background, chance = example(), np.random.default_rng(4)
    features = chance.normal(size=(3, WIDTH)).astype(np.float32)
    weight, bias = chance.normal(size=(2, WIDTH)).astype(np.float32), np.array([1, -1], dtype=np.float32)
    logits = features @ weight.T + bias  # of which the own class's count, however high the others are
    scores = background.score(features, np.array([logits[0, 1], logits[1, 0], logits[2, 1]], dtype=np.float32))
    found = background.own_score(features, np.array([1, 0, 1]), weight, bias)
    assert found == pytest.approx(float(scores.mean()), abs=1e-5)


@pytest.mark.parametrize(
    "background",
    [example(), of_own_scores(), replace(example(), by_own_score=example().by_cohesion)],
    ids=["by cohesion", "by own score", "by both"],
)
def test_the_file_holds_all_and_names_its_version(background: Background) -> None:
    version, found = unpack(pack(background, "abc"))
    assert version == "abc"
    for field in fields(Background):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(background, field.name))


def test_a_file_that_knows_nothing_of_cohesion_is_read() -> None:
    _, found = unpack(pack(replace(example(), by_cohesion=None), "abc"))
    assert found.by_cohesion is None


def saved(folder: Path) -> LatentEmbeddingOptimization:
    leo = tiny().eval()
    leo.background = example()
    save_model(leo, folder, "tiny")
    return leo


def test_a_model_brings_its_background_along_until_it_is_trained_further(tmp_path: Path) -> None:
    version = (saved(tmp_path), read_info(tmp_path).version)[1]
    loaded = LatentEmbeddingOptimization.from_pretrained(tmp_path)
    assert loaded.background is not None
    save_model(loaded, tmp_path, "tiny")
    assert (tmp_path / BACKGROUND).is_file()
    loaded.background = None
    save_model(loaded, tmp_path, "tiny")
    assert not (tmp_path / BACKGROUND).exists()
    assert LatentEmbeddingOptimization.from_pretrained(tmp_path).background is None
    assert read_info(tmp_path).version == version  # so tasks are not lost by calibrating anew


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 100,
        pack(example(), "of another model"),
        pack(example(WIDTH + 1), "VERSION"),
        pack(replace(example(), quantiles=np.full((2, 3), np.nan)), "VERSION"),
        pack(replace(example(), shots=np.ones(3)), "VERSION"),
        pack(replace(example(), by_cohesion=np.ones((2, 3))), "VERSION"),
        pack(replace(example(), by_own_score=np.ones((1, 4))), "VERSION"),
    ],
    ids=[
        "empty",
        "noise",
        "another model's",
        "another width",
        "not finite",
        "sizes that do not fit",
        "no rows of four",
        "fewer rows than shots",
    ],
)
def test_a_file_that_does_not_belong_to_the_model_is_refused(tmp_path: Path, data: bytes) -> None:
    saved(tmp_path)
    info = read_info(tmp_path)
    version = info.version.encode()
    assert len(version) > len(b"VERSION")
    header = int.from_bytes(data[:8], "little")
    if b'"VERSION"' in data:
        longer = data[8 : 8 + header].replace(b'"VERSION"', b'"' + version + b'"')
        data = len(longer).to_bytes(8, "little") + longer + data[8 + header :]
    (tmp_path / BACKGROUND).write_bytes(data)
    with pytest.raises(CheckpointError, match=r"known\.safetensors.*leo calibrate"):
        read_background(tmp_path, info)


@pytest.mark.parametrize("queries", [1, 2, 64, 300])
def test_scores_of_normalised_features_are_the_same(shipped: LatentEmbeddingOptimization, queries: int) -> None:
    assert shipped.background is not None
    chance, width = np.random.default_rng(queries), shipped.config.feature_dim
    features = chance.normal(size=(queries, width)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    best = chance.normal(size=queries, scale=10).astype(np.float32)
    expected = shipped.background.score(features, best)
    found = shipped.background.score(features, best, normalised=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for shots in (1.0, 3.0):
        known = shipped.background.known(found, shots)
        np.testing.assert_allclose(known, shipped.background.known(expected, shots), atol=1e-6)


@pytest.mark.parametrize("length", [10, 1000])
def test_long_heads_do_not_overflow(length: float) -> None:
    background = replace(example(), heads=length * example().heads)
    features = np.eye(2, WIDTH, dtype=np.float32)
    best = np.array([1e4, -1e4], dtype=np.float32)
    found = background.score(features, best, normalised=True)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, background.score(features, best), rtol=1e-5)


def test_known_of_one_number_of_shots_is_that_of_each() -> None:
    scores = np.linspace(-20, 20, 50, dtype=np.float32)
    for shots in (1.0, 2.5, 100.0):
        each = example().known(scores, np.full(50, shots, dtype=np.float32))
        np.testing.assert_allclose(example().known(scores, shots), each, atol=1e-6)
