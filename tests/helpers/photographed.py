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


def tool(seed: int, ground: int = 255, metal: int = 90, size: tuple[int, int] = (400, 300)) -> Image.Image:
    """A tool of metal on a plain ground: a handle and a broader head with a hole, light and shade, a soft shadow."""
    rng = np.random.default_rng(seed)
    width, height = size
    shape = Image.new("L", size)
    draw = ImageDraw.Draw(shape)
    x, y, long = width / 2, height / 2, min(size) * rng.uniform(0.3, 0.42)
    draw.rounded_rectangle((x - long, y - long * 0.09, x + long * 0.5, y + long * 0.09), 4, fill=255)
    draw.ellipse((x + long * 0.35, y - long * 0.32, x + long * 1.05, y + long * 0.32), fill=255)
    draw.ellipse((x + long * 0.6, y - long * 0.12, x + long * 0.85, y + long * 0.12), fill=0)
    shape = shape.rotate(rng.uniform(0, 360), Image.Resampling.BICUBIC)
    shadow = shape.transform(size, Image.Transform.AFFINE, (1, 0, -8, 0, 1, -6)).filter(ImageFilter.GaussianBlur(6))
    down, across = np.mgrid[0:height, 0:width]
    shine = 1 + 0.6 * np.sin((across * rng.uniform(0.5, 1) + down) / long * 4)
    covered, shaded = (np.asarray(each, dtype=np.float32) / 255 for each in (shape, shadow))
    levels = covered * metal * shine + (1 - covered) * ground * (1 - 0.3 * shaded) + rng.normal(0, 2, shape.size[::-1])
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8)).convert("RGB")


def screenshot(seed: int) -> Image.Image:
    """A program's window: a bar, a list at the side, lines of text, a button."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (640, 400), "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 640, int(rng.integers(24, 44))), fill="#3367d6")
    draw.rectangle((0, 44, int(rng.integers(80, 140)), 400), fill="#e8e8ee")
    for y in range(60, 380, int(rng.integers(14, 22))):
        draw.text((160, y), "few shots " * int(rng.integers(1, 7)), fill="#222")
    x, y = rng.integers(200, 400), rng.integers(80, 250)
    draw.rounded_rectangle((x, y, x + 120, y + 36), 6, fill="#1a73e8")
    return picture


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
