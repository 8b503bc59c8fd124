"""Features that a pretrained backbone extracts from photos, cached on disk.

A photo is seen in one or more views. The first is the photo as it is. The others are random crops of it, mirrored or
not, and serve as augmentation in training. Views depend on the file's name alone, so they can be cached too.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.backbones import Backbone
from model.config import LEOConfig
from model.data.photos import Photos, decode_photo
from model.data.sources import File
from model.images.photos import Pixels
from model.networks.features import FeatureExtractor
from model.serving.phi import Phi, fastest_phi

#: Part of every cache key. Change it when `model.images.photos`, the crops below or a backbone's features change.
CACHE_VERSION = "centre square 2"
CACHE = Path(".cache/photos")
PHOTOS_AT_ONCE = 64


def backbone_features(photos: Photos, backbone: Backbone, views: int = 1, cache: Path = CACHE) -> Tensor:
    """Extract all features that a backbone gives, for each view of each photo: [C,D,V,W].

    Classes with fewer than D photos are padded with zeros. The features are cached in the folder `cache`, one file
    for each class, and for each of joined backbones. Raises `DataError` for a broken image and `BackboneError` if the
    backbone cannot be loaded.
    """
    if backbone.joined:
        return torch.cat([backbone_features(photos, each, views, cache) for each in backbone.members], dim=-1)
    sha256, side = backbone.load().sha256, backbone.resolution
    extractor: Phi | None = None
    features = torch.zeros(len(photos), int(photos.counts.max()), views, backbone.width("all"))
    for label, files in enumerate(photos.files):
        path = cache / f"{_cache_key(photos, label, sha256, views)}.safetensors"
        if not path.exists():
            if extractor is None:
                config = LEOConfig(
                    backbone=backbone.name, backbone_pooling="all", resolution=side, normalise_features=False
                )
                extractor = fastest_phi(FeatureExtractor(config).eval(), side, torch.device("cpu"), quantise=False)
            cache.mkdir(parents=True, exist_ok=True)
            fresh = path.with_suffix(f".{os.getpid()}.new")
            save_file({"features": _class_features(photos, label, extractor, side, views).half()}, fresh)
            fresh.replace(path)
        features[label, : len(files)] = load_file(path)["features"].float()
    return features


def _class_features(photos: Photos, label: int, extractor: Phi, side: int, views: int) -> Tensor:
    """Extract the features of one class's photos, [D,V,W], some at a time: decoded photos are large."""
    files, parts = photos.files[label], []
    with ThreadPoolExecutor(2) as pool:
        for at in range(0, len(files), PHOTOS_AT_ONCE):
            some = files[at : at + PHOTOS_AT_ONCE]
            images = list(pool.map(lambda photo: _views(photo, side, views), some))  # of [V, R, R, 3]
            parts.append(extractor(np.concatenate(images)).unflatten(0, (len(images), views)))
    return torch.cat(parts)


def _views(photo: File, resolution: int, views: int) -> Pixels:
    """The photo as it is and `views - 1` random crops of it, [V,R,R,3]; the same for the same name."""
    whole = decode_photo(photo, 2 * resolution if views > 1 else resolution)
    if views == 1:
        return whole[None]
    seed = int.from_bytes(hashlib.sha256(photo.name.encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    large = Image.fromarray(whole)
    plain = np.asarray(large.resize((resolution, resolution), Image.Resampling.BICUBIC))
    return np.stack([plain, *(_random_crop(large, resolution, rng) for _ in range(views - 1))])


def _random_crop(picture: Image.Image, resolution: int, rng: np.random.Generator) -> Pixels:
    """Crop 35 to 100 % of the area, with sides in a ratio of 3:4 to 4:3, and mirror every second one: [R,R,3]."""
    area, ratio = rng.uniform(0.35, 1), np.exp(rng.uniform(-0.29, 0.29))  # 3:4 to 4:3
    width, height = (min(picture.width, picture.width * np.sqrt(area * r)) for r in (ratio, 1 / ratio))
    left, top = rng.uniform(0, picture.width - width), rng.uniform(0, picture.height - height)
    box = (left, top, left + width, top + height)
    part = picture.resize((resolution, resolution), Image.Resampling.BICUBIC, box=box)
    return np.asarray(ImageOps.mirror(part) if rng.uniform() < 0.5 else part)


def _cache_key(photos: Photos, label: int, sha256: str, views: int) -> str:
    """A hash of a class's files, the sizes of their sources, the backbone's weights and the number of views."""
    digest = hashlib.sha256(f"{sha256} {views} {CACHE_VERSION}".encode())
    for file in photos.files[label]:
        digest.update(f"{file.source.name} {file.source.size_of(file)} {file.name}\n".encode())
    return digest.hexdigest()[:24]
