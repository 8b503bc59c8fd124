"""Drawings are thinned, taken apart where pens would be lifted, and drawn again."""

import numpy as np

from bench.strokes import composed, inked, moved, redrawn, strokes_of, thinned
from model.images.drawings import SIDE, Ink


def plus() -> Ink:
    """Two strokes, 7 pixels wide, that cross."""
    drawing = np.zeros((SIDE, SIDE), dtype=np.bool_)
    drawing[49:56, 11:94] = drawing[11:94, 49:56] = True
    return drawing


def test_thinned_lines_lie_in_the_middle_of_strokes() -> None:
    lines = thinned(np.stack([plus(), np.zeros_like(plus())]))
    rows, columns = np.nonzero(lines[0])
    assert np.all((np.abs(rows - 52) <= 1) | (np.abs(columns - 52) <= 1))
    assert 150 < len(rows) < 170  # twice 83 pixels, a little shorter at the ends
    assert not lines[1].any()


def test_lines_that_cross_are_two_strokes() -> None:
    strokes = strokes_of(thinned(plus()[None])[0])
    assert len(strokes) == 2
    flat, upright = sorted(strokes, key=lambda stroke: np.ptp(stroke[:, 0]))
    assert np.ptp(flat[:, 0]) <= 4
    assert np.ptp(upright[:, 1]) <= 4
    assert min(np.ptp(flat[:, 1]), np.ptp(upright[:, 0])) > 70


def test_another_stroke_ends_at_the_one_it_meets() -> None:
    drawing = plus()
    drawing[:49] = False  # a T
    strokes = strokes_of(thinned(drawing[None])[0])
    assert len(strokes) == 2
    lengths = sorted(max(np.ptp(stroke, axis=0)) for stroke in strokes)
    assert 35 < lengths[0] < 48
    assert lengths[1] > 70


def test_a_dot_is_a_stroke() -> None:
    drawing = np.zeros((SIDE, SIDE), dtype=np.bool_)
    drawing[50:55, 50:55] = True
    (dot,) = strokes_of(thinned(drawing[None])[0])
    assert len(dot) <= 4


def test_strokes_are_inked_with_the_pen_and_centred() -> None:
    line = np.stack([np.full(21, 3.0), np.arange(21.0)], axis=1)
    drawn = inked([line], 5.0, SIDE)
    rows, columns = np.nonzero(drawn)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (50, 54, 40, 64)


def test_each_redrawing_is_another_and_keeps_the_form() -> None:
    random = np.random.default_rng(0)
    drawing = plus()
    strokes = strokes_of(thinned(drawing[None])[0])
    one, other = redrawn(drawing, strokes, random), redrawn(drawing, strokes, random)
    assert (one != other).any()
    for each in (one, other):
        assert (each & drawing).sum() > 0.4 * drawing.sum()
        assert each.sum() < 2 * drawing.sum()
    assert len(moved(strokes[0], random)) == len(strokes[0])


def test_a_composed_character_has_half_the_strokes_of_each() -> None:
    strokes = [np.full((1, 2), float(number)) for number in range(6)]
    chosen = composed([strokes[:4], strokes[4:5]], np.random.default_rng(0))
    assert sorted(float(stroke[0, 0]) < 4 for stroke in chosen) == [False, True, True]
