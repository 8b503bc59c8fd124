"""Backbones from the libraries torchvision, timm and open_clip, by the names that these give to them.

Each library downloads the weights, or finds them where it has downloaded them before. A file of weights that is given
is used instead, and nothing is downloaded.
"""

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError  # raised by torch.load, which is told to run no code
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from model.backbones.backbone import Backbone, BackboneError, LoadedBackbone, all_of, sha256_of_weights

#: Beside OSError, which a failed download is: what libraries raise for files of weights that do not fit.
BAD_WEIGHTS = (OSError, RuntimeError, ValueError, KeyError, EOFError, AttributeError, UnpicklingError, SafetensorError)


@functools.cache
def torchvision(name: str) -> Backbone:
    """Describe `torchvision:NAME`, or `torchvision:NAME@FILE` for weights in a file of its own.

    NAME is that of a classification model; its last linear layer is left out.
    """
    try:
        from torchvision.models import get_model, get_model_weights
    except ImportError as error:
        raise BackboneError(f"{name} needs torchvision: pip install torchvision") from error
    model, file = _name_and_file(name)
    try:
        with torch.device("meta"):
            _, last = _last_linear(get_model(model))
        weights = get_model_weights(model).DEFAULT
    except (ValueError, AttributeError, TypeError) as error:
        raise BackboneError(f"{name}: torchvision has no such classification model ({error})") from error
    transforms = weights.transforms()

    def build() -> nn.Module:
        network = get_model(model) if file else get_model(model, weights=weights)
        if file:
            network.load_state_dict(_tensors(file))
        where, _ = _last_linear(network)
        parent, _, attribute = where.rpartition(".")
        setattr(network.get_submodule(parent), attribute, nn.Identity())
        return cast(nn.Module, network)

    parts = all_of(last.in_features)
    mean, std = tuple(transforms.mean), tuple(transforms.std)
    return Backbone(name, transforms.crop_size[0], parts, mean, std, _loader(name, build))


@functools.cache
def timm(name: str) -> Backbone:
    """Describe `timm:NAME`, or `timm:NAME@FILE` for weights in a file of its own."""
    model, file = _name_and_file(name)
    try:
        import timm as library
    except ImportError as error:
        raise BackboneError(f"{name} needs timm: pip install timm") from error
    try:
        with torch.device("meta"):
            empty = library.create_model(model, pretrained=False, num_classes=0)
    except (RuntimeError, ValueError, TypeError) as error:
        raise BackboneError(f"{name}: timm has no such model ({error})") from error
    settings: dict[str, Any] = library.data.resolve_model_data_config(empty)

    def build() -> nn.Module:
        if file is None:
            return cast(nn.Module, library.create_model(model, pretrained=True, num_classes=0))
        network = library.create_model(model, pretrained=False)  # with its classifier, as the file may hold one
        network.load_state_dict(_tensors(file), strict=False)
        network.reset_classifier(0)
        missing = network.state_dict().keys() - _tensors(file).keys()
        if missing:
            raise ValueError(f"{file} lacks {min(missing)}")
        return cast(nn.Module, network)

    parts = all_of(int(empty.num_features if not hasattr(empty, "head_hidden_size") else empty.head_hidden_size))
    mean, std = tuple(settings["mean"]), tuple(settings["std"])
    return Backbone(name, settings["input_size"][-1], parts, mean, std, _loader(name, build))


@functools.cache
def open_clip(name: str) -> Backbone:
    """Describe `open_clip:NAME/PRETRAINED`: the image tower of a CLIP. PRETRAINED may be a file of weights."""
    model, _, pretrained = name.partition(":")[2].partition("/")
    try:
        import open_clip as library
    except ImportError as error:
        raise BackboneError(f"{name} needs open_clip: pip install open-clip-torch") from error
    settings = library.get_model_config(model)
    if settings is None or not pretrained:
        known = "" if settings is None else f"; for {model} there are {library.list_pretrained_tags_by_model(model)}"
        raise BackboneError(f"{name}: open_clip takes open_clip:NAME/PRETRAINED, or a file of weights{known}")
    if not Path(pretrained).is_file() and pretrained not in library.list_pretrained_tags_by_model(model):
        raise BackboneError(
            f"{name}: {pretrained} is neither a file nor one of open_clip's weights for {model}, which are "
            f"{', '.join(library.list_pretrained_tags_by_model(model))}"
        )
    found = library.get_pretrained_cfg(model, pretrained) or {}

    def build() -> nn.Module:
        return cast(nn.Module, library.create_model(model, pretrained=pretrained).visual)

    mean = tuple(found.get("mean", library.OPENAI_DATASET_MEAN))
    std = tuple(found.get("std", library.OPENAI_DATASET_STD))
    side = int(settings["vision_cfg"]["image_size"])
    return Backbone(name, side, all_of(int(settings["embed_dim"])), mean, std, _loader(name, build))


def _name_and_file(name: str) -> tuple[str, Path | None]:
    """Split SOURCE:NAME@FILE."""
    model, _, file = name.partition(":")[2].partition("@")
    return model, Path(file) if file else None


def _loader(name: str, build: Callable[[], nn.Module]) -> Callable[[], LoadedBackbone]:
    """Turn what builds a network with its weights into a backbone's `load`."""

    def load() -> LoadedBackbone:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the library's own
                network = build().eval()
        except BAD_WEIGHTS as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise BackboneError(
                f"the weights of {name} cannot be loaded ({reason}); download them once on a machine with internet, "
                "or give the file of weights that you have, as in timm:NAME@FILE"
            ) from error
        return LoadedBackbone(network, sha256_of_weights(network))

    return load


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    """Read a file of weights, safetensors or PyTorch's own format, without running any code in it."""
    if file.suffix == ".safetensors":
        return load_file(file)
    tensors: dict[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return tensors


def _last_linear(network: nn.Module) -> tuple[str, nn.Linear]:
    """Find a classification network's last linear layer: its name and itself. Raises `ValueError` if it has none."""
    linear = [(where, layer) for where, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise ValueError("it does not end in a linear layer")
    return linear[-1]
