"""Tests of sweeps over settings and numbers of inner steps."""

import pytest

from model.data.omniglot import DataError, Drawings, load_drawings
from model.evaluation.accuracy import Setting
from model.evaluation.sweep import Sweep
from tests.helpers.drawn import write_omniglot
from tests.helpers.models import tiny


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Drawings:
    return load_drawings(write_omniglot(tmp_path_factory.mktemp("drawn"), ["Alpha", "Beta"], 8))


def test_differences_between_numbers_of_steps_are_paired_by_task(drawings: Drawings) -> None:
    sweep = Sweep(tiny(decoder_skip=True, inner_lr=0.5).eval(), drawings, episodes=50)
    (setting,) = sweep.make_settings([5], [(1, 3)], None, "alphabet")
    assert setting == Setting(5, (1, 3), 5, "alphabet")  # 8 drawings minus 3 shots
    sweep.run(setting, [0, 5])
    none, five = sweep.diagnostics[0]
    (difference,) = sweep.as_dict()["differences"]
    gains = five.accuracies - none.accuracies
    assert difference["difference"] == pytest.approx(float(gains.mean()))
    assert difference["ci95"] == pytest.approx(float(1.96 * gains.std() / 50**0.5))
    assert (difference["inner_steps"], difference["against"], difference["shot"]) == (5, 0, "1-3")
    with pytest.raises(DataError, match="leave no query"):
        sweep.make_settings([5], [(8, 8)], None, None)


def test_curves_begin_without_steps_at_no_gain(drawings: Drawings) -> None:
    sweep = Sweep(tiny(decoder_skip=True, inner_lr=0.5).eval(), drawings, episodes=20)
    for setting in sweep.make_settings([2, 6], [(1, 1), (2, 2)], 2, None):
        sweep.run(setting, [5])
    curves = sweep.curves()
    assert list(curves) == ["6-way 1-shot", "6-way 2-shot"]
    for points in curves.values():
        assert points[0] == (0, 0.0, 0.0)
        assert [steps for steps, _, _ in points] == [0, 1, 2, 3, 5, 7, 10]
