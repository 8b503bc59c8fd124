"""The square in the middle of a picture, in the size that a backbone takes."""

from PIL import Image


def to_square(picture: Image.Image, resolution: int) -> Image.Image:
    """Crop a picture of 8 bits to the square in its middle, as wide as its shorter side, and resize that."""
    side = min(picture.size)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    box = (left, top, left + side, top + side)
    return picture.resize((resolution, resolution), Image.Resampling.BICUBIC, box, reducing_gap=2.0)
