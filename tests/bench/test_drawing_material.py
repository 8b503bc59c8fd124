"""What a phi learns from holds nothing of its fold, and half of it is what was made of the drawings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.drawing_material import ANEW, Material, learned_from, made_of


@pytest.fixture
def material(tmp_path: Path) -> Material:
    """Two alphabets of three characters, two drawings each: bars of 8 pixels, each drawing 5 further down."""
    for alphabet in ("Even", "Odd"):
        for character in range(3):
            folder = tmp_path / "data" / alphabet / f"character{character}"
            folder.mkdir(parents=True)
            for hand in range(2):
                pixels = np.full((105, 105), 255, dtype=np.uint8)
                pixels[20 + 5 * hand : 28 + 5 * hand, 10 : 50 + 10 * character] = 0
                Image.fromarray(pixels).save(folder / f"{hand}.png")
    first = made_of(tmp_path / "data", tmp_path / "runs")
    again = made_of(tmp_path / "data", tmp_path / "runs")  # from what the first has kept
    assert torch.equal(first.strokes.images, again.strokes.images)
    return again


def test_nothing_of_the_fold_is_learned(material: Material) -> None:
    for kind in ("drawings", "strokes", "composed"):
        assert set(learned_from(material, ("Odd",), kind).alphabets) == {"Even"}


def test_half_of_what_is_sampled_was_made_of_the_drawings(material: Material) -> None:
    drawings, strokes, composed = (
        learned_from(material, ("Odd",), kind) for kind in ("drawings", "strokes", "composed")
    )
    assert (len(strokes), strokes.counts.tolist()) == (3, [4 * ANEW] * 3)
    as_they_are = (strokes.images[:, :, None] == drawings.images[:, None]).flatten(3).all(dim=3).any(dim=2)  # [C, D]
    assert as_they_are.sum(dim=1).tolist() == [2 * ANEW] * 3
    assert (len(composed), composed.counts.tolist()) == (6, [2] * 6)
    assert torch.equal(composed.images[:3], drawings.images)
    assert composed.images[3:].flatten(2).any(dim=2).all()


def test_size_and_place_are_those_before_framing(material: Material) -> None:
    assert material.places.shape == (6, 2, 3)
    sides, rows, columns = (material.places * 105).unbind(dim=-1)
    assert sides[:3].tolist() == [pytest.approx([side] * 2) for side in (40, 50, 60)]
    assert rows[0].tolist() == pytest.approx([23.5, 28.5])
    assert columns[:3, 0].tolist() == pytest.approx([29.5, 34.5, 39.5])
