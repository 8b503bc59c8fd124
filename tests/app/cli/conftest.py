"""Folders of pictures that several of these tests read."""

from pathlib import Path

import pytest

from tests.helpers.drawn import CHARACTERS, encoded, photo, png, shaky, write_omniglot

NAMES = ["ring", "ex", "tee"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three alphabets in Omniglot's layout; Tagalog is one for validation."""
    return write_omniglot(tmp_path / "images", ["Alpha", "Beta", "Tagalog"], 18)


@pytest.fixture
def support(tmp_path: Path) -> Path:
    """A support folder with two examples of each of `NAMES`."""
    for name in NAMES:
        (tmp_path / "support" / name).mkdir(parents=True)
        for seed in (1, 2):
            (tmp_path / "support" / name / f"{seed}.png").write_bytes(png(name, seed))
    return tmp_path / "support"


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    """A folder with a photo of a drawing for each of `NAMES`."""
    (tmp_path / "queries").mkdir()
    for name in NAMES:
        picture = photo(shaky(CHARACTERS[name], 9), 3, size=(800, 600), pen=8)
        (tmp_path / "queries" / f"{name}.jpg").write_bytes(encoded(picture, "JPEG", quality=85))
    return tmp_path / "queries"
