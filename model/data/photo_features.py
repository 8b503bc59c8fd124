"""Features that a pretrained backbone extracts from photos, cached on disk.

A photo is seen in one or more views. The first is the photo as it is, the others are those of a support, see
`model.networks.photo_views`.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.backbones import Backbone
from model.config import LEOConfig
from model.data.photos import Photos, decode_photo
from model.networks.features import FeatureExtractor
from model.networks.photo_views import PhotoViews
from model.serving.phi import Phi, fastest_phi

#: Part of every cache key. Change it when `model.images.photos`, the views of photos or a backbone's features change.
CACHE_VERSION = "centre square 3"
CACHE = Path(".cache/photos")
PHOTOS_AT_ONCE = 64


def backbone_features(photos: Photos, backbone: Backbone, views: int = 1, cache: Path = CACHE) -> Tensor:
    """Extract all features that a backbone gives, for each view of each photo: [C,D,V,W].

    Classes with fewer than D photos are padded with zeros. The features are cached in the folder `cache`, a file for
    each class and each of joined backbones, and one more for the views beside the photos as they are. Raises
    `DataError` for a broken image and `BackboneError` if the backbone cannot be loaded.
    """
    if backbone.joined:
        return torch.cat([backbone_features(photos, each, views, cache) for each in backbone.members], dim=-1)
    sha256, side = backbone.load().sha256, backbone.resolution
    extractor: Phi | None = None
    features = torch.zeros(len(photos), int(photos.counts.max()), views, backbone.width("all"))
    # Photos as they are have files of their own, which serve any number of views.
    for which in (range(1), range(1, views))[: min(views, 2)]:
        for label, files in enumerate(photos.files):
            path = cache / f"{_cache_key(photos, label, sha256, which)}.safetensors"
            if not path.exists():
                if extractor is None:
                    config = LEOConfig(
                        backbone=backbone.name, backbone_pooling="all", resolution=side, normalise_features=False
                    )
                    extractor = fastest_phi(FeatureExtractor(config).eval(), side, torch.device("cpu"), quantise=False)
                cache.mkdir(parents=True, exist_ok=True)
                fresh = path.with_suffix(f".{os.getpid()}.new")
                save_file({"features": _class_features(photos, label, extractor, side, which).half()}, fresh)
                fresh.replace(path)
            features[label, : len(files), which.start : which.stop] = load_file(path)["features"].float()
    return features


def _class_features(photos: Photos, label: int, extractor: Phi, side: int, which: range) -> Tensor:
    """Extract the features of one class's photos in some views, [D,V,W]; some at a time: decoded photos are large."""
    files, parts, views = photos.files[label], [], PhotoViews(which.stop, side)
    with ThreadPoolExecutor(2) as pool:
        for at in range(0, len(files), PHOTOS_AT_ONCE):
            some = files[at : at + PHOTOS_AT_ONCE]
            images = torch.from_numpy(np.stack(list(pool.map(lambda photo: decode_photo(photo, side), some))))
            seen = views.of_bytes(images) if which.start else images
            parts.append(extractor(seen.numpy()).unflatten(0, (len(some), len(which))))
    return torch.cat(parts)


def _cache_key(photos: Photos, label: int, sha256: str, which: range) -> str:
    """A hash of a class's files, the sizes of their sources, the backbone's weights and the views."""
    digest = hashlib.sha256(f"{sha256} {which} {CACHE_VERSION}".encode())
    for file in photos.files[label]:
        digest.update(f"{file.source.name} {file.source.size_of(file)} {file.name}\n".encode())
    return digest.hexdigest()[:24]
