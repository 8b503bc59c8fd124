"""Tests of the extraction of a data set's features."""

from pathlib import Path

import pytest
import torch

from model.baselines.gradient import GradientBased
from model.data.omniglot import DataError, Drawings, load_drawings
from model.data.photos import load_photos
from model.evaluation.extracted_features import extract, extract_leo_features
from model.images.resize import to_side
from tests.helpers.drawn import write_omniglot
from tests.helpers.models import tiny
from tests.helpers.photographed import write_photos

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Drawings:
    """Two alphabets of ten characters: 60 images, more than pass through phi at once."""
    return load_drawings(write_omniglot(tmp_path_factory.mktemp("drawn"), ["Alpha", "Beta"], 3))


def test_every_image_has_the_features_that_it_has_alone(drawings: Drawings) -> None:
    leo = tiny().eval()
    extracted = extract_leo_features(leo, drawings)
    assert extracted.features.shape == (20, 3, 8)
    assert extracted.groups.tolist() == [0] * 10 + [1] * 10
    image = to_side(drawings.images, 8)[13, 2].float() / 255
    with torch.no_grad():
        alone = leo.classifier.phi(image[None, None])[0]
    torch.testing.assert_close(extracted.features[13, 2], alone)


def test_an_encoder_with_its_own_blocks_adds_its_own_features(drawings: Drawings) -> None:
    leo = tiny(own_encoder=True).eval()
    features = extract_leo_features(leo, drawings).features
    width = leo.config.feature_dim
    assert features.shape == (20, 3, 2 * width)
    assert not torch.equal(features[..., :width], features[..., width:])


def test_photos_are_refused_by_models_and_methods_of_drawings(tmp_path: Path) -> None:
    photos, leo = load_photos(write_photos(tmp_path, groups=1, pictures=1)), tiny().eval()
    with pytest.raises(DataError, match="this model takes drawings"):
        extract_leo_features(leo, photos)
    with pytest.raises(DataError, match="this method takes drawings"):
        extract(GradientBased(leo, "MAML").extractor, photos, 8, CPU)
