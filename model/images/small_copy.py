"""A small copy of a picture to keep: the same to look at and for every model, without any metadata."""

import io
from dataclasses import dataclass

from PIL import Image

from model.images.levels import to_8_bits
from model.images.profiles import to_srgb
from model.images.shrinking import shrunk
from model.images.upright import orientation, turn

SIDES = (384, 256, 192, 128, 96, 64, 32)  # longest side in pixels, the first that fits
QUALITIES = (90, 75)  # of a JPEG
# How much smaller a PNG gets at most by the slow search for its smallest form. Photos do not come so near to a JPEG,
# and the search would take a tenth of a second for each.
SEARCH_GAIN = 4
LEAST_BYTES = 8192  # that always hold a copy: 32 x 32 pixels of four bytes, and a little more


@dataclass(frozen=True)
class SmallCopies:
    """Makes small copies of at most `max_bytes` each: PNG for drawings and what is transparent, JPEG for photos."""

    max_bytes: int

    def draft(self, picture: Image.Image) -> None:
        """Have an open JPEG decoded at a fraction of its size, its longer side twice the copy's or more."""
        longer = max(picture.size)
        width, height = (max(1, 2 * SIDES[0] * side // longer) for side in picture.size)
        picture.draft(picture.mode, (width, height))

    def __call__(self, picture: Image.Image) -> bytes:
        """Make the copy of a picture of any mode and size."""
        self.draft(picture)
        picture.load()  # some formats keep metadata behind the pixels
        levels = turn(to_8_bits(picture), orientation(picture))
        profile = picture.info.get("icc_profile")
        for side in SIDES:
            small = shrunk(levels, side, Image.Resampling.BICUBIC)
            if profile or small.mode == "CMYK":
                small = to_srgb(small, profile)
            if small.mode == "RGBA" and small.getchannel("A").getextrema() == (255, 255):  # nothing shows through
                small = small.convert("RGB")
            qualities = () if small.mode == "RGBA" else QUALITIES
            jpegs = [_encoded(small, "JPEG", quality=quality) for quality in qualities]
            png = _encoded(small, "PNG", compress_level=1)
            if len(png) <= SEARCH_GAIN * min([self.max_bytes, *map(len, jpegs[:1])]):
                png = _encoded(small, "PNG", optimize=True)
            encoded = [png, *jpegs]
            # A PNG that is no larger loses nothing; of photos it is many times larger.
            best = encoded[0] if len(encoded[0]) <= min(map(len, encoded[:2])) else encoded[1]
            fitting = [data for data in (best, *encoded) if len(data) <= self.max_bytes]
            if fitting:
                return fitting[0]
        return encoded[0]  # not reached where `max_bytes` is at least `LEAST_BYTES`


def _encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    clean = Image.frombytes(picture.mode, picture.size, picture.tobytes())  # Pillow would write what `info` holds
    clean.save(buffer, kind, **options)
    return buffer.getvalue()
