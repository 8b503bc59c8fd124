"""From pictures of drawings to canonical drawings."""

import numpy as np
import pytest
from PIL import Image

from model.images.drawings import EXTENT, SIDE, NoDrawing, stroke_width, to_drawing, to_input
from tests.helpers.drawn import CHARACTERS, canvas, photo


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two drawings."""
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("name", CHARACTERS)
def test_the_ink_is_framed_in_the_middle(name: str) -> None:
    drawing = to_drawing(canvas(CHARACTERS[name], side=400, box=(0.05, 0.5, 0.4)))
    assert drawing.shape == (SIDE, SIDE)
    rows, columns = np.flatnonzero(drawing.any(axis=1)), np.flatnonzero(drawing.any(axis=0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    assert max(height, width) == pytest.approx(EXTENT, abs=2)
    assert (rows[0] + rows[-1]) / 2 == pytest.approx(SIDE / 2, abs=1.5)
    assert (columns[0] + columns[-1]) / 2 == pytest.approx(SIDE / 2, abs=1.5)


@pytest.mark.parametrize("name", CHARACTERS)
def test_size_place_polarity_and_colour_are_gone(name: str) -> None:
    strokes = CHARACTERS[name]
    plain = to_drawing(canvas(strokes, side=280, pen=12))
    others = [
        canvas(strokes, side=560, pen=24),
        canvas(strokes, side=280, pen=12, ink=255, paper=0),
        canvas(strokes, side=280, pen=6, box=(0.5, 0.05, 0.35)),
        canvas(strokes, side=280, pen=12, mode="RGB", ink=(150, 30, 90), paper=(230, 220, 180)),
        canvas(strokes, side=280, pen=12, ink=150, paper=190),
    ]
    for other in others:
        assert overlap(plain, to_drawing(other)) > 0.7


@pytest.mark.parametrize("name", CHARACTERS)
def test_a_photo_is_its_drawing(name: str) -> None:
    strokes = CHARACTERS[name]
    from_photo = to_drawing(photo(strokes, seed=5))
    box = (0.25, 0.2, 0.55)
    assert overlap(to_drawing(canvas(strokes, side=1200, pen=12, box=box)), from_photo) > 0.6


def test_orientation_and_proportions_stay() -> None:
    upright = to_drawing(canvas(CHARACTERS["tee"]))
    assert overlap(upright, to_drawing(canvas(CHARACTERS["tee"]).rotate(90, fillcolor=255))) < 0.3
    flat = canvas((((0.1, 0.45), (0.9, 0.45)), ((0.1, 0.55), (0.9, 0.55))))
    rows = np.flatnonzero(to_drawing(flat).any(axis=1))
    assert rows[-1] - rows[0] < EXTENT / 3


def test_a_fine_pen_is_given_body() -> None:
    fine = to_drawing(canvas(CHARACTERS["ex"], side=800, pen=2))
    assert stroke_width(fine) > 2.9


@pytest.mark.parametrize("width", [3, 6, 12])
def test_stroke_width_is_measured_in_pixels(width: int) -> None:
    drawing = np.zeros((SIDE, SIDE), dtype=np.bool_)
    drawing[10 : 10 + width, 5:100] = True
    assert stroke_width(drawing) == pytest.approx(width, rel=0.35)


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("L", (1, 1)),
        Image.new("L", (50, 50), 128),
        Image.new("1", (50, 50)),
        Image.new("RGBA", (50, 50)),
        Image.new("I;16", (50, 50), 40_000),
        Image.fromarray(np.random.default_rng(0).normal(128, 3, (300, 300)).clip(0, 255).astype(np.uint8)),
    ],
    ids=["one pixel", "grey", "one bit", "transparent", "sixteen bits", "grain"],
)
def test_a_picture_of_nothing_is_refused(picture: Image.Image) -> None:
    with pytest.raises(NoDrawing):
        to_drawing(picture)


def test_input_keeps_the_ink_when_it_shrinks() -> None:
    drawing = to_drawing(canvas(CHARACTERS["ring"]))
    assert np.array_equal(to_input(drawing, SIDE), drawing.astype(np.uint8) * 255)
    assert to_input(drawing, 28).mean() == pytest.approx(255 * drawing.mean(), rel=0.05)


def test_the_picture_itself_is_left_alone() -> None:
    picture = canvas(CHARACTERS["vee"], side=900)
    before = picture.tobytes()
    to_drawing(picture)
    assert picture.tobytes() == before
    assert picture.size == (900, 900)
