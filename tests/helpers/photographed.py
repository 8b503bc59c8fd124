"""Photos made by code: products of a colour and shape of their own, before grounds that differ."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

PRODUCTS = {
    "orange": ((235, 130, 30), "ellipse"),
    "carton": ((60, 110, 190), "box"),
    "lime": ((110, 180, 40), "ellipse"),
    "brick": ((150, 60, 40), "box"),
}


def product(name: str, seed: int, size: tuple[int, int] = (400, 300)) -> Image.Image:
    """A product seen once: its place, size and light, and the ground behind it, differ from seed to seed."""
    colour, shape = PRODUCTS[name]
    rng = np.random.default_rng([seed, *name.encode()])
    width, height = size
    coarse = rng.integers(60, 200, (6, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    across = min(size) * rng.uniform(0.35, 0.5)
    x, y = width / 2 + rng.uniform(-0.1, 0.1) * height, height / 2 + rng.uniform(-0.1, 0.1) * height
    shade = rng.uniform(0.85, 1.15)
    lit = tuple(min(255, int(part * shade)) for part in colour)
    draw = ImageDraw.Draw(picture)
    if shape == "ellipse":
        draw.ellipse((x - across / 2, y - across / 2, x + across / 2, y + across / 2), fill=lit)
    else:
        draw.rectangle((x - across / 3, y - across / 1.6, x + across / 3, y + across / 1.6), fill=lit)
        draw.rectangle((x - across / 4, y - across / 4, x + across / 4, y), fill="white")
    noisy = np.asarray(picture.filter(ImageFilter.GaussianBlur(1)), dtype=np.float32) + rng.normal(
        0, 6, (height, width, 1)
    )
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


#: Ten colours of things that are told apart by colour and shape.
COLOURS = ["red", "orange", "gold", "lime", "green", "cyan", "blue", "purple", "magenta", "brown"]


def coloured(colour: str, seed: int) -> bytes:
    """A small JPEG photo of something of this colour, with a shape of its own, before a grey ground."""
    rng = np.random.default_rng([seed, *colour.encode()])
    ground = rng.integers(70, 150, (4, 5, 1), dtype=np.uint8).repeat(3, 2)
    picture = Image.fromarray(ground).resize((200, 150), Image.Resampling.BILINEAR)
    x, y = rng.uniform(90, 120), rng.uniform(60, 90)
    sides = 3 + COLOURS.index(colour) % 5
    ImageDraw.Draw(picture).regular_polygon((x, y, 55), sides, rotation=int(rng.integers(20)), fill=colour)
    grain = rng.normal(0, 5, (150, 200, 1))
    return jpeg(Image.fromarray((np.asarray(picture) + grain).clip(0, 255).astype(np.uint8)))


def jpeg(picture: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88, **options)
    return buffer.getvalue()


def write_photos(folder: Path, groups: int = 10, pictures: int = 8) -> Path:
    """A data set of class folders, `GROUP/CLASS/n.jpg`, two products of each group."""
    names = list(PRODUCTS)
    for group in range(groups):
        for name in (names[group % 4], names[(group + 1) % 4]):
            place = folder / f"group{group:02d}" / name
            place.mkdir(parents=True, exist_ok=True)
            for n in range(pictures):
                (place / f"{n}.jpg").write_bytes(jpeg(product(name, 1000 * group + n, (160, 120))))
    return folder
