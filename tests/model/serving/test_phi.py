"""phi as it is served gives what phi as it was trained gives."""

import copy

import numpy as np
import pytest
import torch

from model.config import LEOConfig
from model.images.photos import to_pixels
from model.leo import LatentEmbeddingOptimization
from model.networks.features import FeatureExtractor
from model.serving.onnx_export import phi_to_onnx
from model.serving.phi import OnnxPhi, Phi, TorchPhi, strokes
from tests.conftest import tiny
from tests.helpers.photographed import PRODUCTS, product


def drawings(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side), dtype=np.uint8)


def served(leo: LatentEmbeddingOptimization, how: type[OnnxPhi] | type[TorchPhi]) -> Phi:
    phi = copy.deepcopy(leo.classifier.phi)
    return OnnxPhi(phi, leo.config.resolution, exact=True) if how is OnnxPhi else TorchPhi(phi, torch.device("cpu"))


@pytest.mark.parametrize("how", [OnnxPhi, TorchPhi])
def test_it_is_the_same_function(shipped: LatentEmbeddingOptimization, how: type[OnnxPhi] | type[TorchPhi]) -> None:
    images = drawings(9, shipped.config.resolution)
    with torch.inference_mode():
        expected = shipped.classifier.phi(torch.from_numpy(images).unsqueeze(1).float() / 255)
    phi = served(shipped, how)
    torch.testing.assert_close(phi(images), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(phi(images[5:6]), expected[5:6], atol=1e-5, rtol=1e-5)  # alone as among others


@pytest.mark.parametrize(
    "shape",
    [
        {"view_angles": (-10.0, 10.0)},
        {"stem_stride": 2, "resolution": 16},
        {"normalise_features": False},
        {"residual": True, "pool_whole": True},
        {"pooling": "mean", "normalisation": "none"},
        {"residual": True, "pooling": "mean", "pool_whole": True, "normalisation": "group"},
    ],
    ids=str,
)
def test_whatever_its_shape(shape: dict[str, object]) -> None:
    leo = tiny(**shape).eval()
    images = drawings(5, leo.config.resolution)
    with torch.inference_mode():
        expected = leo.classifier.phi(torch.from_numpy(images).unsqueeze(1).float() / 255)
    torch.testing.assert_close(served(leo, OnnxPhi)(images), expected, atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def lite0() -> FeatureExtractor:
    """As the shipped model has it."""
    seen = {"backbone_pooling": "centre", "feature_power": 0.7}
    return FeatureExtractor(LEOConfig(backbone="efficientnet-lite0", resolution=224, **seen)).eval()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def products() -> np.ndarray:
    return np.stack([to_pixels(product(name, seed), 224) for name in PRODUCTS for seed in (1, 2)])


def test_bytes_are_nearly_what_they_stand_for(
    lite0: FeatureExtractor, products: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.serving.phi.WORTH_ROUNDING", 0.0)  # however slow they are here
    rounded, exact = OnnxPhi(lite0, 224), OnnxPhi(lite0, 224, exact=True)
    assert (rounded.quantised, exact.quantised) == (True, False)
    found, expected = rounded(products), exact(products)
    assert float(torch.nn.functional.cosine_similarity(found, expected).min()) > 0.97
    torch.testing.assert_close(rounded(products[3:4]), found[3:4])  # alone as among others
    with torch.inference_mode():
        as_trained = lite0(torch.from_numpy(products).movedim(3, 1).float() / 255)
    torch.testing.assert_close(expected, as_trained, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "value"), [("WORTH_ROUNDING", float("inf")), ("ALIKE", 1.1)])
def test_bytes_that_are_no_faster_or_wrong_here_are_not_taken(
    lite0: FeatureExtractor, products: np.ndarray, monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    exact = OnnxPhi(lite0, 224, exact=True)(products[:1])
    monkeypatch.setattr(f"model.serving.phi.{name}", value)
    phi = OnnxPhi(lite0, 224)
    assert not phi.quantised
    torch.testing.assert_close(phi(products[:1]), exact, atol=1e-5, rtol=1e-5)


def test_what_has_no_bytewise_form_is_said() -> None:
    with pytest.raises(TypeError, match="Conv2d has no quantised form"):
        phi_to_onnx(tiny().eval().classifier.phi, 8, quantised=True)


def test_drawings_in_bytes_are_nearly_what_they_stand_for(
    shipped: LatentEmbeddingOptimization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.serving.phi.WORTH_ROUNDING", 0.0)  # however slow they are here
    side, parts = shipped.config.resolution, [shipped.classifier.phi, shipped.encoder.features]
    images = strokes(24, side)[8:]
    for phi in [copy.deepcopy(part) for part in parts if part is not None]:
        rounded, exact = OnnxPhi(phi, side), OnnxPhi(phi, side, exact=True)
        assert (rounded.quantised, exact.quantised) == (True, False)
        found, expected = rounded(images), exact(images)
        assert float(torch.nn.functional.cosine_similarity(found, expected).min()) > 0.93
        torch.testing.assert_close(rounded(images[3:4]), found[3:4])  # alone as among others


@pytest.mark.parametrize("shape", [{"view_angles": (-10.0, 10.0)}, {"normalisation": "group"}], ids=str)
def test_drawings_that_have_no_bytewise_form_are_computed_as_trained(shape: dict[str, object]) -> None:
    assert not OnnxPhi(tiny(**shape).eval().classifier.phi, 8).quantised
