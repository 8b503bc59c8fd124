from pathlib import Path

import pytest
import torch

from model.baselines.latent import Leo
from model.data.omniglot import DataError, Drawings, load_drawings
from model.evaluation.accuracy import Setting, evaluate, extract_features
from model.evaluation.diagnostics import examine
from model.evaluation.plots import confused_pairs, draw_report
from model.evaluation.sweep import Evaluation
from tests.conftest import tiny
from tests.helpers.drawn import write_omniglot


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Drawings:
    return load_drawings(write_omniglot(tmp_path_factory.mktemp("drawn"), ["Alpha", "Beta"], 8))


def test_an_examination_finds_the_accuracy_that_evaluate_finds(drawings: Drawings) -> None:
    leo = tiny(decoder_skip=True).eval()
    extracted = extract_features(leo, drawings)
    row = examine(Leo(leo), extracted, Setting(5, (2, 2), 3), 120, seed=4).row
    plain = evaluate(leo, extracted, 5, 2, 3, 120, seed=4)
    assert (row.accuracy, row.ci95) == (plain.accuracy, plain.ci95)
    assert row.ece is not None
    assert row.auroc is not None


def test_confusions_add_up(drawings: Drawings) -> None:
    leo = tiny(decoder_skip=True).eval()
    found = examine(Leo(leo), extract_features(leo, drawings), Setting(5, (1, 1), 3), 60)
    assert int(found.confusion.sum()) == 60 * 5 * 3
    assert int(found.confusion.diagonal().sum()) == round(float(found.accuracies.sum()) * 15)
    assert int(found.met.sum()) == 60 * 5 * 5 * 3
    assert torch.equal(found.met, found.met.T)
    assert (found.confusion <= found.met).all()  # a class is taken only for one that its task holds
    assert torch.equal(found.confusion.sum(dim=1), found.met.diagonal())


def test_strangers_score_lower_and_none_are_asked_where_none_are_left(drawings: Drawings) -> None:
    leo = tiny(decoder_skip=True).eval()
    extracted = extract_features(leo, drawings)
    assert examine(Leo(leo), extracted, Setting(5, (1, 1), 3), 60).unknown["mean_cosine"][0] > 0.5
    everything = examine(Leo(leo), extracted, Setting(20, (1, 1), 3), 20)
    assert everything.unknown == {}
    assert everything.row.auroc is None


def test_a_temperature_of_the_config_changes_confidence_and_no_answer(drawings: Drawings) -> None:
    leo = tiny(decoder_skip=True).eval()
    extracted, setting = extract_features(leo, drawings), Setting(5, (1, 1), 3)
    plain = examine(Leo(leo), extracted, setting, 40)
    leo.config = leo.config.model_copy(update={"temperature": 100.0})
    flat = examine(Leo(leo), extracted, setting, 40)
    assert torch.equal(plain.accuracies, flat.accuracies)
    assert flat.reliability.counts[3] == 40 * 15  # all near 1/5


def test_differences_are_paired(drawings: Drawings) -> None:
    evaluation = Evaluation(tiny(decoder_skip=True, inner_lr=0.5).eval(), drawings, episodes=50)
    (setting,) = evaluation.settings([5], [(1, 3)], None, "alphabet")
    assert setting == Setting(5, (1, 3), 5, "alphabet")  # 8 drawings less 3 shots
    evaluation.add(setting, [0, 5])
    none, five = evaluation.examined[0]
    (difference,) = evaluation.as_dict()["differences"]
    apart = five.accuracies - none.accuracies
    assert difference["difference"] == pytest.approx(float(apart.mean()))
    assert difference["ci95"] == pytest.approx(float(1.96 * apart.std() / 50**0.5))
    assert (difference["inner_steps"], difference["against"], difference["shot"]) == (5, 0, "1-3")
    with pytest.raises(DataError, match="leave no query"):
        evaluation.settings([5], [(8, 8)], None, None)


def test_curves_start_at_no_gain(drawings: Drawings) -> None:
    evaluation = Evaluation(tiny(decoder_skip=True, inner_lr=0.5).eval(), drawings, episodes=20)
    for setting in evaluation.settings([2, 6], [(1, 1), (2, 2)], 2, None):
        evaluation.add(setting, [5])
    curves = evaluation.curves()
    assert list(curves) == ["6-way 1-shot", "6-way 2-shot"]
    for points in curves.values():
        assert points[0] == (0, 0.0, 0.0)
        assert [steps for steps, _, _ in points] == [0, 1, 2, 3, 5, 7, 10]


def test_the_most_confused_pairs() -> None:
    confusion = torch.tensor([[90, 10, 0, 0], [5, 95, 0, 0], [0, 0, 70, 30], [0, 0, 0, 100]])
    met = torch.full((4, 4), 100)
    assert confused_pairs(confusion, met, 5) == [
        (2, 3, pytest.approx(30 / 200)),
        (0, 1, pytest.approx(15 / 200)),
    ]
    met[2, 3] = met[3, 2] = 2  # they hardly met
    assert [pair[:2] for pair in confused_pairs(confusion, met, 5)] == [(0, 1)]


def test_the_report_is_a_picture(drawings: Drawings, tmp_path: Path) -> None:
    evaluation = Evaluation(tiny(decoder_skip=True).eval(), drawings, episodes=30)
    for setting in evaluation.settings([2, 5], [(1, 1), (1, 3)], 2, None):
        evaluation.add(setting, [0, 5])
    draw_report("tiny", evaluation.last_steps, evaluation.curves(), drawings, tmp_path / "r.png")
    assert (tmp_path / "r.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "r.png").stat().st_size > 50_000
