"""Tests of reading Omniglot."""

import zipfile
from pathlib import Path

import pytest
import torch

from model.data.omniglot import (
    VALIDATION_ALPHABETS,
    DataError,
    Drawings,
    fingerprint,
    load_drawings,
    load_omniglot_dataset,
)
from tests.helpers.drawn import write_omniglot


def zipped(folder: Path, target: Path, above: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, above + file.relative_to(folder).as_posix())
    return target


def test_a_folder_and_a_zip_of_it_are_the_same_data_set(tmp_path: Path) -> None:
    folder = write_omniglot(tmp_path / "images_background", ["Alpha", "Beta"], 3)
    one = load_drawings(folder)
    other = load_drawings(zipped(folder, tmp_path / "images.zip", "images_background/"))
    assert one.names == other.names
    assert one.images.dtype == torch.bool
    assert one.images.shape == (20, 3, 105, 105)
    assert fingerprint(one) == fingerprint(other)


def test_classes_may_have_different_numbers_of_drawings(tmp_path: Path) -> None:
    folder = write_omniglot(tmp_path, ["Alpha"], 3)
    (folder / "Alpha" / "character01" / "0001_03.png").unlink()
    drawings = load_drawings(folder)
    assert drawings.counts.tolist() == [2] + [3] * 9
    assert not drawings.images[0, 2].any()


def test_splits_are_by_alphabet_and_share_none(tmp_path: Path) -> None:
    drawings = load_drawings(write_omniglot(tmp_path, ["Greek", "Tagalog", "Latin", "Sanskrit"], 1))
    training, validation = drawings.split("train"), drawings.split("validation")
    assert set(training.alphabets) == {"Greek", "Latin"}
    assert set(validation.alphabets) == {"Sanskrit", "Tagalog"}
    assert len(drawings.split("all")) == 40
    with pytest.raises(DataError, match="no split called 'test'"):
        drawings.split("test")
    with pytest.raises(DataError, match="none for training"):
        validation.split("train")


def test_of_other_data_every_fifth_alphabet_is_for_validation(tmp_path: Path) -> None:
    drawings = load_drawings(write_omniglot(tmp_path, ["Arabic", "Bengali", "Greek", "Hebrew", "Korean", "Latin"], 1))
    assert set(drawings.split("validation").alphabets) == {"Arabic", "Latin"}
    assert set(drawings.split("train").alphabets) == {"Bengali", "Greek", "Hebrew", "Korean"}
    one = drawings.subset(list(range(10)))  # one alphabet: every fifth of its classes
    assert one.split("validation").names == (one.names[0], one.names[5])
    assert len(one.split("train")) == 8


def test_unusable_data_is_refused_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data at"):
        load_drawings(tmp_path / "absent")
    with pytest.raises(DataError, match=r"no picture as CLASS/IMAGE\.jpg"):
        load_drawings(tmp_path)
    rubbish = tmp_path / "rubbish.zip"
    rubbish.write_bytes(b"PK not really")
    with pytest.raises(DataError, match="neither a folder nor a readable zip"):
        load_drawings(rubbish)
    folder = write_omniglot(tmp_path / "data", ["Alpha"], 2)
    (folder / "Alpha" / "character03" / "0003_02.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"cannot use .*Alpha/character03/0003_02\.png"):
        load_drawings(folder)


def test_load_omniglot_dataset_takes_both_sets_from_a_root(tmp_path: Path) -> None:
    write_omniglot(tmp_path / "images_background", ["Alpha"], 2)
    zipped(write_omniglot(tmp_path / "made", ["Zeta"], 2), tmp_path / "images_evaluation.zip", "images_evaluation/")
    training, test = load_omniglot_dataset(root=tmp_path)
    assert set(training.alphabets) == {"Alpha"}
    assert set(test.alphabets) == {"Zeta"}


def test_without_the_evaluation_set_validation_alphabets_stand_in(tmp_path: Path) -> None:
    write_omniglot(tmp_path / "images_background", ["Alpha", "Tagalog"], 2)
    with pytest.warns(UserWarning, match="validation alphabets"):
        training, test = load_omniglot_dataset(root=tmp_path)
    assert (set(training.alphabets), set(test.alphabets)) == ({"Alpha"}, {"Tagalog"})


def test_the_background_set_is_complete(omniglot: Drawings) -> None:
    assert omniglot.images.shape == (964, 20, 105, 105)
    assert len(set(omniglot.alphabets)) == 30
    assert set(omniglot.split("validation").alphabets) == set(VALIDATION_ALPHABETS)
    assert (len(omniglot.split("train")), len(omniglot.split("validation"))) == (813, 151)
    assert omniglot.images.flatten(2).any(dim=2).all()  # no drawing came out empty
