"""Turn what a caller gives as an image into the bytes of an image file."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray

Image: TypeAlias = "Path | bytes | PIL.Image.Image | NDArray[np.generic]"
#: Images by label (one, or a list of them), or pairs of label and image.
Examples: TypeAlias = "Mapping[str, Image | Sequence[Image]] | Iterable[tuple[str, Image]]"


def to_file(image: Image) -> bytes:
    """Return an image file: files as they are, pictures and arrays as PNG.

    Args:
        image: an array is [H,W], [H,W,3] or [H,W,4], of uint8 in 0..255, of bool, or of floats in 0..1.

    Raises:
        TypeError: `image` is of another type.
        ValueError: the array has another shape, type or range.
        OSError: the file cannot be read.
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, Path):
        return image.read_bytes()
    if hasattr(image, "__array_interface__") and not hasattr(image, "save"):
        return _png(_from_array(image))
    if hasattr(image, "save"):
        return _png(image)
    raise TypeError(f"give an image as a Path, bytes, a PIL image or a numpy array, not as {type(image).__name__}")


def labels_and_files(examples: Examples) -> tuple[list[str], list[bytes]]:
    """Return one label and one image file for each example, in the same order. Raises what `to_file` raises."""
    pairs = examples.items() if isinstance(examples, Mapping) else examples
    labels: list[str] = []
    files: list[bytes] = []
    for label, given in pairs:
        images: Any = given if isinstance(given, list | tuple) else [given]
        labels += [label] * len(images)
        files += [to_file(image) for image in images]
    return labels, files


def _from_array(array: "NDArray[Any]") -> "PIL.Image.Image":
    import numpy as np
    from PIL import Image

    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif np.issubdtype(array.dtype, np.floating):
        if array.size and not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ValueError("an array of floats must lie in 0..1: divide it by its largest possible value")
        array = np.round(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(f"an array must be of uint8, bool or float, not of {array.dtype}: convert it with astype")
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ValueError(f"the shape of an array must be [H,W], [H,W,3] or [H,W,4], not {list(array.shape)}")
    return Image.fromarray(array)


def _png(picture: Any) -> bytes:
    if picture.mode in ("CMYK", "YCbCr", "LAB", "HSV", "F"):  # PNG cannot hold them
        picture = picture.convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
