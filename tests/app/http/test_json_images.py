"""Base64 in its forms, also where it is longer than what is decoded at once."""

import base64

import numpy as np
import pytest

from app.http.json_images import PIECE, read_images
from app.problems import Problem

DATA = np.random.default_rng(0).bytes(PIECE * 2 + 1)


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(DATA).decode(),
        base64.b64encode(DATA).decode().rstrip("="),
        base64.urlsafe_b64encode(DATA).decode(),
        base64.encodebytes(DATA).decode(),
        "data:image/png;base64," + base64.b64encode(DATA).decode(),
    ],
    ids=["as usual", "unpadded", "for URLs", "in lines", "a data URL"],
)
def test_long_base64_is_read_in_all_its_forms(text: str) -> None:
    assert read_images([text]) == ([DATA], {})


@pytest.mark.parametrize("end", [PIECE, PIECE + 4, 2 * PIECE])
def test_padding_inside_is_refused_wherever_it_stands(end: int) -> None:
    text = base64.b64encode(DATA).decode()
    with pytest.raises(Problem, match="image 0 is not base64"):
        read_images([text[: end - 1] + "=" + text[end:]])
