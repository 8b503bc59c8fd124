"""Drawings taken apart into strokes, and drawn again as another hand might have drawn them.

A drawing is thinned to lines one pixel wide, which are cut where they branch. Lines that go straight on through a
branching are one stroke. Each stroke is then moved, turned, stretched and bent a little by itself, and inked with
another pen.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.images.drawings import Ink, stroke_width

Points = NDArray[np.float64]  # [P,2]: rows and columns of a stroke's pixels

# Clockwise around a pixel, as (row, column), from the one above it. Bit i of a code is the neighbour i.
AROUND = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
BITS = np.arange(256)[:, None] >> np.arange(8) & 1  # [256, 8]
BEGINNINGS = ((BITS == 0) & (np.roll(BITS, -1, axis=1) == 1)).sum(axis=1)  # runs of ink around a pixel

STRAIGHT = -0.7  # cosine between the directions of two lines from a branching, at most, if they are one stroke
REACH = 8.0  # pixels from a branching over which a line's direction is taken
# Standard deviations of a stroke's own motion. That of the last two is as a share of its half length.
MOVED, STRETCHED, BENT = 2.0, 0.1, 0.08
PENS = (0.7, 1.35)  # another pen's width, as a share of the drawing's own


def thinned(drawings: Ink) -> Ink:
    """Lines one pixel wide in the middle of the strokes [N,H,W] (Zhang and Suen, 1984)."""
    ink = np.pad(drawings, ((0, 0), (1, 1), (1, 1)))
    # A pixel of an edge goes if this breaks no line and shortens none; edges of two sides at a time.
    edge = (BEGINNINGS == 1) & (BITS.sum(axis=1) >= 2) & (BITS.sum(axis=1) <= 6)
    above, right, below, left = (BITS[:, i] == 1 for i in (0, 2, 4, 6))
    goes = edge & ~(right & below & (above | left)), edge & ~(above & left & (right | below))
    while True:
        before = np.count_nonzero(ink)
        for sides in goes:
            ink[:, 1:-1, 1:-1] &= ~sides[_codes(ink)]
        if np.count_nonzero(ink) == before:
            return ink[:, 1:-1, 1:-1]


def _codes(padded: Ink) -> NDArray[np.uint8]:
    """For each pixel which of its neighbours are ink: [N,H+2,W+2] -> [N,H,W]."""
    height, width = padded.shape[1] - 2, padded.shape[2] - 2
    codes = np.zeros((len(padded), height, width), dtype=np.uint8)
    for bit, (down, right) in enumerate(AROUND):
        codes |= padded[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width].view(np.uint8) << bit
    return codes


def strokes_of(lines: Ink) -> list[Points]:
    """The strokes of a thinned drawing [H,W]. A branching belongs to each stroke that meets there."""
    branching = lines & (BEGINNINGS[_codes_of(lines)] >= 3)
    at_branching = lines & (branching | (_codes_of(branching) > 0))
    crossings, pieces = _connected(at_branching), _connected(lines & ~at_branching)
    numbers = np.zeros((lines.shape[0] + 2, lines.shape[1] + 2), dtype=np.int64)  # of pieces, 0 where there is none
    for number, piece in enumerate(pieces, 1):
        numbers[tuple(piece.T + 1)] = number
    stroke = np.arange(len(pieces) + 1)  # of each piece
    meeting: list[tuple[NDArray[np.int64], list[int]]] = []
    for crossing in crossings:
        beside = (crossing[:, None] + np.array(AROUND) + 1).reshape(-1, 2)
        near = [int(number) for number in np.unique(numbers[tuple(beside.T)]) if number]
        meeting.append((crossing, near))
        directions = np.array([_direction(pieces[number - 1] - crossing.mean(axis=0)) for number in near])
        cosines = directions @ directions.T
        while cosines.size and cosines.min() <= STRAIGHT:
            one, other = np.unravel_index(cosines.argmin(), cosines.shape)
            stroke[stroke == stroke[near[other]]] = stroke[near[one]]
            cosines[[one, other]] = cosines[:, [one, other]] = 1  # each goes on in one other at most
    found = []
    for each in np.unique(stroke[1:]):
        own = [piece for number, piece in enumerate(pieces, 1) if stroke[number] == each]
        met = [crossing for crossing, near in meeting if each in stroke[near]]
        found.append(np.concatenate([*own, *met]).astype(np.float64))
    return found + [crossing.astype(np.float64) for crossing, near in meeting if not near]


def _codes_of(drawing: Ink) -> NDArray[np.uint8]:
    return _codes(np.pad(drawing, 1)[None])[0]


def _connected(lines: Ink) -> list[NDArray[np.int64]]:
    """The pixels [P,2] of each connected part."""
    labels, number = ndimage.label(lines, np.ones((3, 3)))
    places = np.argwhere(labels)
    parts = labels[tuple(places.T)]
    return np.split(places[parts.argsort(kind="stable")], np.bincount(parts, minlength=number + 1)[1:-1].cumsum())[
        : number or 0
    ]


def _direction(off: Points) -> Points:
    """The direction [2] in which a line leaves a branching, from its pixels' offsets to that."""
    far = np.hypot(*off.T)
    direction = off[far <= far.min() + REACH].mean(axis=0)
    return direction / max(float(np.hypot(*direction)), 1e-9)


def moved(stroke: Points, random: np.random.Generator) -> Points:
    """A stroke moved, turned, stretched and bent: displaced by a random polynomial of second degree."""
    off = stroke - stroke.mean(axis=0)
    half = max(float(np.hypot(*off.T).max()), 1.0)
    y, x = (off / half).T
    sizes = np.array([MOVED, *[STRETCHED * half] * 2, *[BENT * half] * 3])
    factors = random.normal(size=(6, 2)) * sizes[:, None]
    return stroke + np.stack([np.ones_like(x), x, y, x * x - 0.5, x * y, y * y - 0.5], axis=1) @ factors


def inked(strokes: list[Points], width: float, side: int) -> Ink:
    """Strokes drawn with a round pen of a width, their box centred: [S,S]."""
    points = np.concatenate(strokes)
    points = np.rint(points - (points.min(axis=0) + points.max(axis=0)) / 2 + (side - 1) / 2)
    reach = np.arange(-side, side + 1)
    pen = reach[np.abs(reach) <= width / 2]
    dots = np.stack(np.meshgrid(pen, pen), axis=-1).reshape(-1, 2)
    dots = dots[np.hypot(*dots.T) <= width / 2]
    inky = (points[:, None].astype(np.int64) + dots).reshape(-1, 2)
    drawn = np.zeros((side, side), dtype=np.bool_)
    drawn[tuple(inky[((inky >= 0) & (inky < side)).all(axis=1)].T)] = True
    return drawn


def redrawn(drawing: Ink, strokes: list[Points], random: np.random.Generator) -> Ink:
    """A drawing [S,S] by another hand."""
    width = stroke_width(drawing) * random.uniform(*PENS)
    return inked([moved(stroke, random) for stroke in strokes], width, len(drawing))


def composed(sources: list[list[Points]], random: np.random.Generator) -> list[Points]:
    """The strokes of a new character: of each of several, at least half its strokes, where they stand."""
    chosen = []
    for strokes in sources:
        kept = random.permutation(len(strokes))[: (len(strokes) + 1) // 2]
        chosen += [strokes[index] for index in kept]
    return chosen
