"""Reads the images of JSON bodies: base64 in all its forms, or URLs."""

import base64
import re
from collections.abc import Iterable

from app.http import body_hints

DATA_URL = re.compile(r"\s*data:[^,]{0,200},", re.IGNORECASE)
URL = re.compile(r"\s*[a-z][a-z0-9+.-]{0,30}://", re.IGNORECASE)  # base64 has no colon
FROM_URL_ALPHABET, SPACES = bytes.maketrans(b"-_", b"+/"), b" \t\r\n"


def read_images(texts: Iterable[str]) -> tuple[list[bytes], dict[int, str]]:
    """The images, and the URLs of those that are still to be fetched, by their numbers; these images are empty.

    Raises `Problem` 422 with the index of a text that is neither base64 nor a URL.
    """
    images, urls = list[bytes](), dict[int, str]()
    for index, text in enumerate(texts):
        try:
            images.append(base64.b64decode(text, validate=True))
        except ValueError:
            if URL.match(text):
                urls[index] = text
                images.append(b"")
            else:
                images.append(_loose_base64(text, index))
    return images, urls


def _loose_base64(text: str, index: int) -> bytes:
    """Decode base64 as a data URL, in lines, with the alphabet for URLs, or without padding. Raises `Problem` 422."""
    prefix = DATA_URL.match(text)
    payload = text[prefix.end() :] if prefix else text
    try:
        digits = payload.encode("ascii").translate(FROM_URL_ALPHABET, SPACES).rstrip(b"=")
        return base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except ValueError:
        raise body_hints.base64_problem(payload, index) from None
