"""Reads the images of JSON bodies: base64 in all its forms, or URLs."""

import base64
import re
from collections.abc import Iterable

from app.http import body_hints

DATA_URL = re.compile(r"\s{0,100}data:[^,]{0,200},", re.IGNORECASE)
URL = re.compile(r"\s{0,100}[a-z][a-z0-9+.-]{0,30}://", re.IGNORECASE)  # base64 has no colon
FROM_URL_ALPHABET, SPACES = bytes.maketrans(b"-_", b"+/"), b" \t\r\n"
# Characters that are decoded by one call, which keeps other threads from the interpreter. A multiple of four, since
# four characters of base64 are three bytes.
PIECE = 2**18


def read_images(texts: Iterable[str]) -> tuple[list[bytes], dict[int, str]]:
    """The images, and the URLs of those that are still to be fetched, by their numbers; these images are empty.

    Raises `Problem` 422 with the index of a text that is neither base64 nor a URL.
    """
    images, urls = list[bytes](), dict[int, str]()
    for index, text in enumerate(texts):
        try:
            images.append(_strict_base64(text.encode("ascii")))
        except ValueError:
            if URL.match(text):
                urls[index] = text
                images.append(b"")
            else:
                images.append(_loose_base64(text, index))
    return images, urls


def _strict_base64(digits: bytes) -> bytes:
    """Decode base64 as RFC 4648 has it. Raises `ValueError`."""
    if digits.find(b"=", 0, -2) != -1:  # a piece may end with padding, which is allowed only at the very end
        raise ValueError("base64 with padding inside")
    pieces = (digits[at : at + PIECE] for at in range(0, len(digits), PIECE))
    return b"".join(base64.b64decode(piece, validate=True) for piece in pieces)


def _loose_base64(text: str, index: int) -> bytes:
    """Decode base64 as a data URL, in lines, with the alphabet for URLs, or without padding. Raises `Problem` 422."""
    prefix = DATA_URL.match(text)
    payload = text[prefix.end() :] if prefix else text
    try:
        pieces = (payload[at : at + PIECE].encode("ascii") for at in range(0, len(payload), PIECE))
        digits = b"".join(piece.translate(FROM_URL_ALPHABET, SPACES) for piece in pieces).rstrip(b"=")
        return _strict_base64(digits + b"=" * (-len(digits) % 4))
    except ValueError:
        raise body_hints.base64_problem(payload, index) from None
