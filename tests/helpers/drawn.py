"""Drawings made by code: characters as strokes, drawn on paper in many ways. No data set is needed."""

import io
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Point = tuple[float, float]
Strokes = tuple[tuple[Point, ...], ...]


def arc(x: float, y: float, radius: float, start: float, end: float) -> tuple[Point, ...]:
    """Part of a circle, angles in degrees."""
    angles = np.radians(np.linspace(start, end, 24))
    return tuple((x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles)


#: Ten characters in the unit square, y downwards.
CHARACTERS: dict[str, Strokes] = {
    "tee": (((0.1, 0.1), (0.9, 0.1)), ((0.5, 0.1), (0.5, 0.95))),
    "ell": (((0.2, 0.05), (0.2, 0.95), (0.85, 0.95)),),
    "ring": (arc(0.5, 0.5, 0.45, 0, 360),),
    "ex": (((0.1, 0.1), (0.9, 0.9)), ((0.9, 0.1), (0.1, 0.9))),
    "zed": (((0.1, 0.1), (0.9, 0.1), (0.1, 0.9), (0.9, 0.9)),),
    "vee": (((0.05, 0.1), (0.5, 0.95), (0.95, 0.1)),),
    "gate": (((0.1, 0.95), (0.1, 0.1), (0.9, 0.1), (0.9, 0.95)), ((0.1, 0.5), (0.9, 0.5))),
    "hook": (((0.6, 0.05), (0.6, 0.7)), arc(0.38, 0.7, 0.22, 0, 180)),
    "fork": (((0.5, 0.95), (0.5, 0.45)), ((0.15, 0.05), (0.5, 0.45), (0.85, 0.05))),
    "wave": (arc(0.28, 0.5, 0.22, 180, 360), arc(0.72, 0.5, 0.22, 180, 0)),
}


def shaky(strokes: Strokes, seed: int, amount: float = 0.03) -> Strokes:
    """Return a character as another hand draws it: points moved, the whole turned and sheared a little."""
    rng = np.random.default_rng(seed)
    turn, shear = rng.normal(0, 0.06), rng.normal(0, 0.06)
    matrix = np.array([[math.cos(turn), -math.sin(turn) + shear], [math.sin(turn), math.cos(turn)]])
    moved = []
    for stroke in strokes:
        points = (np.array(stroke) - 0.5) @ matrix.T + 0.5 + rng.normal(0, amount, (1, 2))
        points += rng.normal(0, amount / 3, points.shape)
        moved.append(tuple((float(x), float(y)) for x, y in points))
    return tuple(moved)


def canvas(
    strokes: Strokes,
    side: int = 280,
    pen: int = 10,
    ink: int | tuple[int, ...] = 0,
    paper: int | tuple[int, ...] = 255,
    mode: str = "L",
    box: tuple[float, float, float] = (0.15, 0.15, 0.7),
) -> Image.Image:
    """A drawing on a plain ground; `box` is left, top and side of the character, in parts of the side."""
    image = Image.new(mode, (side, side), paper)
    draw = ImageDraw.Draw(image)
    left, top, size = box
    for stroke in strokes:
        points = [((left + size * x) * side, (top + size * y) * side) for x, y in stroke]
        draw.line(points, fill=ink, width=pen, joint="curve")
        for x, y in (points[0], points[-1]):
            draw.ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), fill=ink)
    return image


def photo(strokes: Strokes, seed: int = 0, size: tuple[int, int] = (1600, 1200), pen: int = 12) -> Image.Image:
    """A phone's picture of a blue pen on paper: light falling off to one corner, grain, blur, a colour cast."""
    rng = np.random.default_rng(seed)
    width, height = size
    side = min(size)
    on_paper = canvas(strokes, side, pen, box=(0.25, 0.2, 0.55)).filter(ImageFilter.GaussianBlur(side / 500))
    mask = np.ones((height, width), dtype=np.float32)
    left = (width - side) // 2
    mask[:side, left : left + side] = np.asarray(on_paper, dtype=np.float32) / 255
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    light = 0.85 - 0.4 * (across / width) * (down / height) - 0.1 * (down / height)
    paper, pen_colour = np.array([1.0, 0.97, 0.88]), np.array([0.18, 0.2, 0.5])
    picture = light[..., None] * (mask[..., None] * paper + (1 - mask[..., None]) * pen_colour)
    picture = picture * 255 + rng.normal(0, 5, picture.shape)
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(name: str, seed: int = 0) -> bytes:
    """A character as a small PNG, drawn by the hand `seed`."""
    return encoded(canvas(shaky(CHARACTERS[name], seed)))


def write_omniglot(folder: Path, alphabets: Iterable[str], drawings: int = 6) -> Path:
    """A data set in Omniglot's layout: every character above in each alphabet, by `drawings` hands."""
    for a, alphabet in enumerate(alphabets):
        for c, strokes in enumerate(CHARACTERS.values()):
            character = folder / alphabet / f"character{c + 1:02d}"
            character.mkdir(parents=True, exist_ok=True)
            for d in range(drawings):
                drawing = canvas(shaky(strokes, 1000 * a + d), 105, 3, ink=0, paper=1, mode="1")
                drawing.save(character / f"{c + 1:04d}_{d + 1:02d}.png")
    return folder
