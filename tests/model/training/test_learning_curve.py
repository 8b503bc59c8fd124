"""Tests of the drawing of learning curves."""

from pathlib import Path

from PIL import Image

from model.training.history import Progress, append_to_log
from model.training.learning_curve import draw_curve


def test_a_log_is_drawn_as_a_picture(tmp_path: Path) -> None:
    log, png = tmp_path / "log.csv", tmp_path / "curve.png"
    for step in range(3):
        append_to_log(log, Progress("pretrain", step, 3, 1 / (step + 1), 100.0, 0.3 * step), 10.0 * step)
    draw_curve(log, png)
    with Image.open(png) as picture:
        assert picture.size == (1080, 480)  # 9 x 4 inches at 120 dpi
        assert len(picture.convert("RGB").getcolors(100_000) or []) > 10  # axes, text and lines, not an empty page
