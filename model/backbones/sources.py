"""Finds backbones by the names that configs have for them."""

import functools
from collections.abc import Callable

from model.backbones import hubs
from model.backbones.backbone import Backbone, BackboneError
from model.backbones.join import join
from model.backbones.lite import LITE
from model.backbones.onnx_file import clip_vit_b16, onnx_file

CLIP = "clip-vit-b16"
SOURCES: dict[str, Callable[[str], Backbone]] = {
    "torchvision": hubs.torchvision,
    "timm": hubs.timm,
    "open_clip": hubs.open_clip,
    "onnx": onnx_file,
}


def find(name: str) -> Backbone:
    """Find a backbone by its name in a config. Raises `BackboneError`, listing the known names."""
    if "+" in name:
        return _joined(name)
    if name in LITE:
        return LITE[name]
    if name == CLIP:
        return clip_vit_b16()
    source, colon, rest = name.partition(":")
    if source in SOURCES and colon and rest:
        return SOURCES[source](name)
    raise BackboneError(
        f"no backbone called {name!r}; use conv4, {', '.join(LITE)}, {CLIP}, torchvision:NAME, timm:NAME, "
        "open_clip:NAME/PRETRAINED, onnx:FILE, or several joined with +"
    )


@functools.lru_cache(maxsize=8)
def _joined(name: str) -> Backbone:
    return join([find(part) for part in name.split("+")])
