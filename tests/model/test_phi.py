"""phi as it is served gives what phi as it was trained gives."""

import copy

import numpy as np
import pytest
import torch

from model.leo import LatentEmbeddingOptimization
from model.phi import OnCPU, OnTorch, Phi
from tests.conftest import tiny


def drawings(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side), dtype=np.uint8)


def served(leo: LatentEmbeddingOptimization, how: type[OnCPU] | type[OnTorch]) -> Phi:
    phi = copy.deepcopy(leo.classifier.phi)
    return OnCPU(phi, leo.config.resolution) if how is OnCPU else OnTorch(phi, torch.device("cpu"))


@pytest.mark.parametrize("how", [OnCPU, OnTorch])
def test_it_is_the_same_function(shipped: LatentEmbeddingOptimization, how: type[OnCPU] | type[OnTorch]) -> None:
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
    torch.testing.assert_close(served(leo, OnCPU)(images), expected, atol=1e-4, rtol=1e-4)
