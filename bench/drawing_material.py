"""What phis of drawings may learn from: drawings as they are, drawn anew stroke by stroke, and new characters.

Taking all drawings apart takes minutes, so what was made of them is kept in a folder of runs.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.drawing_splits import of_alphabets
from bench.strokes import Points, composed, redrawn, strokes_of, thinned
from model.data.classes import find_classes, read_picture
from model.data.omniglot import Drawings, load_drawings
from model.images.drawings import Ink, grey, ink

Kind = Literal["drawings", "strokes", "composed"]
ANEW = 2  # times that each drawing is drawn anew


@dataclass(frozen=True)
class Material:
    """All drawings, and what was made of them; the classes of each are sorted alike."""

    drawings: Drawings
    strokes: Drawings  # each drawing `ANEW` times, as another hand might have drawn it
    composed: Drawings  # as many new characters in each alphabet
    places: Tensor  # [C,D,3]: size and place of the ink


def made_of(path: Path, runs: Path) -> Material:
    """Read the drawings, and take them apart into strokes if no earlier run did."""
    drawings, file = load_drawings(path), runs / "strokes.npz"
    if not file.exists():
        runs.mkdir(parents=True, exist_ok=True)
        lines = [thinned(of_class.numpy()) for of_class in drawings.images]
        strokes = [[strokes_of(each) for each in of_class] for of_class in lines]
        half_written = file.with_name("half-written.npz")
        np.savez_compressed(half_written, anew=_drawn_anew(drawings, strokes), composed=_composed(drawings, strokes))
        half_written.replace(file)
    with np.load(file) as made:
        anew, new = torch.from_numpy(made["anew"]), torch.from_numpy(made["composed"])
    return Material(
        drawings,
        replace(drawings, images=anew, counts=drawings.counts * ANEW),
        replace(drawings, images=new),
        places(path, drawings),
    )


def _drawn_anew(drawings: Drawings, strokes: list[list[list[Points]]]) -> Ink:
    random = np.random.default_rng(0)
    return np.array(
        [
            [redrawn(drawing.numpy(), its, random) for drawing, its in zip(*of_class, strict=True) for _ in range(ANEW)]
            for of_class in zip(drawings.images, strokes, strict=True)
        ]
    )


def _composed(drawings: Drawings, strokes: list[list[list[Points]]]) -> Ink:
    """A new character for each: of its strokes and those of another in its alphabet, and drawn by as many hands."""
    random = np.random.default_rng(1)
    made = []
    for character, alphabet in enumerate(drawings.alphabets):
        others = [c for c, name in enumerate(drawings.alphabets) if name == alphabet and c != character]
        hand = int(random.integers(int(drawings.counts[character])))
        chosen = composed([strokes[character][hand], strokes[random.choice(others)][hand]], random)
        pens = drawings.images[character].numpy()
        made.append([redrawn(pen, chosen, random) for pen in pens])
    return np.array(made)


def places(path: Path, drawings: Drawings) -> Tensor:
    """Of each drawing as it was read the longer side of the ink's box and the box's middle, in shares: [C,D,3]."""
    files = find_classes(path).named()
    found = [
        [read_picture(file, _place) for file in files[alphabet, name.removeprefix(f"{alphabet}/")]]
        for alphabet, name in zip(drawings.alphabets, drawings.names, strict=True)
    ]
    return torch.tensor(found)


def _place(picture: Image.Image) -> list[float]:
    marked = ink(grey(picture)) > 0.5
    rows, columns = (np.flatnonzero(marked.any(axis=axis)) for axis in (1, 0))
    sides = np.ptp(rows) + 1, np.ptp(columns) + 1
    middles = (rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2
    return [float(each) / max(marked.shape) for each in (max(sides), *middles)]


def learned_from(material: Material, fold: tuple[str, ...], learns: Kind) -> Drawings:
    """What a phi learns from: nothing of the fold. Of two kinds of drawings, each is half of what is sampled."""
    known = of_alphabets(material.drawings, fold, others=True)
    if learns == "strokes":
        anew = of_alphabets(material.strokes, fold, others=True)
        images = torch.cat([known.images.repeat(1, ANEW, 1, 1), anew.images], dim=1)
        return replace(known, images=images, counts=known.counts * ANEW + anew.counts)
    if learns == "composed":
        new = of_alphabets(material.composed, fold, others=True)
        return Drawings(
            torch.cat([known.images, new.images]),
            torch.cat([known.counts, new.counts]),
            known.alphabets + new.alphabets,
            known.names + tuple(f"{name} and another" for name in new.names),
        )
    return known
