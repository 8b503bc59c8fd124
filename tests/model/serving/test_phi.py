"""phi as it is served computes what phi as it was trained computes."""

import copy

import numpy as np
import pytest
import torch

from model.config import LEOConfig
from model.devices import int8_is_fast
from model.images.photos import to_pixels
from model.leo import LatentEmbeddingOptimization
from model.networks.features import FeatureExtractor
from model.serving.onnx_export import phi_to_onnx
from model.serving.phi import NotQuantisable, OnnxPhi, Phi, PhiTiming, TorchPhi, fastest_phi, sample_drawings
from tests.helpers.models import tiny
from tests.helpers.photographed import PRODUCTS, product


def drawings(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side), dtype=np.uint8)


def served(leo: LatentEmbeddingOptimization, how: type[OnnxPhi] | type[TorchPhi]) -> Phi:
    phi = copy.deepcopy(leo.classifier.phi)
    return OnnxPhi(phi, leo.config.resolution, quantise=False) if how is OnnxPhi else TorchPhi(phi, torch.device("cpu"))


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


def refused(phi: FeatureExtractor, side: int) -> bool:
    """Whether this CPU has no 8-bit dot products, and phi refuses to be quantised for that reason."""
    if int8_is_fast():
        return False
    with pytest.raises(NotQuantisable, match="8-bit dot products"):
        OnnxPhi(phi, side, quantise=True)
    return True


def test_quantised_photo_features_are_nearly_those_in_float32(lite0: FeatureExtractor, products: np.ndarray) -> None:
    if refused(lite0, 224):
        return
    quantised, float32 = OnnxPhi(lite0, 224, quantise=True), OnnxPhi(lite0, 224, quantise=False)
    found, expected = quantised(products), float32(products)
    assert float(torch.nn.functional.cosine_similarity(found, expected).min()) > 0.97
    torch.testing.assert_close(quantised(products[3:4]), found[3:4])  # alone as among others
    with torch.inference_mode():
        as_trained = lite0(torch.from_numpy(products).movedim(3, 1).float() / 255)
    torch.testing.assert_close(expected, as_trained, atol=1e-5, rtol=1e-4)


def test_quantised_drawing_features_are_nearly_those_in_float32(shipped: LatentEmbeddingOptimization) -> None:
    side, parts = shipped.config.resolution, [shipped.classifier.phi, shipped.encoder.features]
    images = sample_drawings(24, side)[8:]
    for phi in [copy.deepcopy(part) for part in parts if part is not None]:
        if refused(phi, side):
            continue
        quantised, float32 = OnnxPhi(phi, side, quantise=True), OnnxPhi(phi, side, quantise=False)
        found, expected = quantised(images), float32(images)
        assert float(torch.nn.functional.cosine_similarity(found, expected).min()) > 0.93
        torch.testing.assert_close(quantised(images[3:4]), found[3:4])  # alone as among others


@pytest.mark.parametrize("fast", [False, True])
def test_the_cpu_decides_whether_phi_is_quantised_and_timing_does_not(
    fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.serving.phi.int8_is_fast", lambda: fast)
    monkeypatch.setattr("model.serving.phi.MIN_COSINE", -1.0)  # whatever this CPU makes of 8 bits
    for seconds in (1e-9, 1.0):
        times = iter(seconds * 2**n for n in range(1000))  # each call takes twice as long as the one before
        monkeypatch.setattr("model.serving.phi._seconds", lambda run, images, times=times: next(times))
        phi = OnnxPhi(tiny().eval().classifier.phi, 8)
        assert (phi.quantised, phi.precision) == ((True, "int8") if fast else (False, "float32"))


def test_quantise_false_is_float32_whatever_the_cpu_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.serving.phi.int8_is_fast", lambda: True)
    phi = fastest_phi(tiny().eval().classifier.phi, 8, torch.device("cpu"), quantise=False)
    assert (phi.quantised, phi.precision) == (False, "float32")


@pytest.mark.parametrize(
    ("fast", "min_cosine", "shape", "reason"),
    [
        (False, 0.9, {}, "no 8-bit dot products"),
        (True, 1.1, {}, "its features differ"),
        (True, 0.9, {"view_angles": (-10.0, 10.0)}, "view_angles have no quantised form"),
        (True, 0.9, {"normalisation": "group"}, "has no quantised form"),
    ],
    ids=["no dot products", "other features", "views", "GroupNorm"],
)
def test_what_cannot_be_quantised_is_float32_unless_it_must_be(
    fast: bool, min_cosine: float, shape: dict[str, object], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.serving.phi.int8_is_fast", lambda: fast)
    monkeypatch.setattr("model.serving.phi.MIN_COSINE", min_cosine)
    phi = tiny(**shape).eval().classifier.phi
    images = sample_drawings(3, 8)
    expected = OnnxPhi(phi, 8, quantise=False)(images)
    served = fastest_phi(phi, 8, torch.device("cpu"))
    assert not served.quantised
    torch.testing.assert_close(served(images), expected)
    with pytest.raises(NotQuantisable, match=f"{reason}.*use float32"):
        fastest_phi(phi, 8, torch.device("cpu"), quantise=True)


def test_phi_is_not_quantised_on_a_gpu() -> None:
    with pytest.raises(ValueError, match="on a GPU"):
        fastest_phi(tiny().eval().classifier.phi, 8, torch.device("cuda"), quantise=True)


def test_a_layer_without_a_quantised_form_is_named() -> None:
    with pytest.raises(TypeError, match="Conv2d has no quantised form"):
        phi_to_onnx(tiny().eval().classifier.phi, 8, quantised=True)


def test_what_was_measured_before_is_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker takes what the first one measured on the same machine, which was not under load then."""
    monkeypatch.setattr("model.serving.phi.TIMINGS", timings := {})
    phi = tiny().eval().classifier.phi
    first = OnnxPhi(copy.deepcopy(phi), 8)
    (digest,) = timings
    timings[digest] = PhiTiming(threads=1, chunk=4, seconds_an_image=5.0)
    second = OnnxPhi(copy.deepcopy(phi), 8)
    assert (second.threads, second.chunk, second.seconds_an_image) == timings[digest]
    images = drawings(9, 8)
    torch.testing.assert_close(second(images), first(images), atol=1e-5, rtol=1e-5)
