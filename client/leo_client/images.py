"""Turn what a caller gives as an image into the bytes of an image file."""

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import httpx

from leo_client.checks import text

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray

Image: TypeAlias = "str | PathLike[str] | bytes | IO[bytes] | PIL.Image.Image | NDArray[np.generic] | httpx.URL"
#: One image, or several.
Images: TypeAlias = "Image | Iterable[Image]"
#: Images by label (one, or a list of them), or pairs of label and image.
Examples: TypeAlias = (
    "Mapping[str, Image | Sequence[Image]] | Sequence[tuple[str, Image]] | Iterator[tuple[str, Image]]"
)

#: What is sent of an image: its file, or the URL that the service fetches it from.
Content: TypeAlias = bytes | httpx.URL

NOT_A_PATH = re.compile(r"(?:https?|ftp|s3|gs|file):/|data:", re.IGNORECASE)
LONGEST_PATH = 4096  # of Linux
MOST_BYTES = 2**28  # of a file; services take far less
ORIENTATION = 0x0112  # EXIF's tag
#: The largest values of pixels as they are usually stored: shares, or 8, 10, 12, 14 and 16 bits.
FULL_RANGES = (1, 255, 1023, 4095, 16383, 65535)
SHAPES = "[H,W], [H,W,1], [H,W,3] or [H,W,4]"


def to_contents(images: Images, fewest: int = 1) -> list[Content]:
    """Return what is sent of one image or of several.

    Raises:
        ValueError: there are fewer images than `fewest`.
        TypeError, ValueError, OSError: what `to_content` raises.
    """
    if isinstance(images, Mapping):
        raise TypeError(_wrong_type(images))
    given: Any = images
    single = (
        _is_file(given)
        or _is_open_file(given)
        or _is_picture(given)
        or _is_array(given)
        or not isinstance(given, Iterable)
    )
    contents = [to_content(image) for image in ([given] if single else given)]
    if len(contents) < fewest:
        raise ValueError("there are no images: give at least one")
    return contents


def to_content(image: Image) -> Content:
    """Return an absolute URL of http or https as it is, and the file of any other image.

    Raises:
        ValueError: it is another URL.
        TypeError, ValueError, OSError: what `to_file` raises.
    """
    if not isinstance(image, httpx.URL):
        return to_file(image)
    if image.scheme not in ("http", "https") or not image.host:
        raise ValueError(f"the service fetches images by http or https, not {str(image)[:100]!r}")
    return image


def to_file(image: Image) -> bytes:
    """Return an image file: files as they are, pictures and arrays as PNG.

    The service sees the same picture as in the file it was read from: turned as its EXIF says, in the colours of its
    profile.

    Args:
        image: a `str` is the path of a file. An open file is read from where it stands to its end. An array is [H,W],
            [H,W,1], [H,W,3] or [H,W,4], of bool, or of numbers whose white is the smallest of 1, 255, 1023, 4095, 16383
            and 65535 that is not below any of them. Arrays of uint8 stay as they are.

    Raises:
        TypeError: `image` is of another type, or a file that was not opened as binary.
        ValueError: the array has another shape, type or range, the picture cannot be decoded, the picture or the file
            has been closed, nothing of the file is left to read, or a `str` is a URL or base64.
        OSError: the file cannot be read.
    """
    if isinstance(image, str | PathLike):
        return _read(_path(image))
    if _is_file(image):
        return bytes(image)  # type: ignore[arg-type]
    if _is_open_file(image):
        return _rest_of(image)
    if _is_picture(image):
        return _encoded(image)
    if _is_array(image):
        return _encoded(_from_array(image))
    raise TypeError(_wrong_type(image))


def labels_and_contents(examples: Examples, fewest: int = 1) -> tuple[list[str], list[Content]]:
    """Return the label and what is sent of each example, in the same order. Raises what `to_contents` raises."""
    if isinstance(examples, str | bytes | Path) or not isinstance(examples, Iterable):
        raise TypeError(
            "give examples as a dict of images by label, or as pairs of label and image, "
            f"not as {type(examples).__name__}"
        )
    labels: list[str] = []
    contents: list[Content] = []
    for pair in examples.items() if isinstance(examples, Mapping) else examples:
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str)):
            raise TypeError("each example is a label, which is a str, with its image or its list of images")
        label, images = pair
        text(label, "the label")
        try:
            of_label = to_contents(images)
        except ValueError as error:
            raise ValueError(f"label {label!r}: {error}") from error
        labels += [label] * len(of_label)
        contents += of_label
    if len(contents) < fewest:
        raise ValueError("there are no examples: give images of at least two labels")
    return labels, contents


def _is_file(image: object) -> bool:
    return isinstance(image, str | PathLike | bytes | bytearray | memoryview)


def _path(given: "str | PathLike[str]") -> Path:
    if isinstance(given, str):
        if not given:
            raise ValueError("the path of an image is empty")
        if found := NOT_A_PATH.match(given):
            raise ValueError(
                f"a str is the path of a file, not a URL ({found[0]}...): give the bytes of the image, "
                "or httpx.URL(...) if the service shall fetch it"
            )
        if len(given) > LONGEST_PATH:
            raise ValueError(f"a str of {len(given)} characters is no path: decode base64, and give the bytes")
    return Path(given)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)  # a device such as /dev/zero has no end
    if len(data) > MOST_BYTES:
        raise ValueError(f"{path} is larger than {MOST_BYTES >> 20} MiB, as no picture is")
    return data


def _is_open_file(image: object) -> bool:
    return callable(getattr(image, "read", None)) and not isinstance(image, type)


def _rest_of(file: Any) -> bytes:
    data = file.read()
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f'read() of {type(file).__name__} gives no bytes: open the file as binary, with "rb"')
    if not data:
        raise ValueError("nothing of the open file is left to read: seek(0), or open it again")
    return bytes(data)


def _is_picture(image: object) -> bool:
    return hasattr(image, "save") and hasattr(image, "getexif")


def _is_array(image: object) -> bool:
    return hasattr(image, "__array__") or hasattr(image, "__array_interface__")


def _wrong_type(image: object) -> str:
    wanted = "a path, bytes, an open file, a PIL image, a numpy array or an httpx.URL"
    return f"give an image as {wanted}, not as {type(image).__name__}"


def _from_array(given: Any) -> "PIL.Image.Image":
    import numpy as np
    from PIL import Image

    array = np.asarray(given)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if 0 in array.shape or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ValueError(
            f"the shape of an array must be {SHAPES}, not {list(array.shape)}; give several images as a list"
        )
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype != np.uint8:
        array = _to_8_bits(array)
    return Image.fromarray(np.ascontiguousarray(array))


def _to_8_bits(array: "NDArray[Any]") -> "NDArray[np.uint8]":
    """Scale numbers of any type to 0..255, as the service scales pixels of 16 bits."""
    import numpy as np

    if array.dtype.kind not in "iuf":
        raise ValueError(f"an array must be of numbers or bool, not of {array.dtype}: convert it with astype")
    low, high = float(array.min()), float(array.max())
    usual = [white for white in FULL_RANGES if low >= 0 and high <= white]
    if not usual:  # of NaN too
        raise ValueError(f"the pixels of an array must lie in 0..1, 0..255 or 0..65535, not in {low:g}..{high:g}")
    return np.round(array.astype(np.float32) * np.float32(255 / usual[0])).astype(np.uint8)


def _encoded(picture: Any) -> bytes:
    """Encode a PIL image without loss, with its orientation and its colour profile. Return an unread JPEG as it is."""
    if file := _unread_jpeg(picture):
        return file
    try:
        picture.load()  # some formats keep metadata behind the pixels
    except Exception as error:  # Pillow raises OSError, SyntaxError, struct.error, ... for broken files
        name = f" {picture.filename}" if getattr(picture, "filename", "") else ""
        raise ValueError(f"the PIL image{name} cannot be decoded: {error}") from error
    metadata = {"exif": _exif(picture), "icc_profile": picture.info.get("icc_profile")}
    mode = picture.mode
    if (mode.startswith("I;") and mode != "I;16") or mode in ("I", "F"):
        picture = _stretched(picture)
    elif mode == "La":
        picture = picture.convert("LA")
    elif mode in ("PA", "RGBa"):
        picture = picture.convert("RGBA")
    elif mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"):
        picture = picture.convert("RGB")
    buffer = io.BytesIO()
    if mode == "CMYK":  # a PNG cannot hold it, and conversion to RGB would leave out its colour profile
        picture.save(buffer, "TIFF", compression="tiff_adobe_deflate", **metadata)
    else:
        picture.save(buffer, "PNG", **metadata)
    return buffer.getvalue()


def _unread_jpeg(picture: Any) -> bytes | None:
    """Return the file of a JPEG whose pixels nobody has asked for yet; it is far smaller than a PNG of them."""
    is_unread = picture.format == "JPEG" and picture.tile and not picture.decoderconfig
    if not is_unread or picture.fp is None or picture.fp.closed:
        return None
    at = picture.fp.tell()
    picture.fp.seek(0)
    file = bytes(picture.fp.read())
    picture.fp.seek(at)
    return file


def _exif(picture: Any) -> "PIL.Image.Exif":
    """Keep of a picture's EXIF its orientation alone. EXIF that is broken counts as none."""
    import PIL.Image

    kept, own = PIL.Image.Exif(), PIL.Image.Exif()
    try:
        own.load(picture.info.get("exif") or b"")
        orientation = own.get(ORIENTATION)
    except Exception:  # Pillow raises SyntaxError, struct.error, ... for broken EXIF
        orientation = None
    if orientation in range(2, 9):
        kept[ORIENTATION] = orientation
    return kept


def _stretched(picture: Any) -> "PIL.Image.Image":
    """Bring pixels of 16 or 32 bits to 8, as the service does: those that fit no usual range are stretched."""
    import numpy as np
    from PIL import Image

    values = np.nan_to_num(np.asarray(picture).astype(np.float32), nan=0, posinf=0, neginf=0)
    low, high = float(values.min()), float(values.max())
    try:
        return Image.fromarray(_to_8_bits(values))
    except ValueError:
        return Image.fromarray(np.round((values - low) * (255 / max(high - low, 1e-12))).astype(np.uint8))
