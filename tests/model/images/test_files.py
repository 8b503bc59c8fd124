"""Whose fault it is if a picture cannot be read."""

import pytest

from model.images import files
from model.images.small_copy import SmallCopies
from tests.helpers.drawn import png


def test_a_mistake_of_this_package_is_not_called_a_damaged_file() -> None:
    with pytest.raises(TypeError):
        files.read(png("tee"), SmallCopies("24 KiB"))  # type: ignore[arg-type]


def test_whatever_a_decoder_raises_means_a_damaged_file() -> None:
    with pytest.raises(files.BadPicture, match="damaged or truncated"):
        files.read(png("tee"), lambda picture: picture.resize("half"))  # type: ignore[arg-type]
