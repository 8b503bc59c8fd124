"""What becomes of files and levels that no program writes, and whose fault it is if a picture cannot be read."""

import numpy as np
import pytest

from model.images import files
from model.images.levels import scale
from model.images.small_copy import SmallCopies
from tests.helpers.drawn import png


def test_a_mistake_of_this_package_is_not_called_a_damaged_file() -> None:
    with pytest.raises(TypeError):
        files.read(png("tee"), SmallCopies("24 KiB"))  # type: ignore[arg-type]


def test_whatever_a_decoder_raises_means_a_damaged_file() -> None:
    with pytest.raises(files.BadPicture, match="damaged or truncated"):
        files.read(png("tee"), lambda picture: picture.resize("half"))  # type: ignore[arg-type]


def test_levels_at_both_ends_of_what_a_float_holds_are_scaled() -> None:
    np.testing.assert_array_equal(
        scale(np.array([[-3e38, 3e38, np.nan, np.inf]], dtype=np.float32)), [[0, 255, 128, 128]]
    )
