"""Tests of the backbone's features of photos and their cache."""

from pathlib import Path

import pytest

from model.backbones import find
from model.data.omniglot import DataError
from model.data.photo_features import backbone_features
from model.data.photos import load_photos
from tests.helpers.photographed import write_photos

BACKBONE = find("efficientnet-lite0")


def test_features_are_extracted_once_and_views_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = load_photos(write_photos(tmp_path / "shop", groups=1, pictures=4))
    first = backbone_features(photos, BACKBONE, views=3, cache=tmp_path / "cache")
    assert first.shape == (2, 4, 3, 2880)
    distance = (first[:, :, 0] - first[:, :, 1]).norm(dim=-1) / first[:, :, 0].norm(dim=-1)
    assert (distance > 0.05).all()  # a random crop is another picture,
    assert (distance < 1.5).all()  # but one of the same thing
    monkeypatch.setattr("model.data.photo_features._class_features", None)  # would fail if it were called again
    assert (backbone_features(photos, BACKBONE, views=3, cache=tmp_path / "cache") == first).all()


def test_a_class_with_fewer_photos_is_padded_with_zeros(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "shop", groups=1, pictures=2)
    (folder / "group00" / "orange" / "1.jpg").unlink()
    photos = load_photos(folder)
    assert photos.counts.tolist() == [2, 1]
    features = backbone_features(photos, BACKBONE, cache=tmp_path / "cache")
    assert features.shape == (2, 2, 1, 2880)
    assert features[0].any(dim=-1).all()
    assert features[1, 0].any()
    assert not features[1, 1].any()


def test_a_broken_image_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "data" / "thing").mkdir(parents=True)
    (tmp_path / "data" / "thing" / "1.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"cannot use .*thing/1\.jpg"):
        backbone_features(load_photos(tmp_path / "data"), BACKBONE, cache=tmp_path / "cache")
