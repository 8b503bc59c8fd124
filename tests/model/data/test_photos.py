"""Tests of data sets of photos."""

import zipfile
from pathlib import Path

import pytest

from model.data.omniglot import DataError
from model.data.photos import Photos, load_photos
from tests.helpers.photographed import write_photos


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos") / "shop", groups=6, pictures=2)


@pytest.fixture(scope="module")
def shop(folder: Path) -> Photos:
    return load_photos(folder)


def test_a_folder_and_a_zip_of_it_are_the_same_data_set(folder: Path, shop: Photos, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "shop.zip", "w") as archive:
        for file in sorted(folder.rglob("*.jpg")):
            archive.write(file, f"above/{file.relative_to(folder).as_posix()}")
    zipped = load_photos(tmp_path / "shop.zip")
    assert (zipped.names, zipped.groups) == (shop.names, shop.groups)
    assert shop.names[0] == "group00/carton"
    assert shop.counts.tolist() == [2] * 12
    assert (zipped.pixels(3, 1, 64) == shop.pixels(3, 1, 64)).all()
    in_zip, in_folder = zipped.files[3], shop.files[3]
    assert [photo.read() for photo in in_zip] == [photo.read() for photo in in_folder]


def test_splits_keep_groups_whole_and_share_none(shop: Photos) -> None:
    training, validation = shop.split("train"), shop.split("validation")
    assert set(validation.groups) == {"group00", "group05"}
    assert set(training.groups).isdisjoint(validation.groups)
    assert len(training) + len(validation) == len(shop) == 12
    with pytest.raises(DataError, match="no split called 'test'"):
        shop.split("test")
    with pytest.raises(DataError, match="too few"):
        validation.subset([0]).split("train")


def test_classes_of_several_sources_are_named_after_their_source(folder: Path, tmp_path: Path) -> None:
    other = write_photos(tmp_path / "market", groups=1, pictures=2)
    both = load_photos(folder, other)
    assert len(both) == 12 + 2
    assert {name.split("/")[0] for name in both.names} == {"shop", "market"}
    assert [len(part) for part in both.by_source()] == [12, 2]


def test_unusable_data_is_refused_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data at"):
        load_photos(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no picture as CLASS/IMAGE\.jpg"):
        load_photos(tmp_path)
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match="neither a folder nor a readable zip"):
        load_photos(tmp_path / "a.zip")
    for name in ("thing", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"cannot use .*other/1\.jpg"):
        load_photos(tmp_path).pixels(0, 0, 64)
