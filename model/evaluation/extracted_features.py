"""A data set's features, extracted once, from which any number of tasks are then sampled."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from model.baselines.extractors import LeoExtractor
from model.baselines.leo import LeoMethod
from model.data.omniglot import Drawings
from model.data.photos import Photos
from model.data.sources import DataError
from model.images.resize import to_side
from model.leo import LatentEmbeddingOptimization

Pictures = Drawings | Photos

IMAGES_AT_ONCE = 32  # phi's activations of more do not fit in a CPU's cache
GPU_IMAGES_AT_ONCE = 1024


@dataclass(frozen=True)
class ExtractedFeatures:
    """What a method's extractor returned for every image of a data set of C classes."""

    features: Tensor  # [C, D, ...]; zeros, or features of an empty image, where a class has fewer than D images
    counts: Tensor  # [C] int64, images of each class
    groups: Tensor  # [C] int64, the alphabet of each class


def extract(
    extractor: Callable[[Tensor], Tensor], data: Pictures, resolution: int, device: torch.device
) -> ExtractedFeatures:
    """Pass every image of a data set through an extractor, on `device`.

    Raises `DataError` if the extractor does not take such data.
    """
    alphabets = {name: index for index, name in enumerate(dict.fromkeys(data.alphabets))}
    groups = torch.tensor([alphabets[name] for name in data.alphabets])
    if isinstance(data, Photos):
        if not isinstance(extractor, LeoExtractor):
            raise DataError("this method takes drawings: for photos, choose one that works on a backbone's features")
        return ExtractedFeatures(extractor.of_photos(data), data.counts, groups)
    images = to_side(data.images, resolution)  # [C, D, R, R]
    at_once = GPU_IMAGES_AT_ONCE if device.type == "cuda" else IMAGES_AT_ONCE
    parts = images.flatten(0, 1).unsqueeze(1).split(at_once)
    with torch.no_grad():
        features = torch.cat([extractor(part.to(device).float() / 255) for part in parts])  # [C*D, ...]
    return ExtractedFeatures(features.reshape(*images.shape[:2], *features.shape[1:]), data.counts, groups)


def extract_leo_features(leo: LatentEmbeddingOptimization, data: Pictures) -> ExtractedFeatures:
    """Extract the features of every image with a LEO in evaluation mode, on its device. Raises `DataError`."""
    return extract(LeoMethod(leo).extractor, data, leo.config.resolution, leo.alpha.device)
