"""What a caller may give as an image -> the bytes of a file."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray

Image: TypeAlias = "Path | bytes | PIL.Image.Image | NDArray[np.generic]"
#: Images by label, one or a list each; or pairs of label and image.
Examples: TypeAlias = "Mapping[str, Image | Sequence[Image]] | Iterable[tuple[str, Image]]"


def encoded(image: Image) -> bytes:
    """A file's bytes as they are; pictures and arrays as PNG. Raises `TypeError`, `ValueError`, `OSError`.

    Arrays are [H,W], [H,W,3] or [H,W,4]: uint8 in 0..255, bool, or floats in 0..1.
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, Path):
        return image.read_bytes()
    if hasattr(image, "__array_interface__") and not hasattr(image, "save"):
        return _png(_from_array(image))
    if hasattr(image, "save"):
        return _png(image)
    raise TypeError(f"an image is a Path, bytes, a PIL image or a numpy array, not {type(image).__name__}")


def support(examples: Examples) -> tuple[list[str], list[bytes]]:
    """Labels and files, in the same order."""
    pairs = examples.items() if isinstance(examples, Mapping) else examples
    labels: list[str] = []
    files: list[bytes] = []
    for label, given in pairs:
        images: Any = given if isinstance(given, list | tuple) else [given]
        labels += [label] * len(images)
        files += [encoded(image) for image in images]
    return labels, files


def _from_array(array: "NDArray[Any]") -> "PIL.Image.Image":
    import numpy as np
    from PIL import Image

    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif np.issubdtype(array.dtype, np.floating):
        if array.size and not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ValueError("an array of floats must lie in 0..1")
        array = np.round(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(f"an array must be uint8, bool or float, not {array.dtype}")
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ValueError(f"an array must be [H,W], [H,W,3] or [H,W,4], not {list(array.shape)}")
    return Image.fromarray(array)


def _png(picture: Any) -> bytes:
    if picture.mode in ("CMYK", "YCbCr", "LAB", "HSV", "F"):  # PNG cannot hold them
        picture = picture.convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
