"""Drawings and photos are told apart."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from model.images.kinds import SIDE, are_drawings, drawing_evidence
from tests.helpers.drawn import CHARACTERS, Strokes, canvas, photo, shaky
from tests.helpers.photographed import COLOURS, PRODUCTS, product, screenshot, tool

FELT_PENS = ["red", "blue", "green", "purple"]
CLEAR = 0.5  # evidence that five pictures have on average, at least


def strokes(seed: int) -> Strokes:
    return shaky([*CHARACTERS.values()][seed % len(CHARACTERS)], seed)


def felt_pens(seed: int) -> Image.Image:
    """A drawing whose every stroke has a felt pen of its own."""
    picture = Image.new("RGB", (300, 300), "white")
    draw = ImageDraw.Draw(picture)
    for n, stroke in enumerate(strokes(seed) + strokes(seed + 3)):
        colour = FELT_PENS[(seed + n) % len(FELT_PENS)]
        draw.line([(45 + 210 * x, 45 + 210 * y) for x, y in stroke], fill=colour, width=14, joint="curve")
    return picture


def pencil(seed: int) -> Image.Image:
    """A photo of a pencil's grainy strokes on paper, with the shadow of a hand."""
    grain = np.random.default_rng(seed)
    marks = canvas(strokes(seed), 600, 9).filter(ImageFilter.GaussianBlur(1.5))
    strength = (1 - np.asarray(marks, dtype=np.float32) / 255) * grain.uniform(0.5, 1, (600, 600))
    across = np.linspace(-6, 6, 600)
    light = 0.9 - 0.2 / (1 + np.exp(-across))
    levels = light * (1 - 0.55 * strength) * 255 + grain.normal(0, 3, (600, 600))
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8)).convert("RGB")


def small_in_a_corner(seed: int) -> Image.Image:
    page = Image.new("L", (900, 700), 255)
    page.paste(canvas(strokes(seed), 160, 6), (600 - 20 * seed, 450))
    return page


DRAWINGS: dict[str, Callable[[int], Image.Image]] = {
    "black on white": lambda seed: canvas(strokes(seed)),
    "white on black": lambda seed: canvas(strokes(seed), ink=255, paper=0),
    "a broad pen": lambda seed: canvas(strokes(seed), pen=22),
    "a hair's line": lambda seed: canvas(strokes(seed), side=400, pen=2),
    "one felt pen": lambda seed: canvas(strokes(seed), pen=16, ink=(220, 30, 40), paper=(255, 255, 250), mode="RGB"),
    "several felt pens": felt_pens,
    "a yellow felt pen": lambda seed: canvas(strokes(seed), pen=14, ink=(250, 220, 40), paper=255, mode="RGB"),
    "photographed ink": lambda seed: photo(strokes(seed), seed, (800, 600), pen=10),
    "photographed pencil": pencil,
    "small in a corner": small_in_a_corner,
    "transparent": lambda seed: canvas(strokes(seed), ink=(0, 0, 0, 255), paper=(0, 0, 0, 0), mode="RGBA"),
}
PHOTOS: dict[str, Callable[[int], Image.Image]] = {
    **{name: lambda seed, name=name: product(name, seed) for name in PRODUCTS},  # type: ignore[misc]
    "a tool on white": tool,
    "a dark tool on white": lambda seed: tool(seed, metal=65),
    "a tool on a grey wall": lambda seed: tool(seed, ground=190),
    "a bright tool on black": lambda seed: tool(seed, ground=8, metal=150),
    "a small tool": lambda seed: _with_margin(tool(seed), 300),
    "a screenshot": screenshot,
    "in grey": lambda seed: product("carton", seed).convert("L"),
}


def _with_margin(picture: Image.Image, margin: int) -> Image.Image:
    large = Image.new("RGB", (picture.width + 2 * margin, picture.height + 2 * margin), "white")
    large.paste(picture, (margin, margin))
    return large


@pytest.mark.parametrize("kind", DRAWINGS)
def test_drawings_of_a_kind_are_recognised(kind: str) -> None:
    assert np.mean([drawing_evidence(DRAWINGS[kind](seed)) for seed in range(5)]) > CLEAR


@pytest.mark.parametrize("kind", PHOTOS)
def test_photos_of_a_kind_are_recognised(kind: str) -> None:
    assert np.mean([drawing_evidence(PHOTOS[kind](seed)) for seed in range(5)]) < -CLEAR


def test_one_odd_picture_does_not_decide() -> None:
    drawing, thing = drawing_evidence(DRAWINGS["black on white"](1)), drawing_evidence(product("orange", 1))
    assert are_drawings([drawing, drawing, drawing, thing])
    assert not are_drawings([thing, thing, thing, drawing])
    assert are_drawings([])


@pytest.mark.parametrize("colour", ["black", "white", "grey", COLOURS[0]])
@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (3, 2), (SIDE, SIDE)])
def test_a_blank_picture_tells_nothing(colour: str, size: tuple[int, int]) -> None:
    assert drawing_evidence(Image.new("RGB", size, colour)) == 0


def test_any_picture_has_finite_evidence() -> None:
    random = np.random.default_rng(0)
    for size in [(1, 2), (2, 1), (5, 900), (900, 5), (64, 64)]:
        noise = Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8))
        assert np.isfinite(drawing_evidence(noise))


@pytest.mark.parametrize("mode", ["LA", "P", "CMYK", "I", "I;16", "F", "La"])
def test_the_mode_does_not_matter(mode: str) -> None:
    for picture, is_drawing in [(canvas(CHARACTERS["ring"]), True), (product("orange", 1).convert("L"), False)]:
        if mode in ("I", "I;16", "F"):
            wide = np.asarray(picture).astype(np.uint16) * 257
            picture = Image.fromarray(wide if mode == "I;16" else wide.astype({"I": np.int32, "F": np.float32}[mode]))
        else:
            picture = picture.convert("LA").convert("La") if mode == "La" else picture.convert(mode)
        assert are_drawings([drawing_evidence(picture)]) is is_drawing
