"""Backbones in ONNX files: `onnx:FILE`, any image encoder, and CLIP's image tower, which `leo backbones fetch` fetches.

An encoder takes images [B,3,R,R] and gives [B,W], or a sequence [B,T,W], whose first token is used. Where a
`preprocessor_config.json` lies beside it, as on model hubs, that names the mean, the standard deviation and the side;
else they are ImageNet's, and the side is that of the graph's input, or 224.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from model.backbones.backbone import Backbone, BackboneError, LoadedBackbone, Part, Pooling, all_of, sha256_of_file
from model.backbones.cache import cache_folder
from model.onnx_runtime import session

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
DEFAULT_SIDE = 224


@dataclass(frozen=True)
class Output:
    """An output of the graph that is used: a vector for each image, or a sequence of them."""

    name: str
    width: int
    sequence: bool


class OnnxEncoder(nn.Module):
    """An encoder in an ONNX file: normalised images [B,3,R,R] -> its outputs side by side, [B,W].

    Images go through it one by one. Encoders in 8 bits choose the range of their activations by the whole batch, so an
    image's features would otherwise depend on the other images. It runs on the CPU, wherever the images are.
    """

    def __init__(self, data: bytes, outputs: Sequence[Output]) -> None:
        super().__init__()
        self.data, self.outputs = data, tuple(outputs)
        self._session: Any = None

    def forward(self, images: Tensor) -> Tensor:
        """Encode images one by one."""
        if self._session is None:
            self._session = session(self.data, torch.get_num_threads())
        name = self._session.get_inputs()[0].name
        rows = []
        for image in images.detach().cpu().float():
            found = self._session.run([output.name for output in self.outputs], {name: image.unsqueeze(0).numpy()})
            vectors = [
                array[0, 0] if output.sequence else array[0] for array, output in zip(found, self.outputs, strict=True)
            ]
            rows.append(torch.cat([torch.from_numpy(vector).float() for vector in vectors]))
        return torch.stack(rows).to(images.device) if rows else images.new_zeros(0, self.width)

    @property
    def width(self) -> int:
        """W, the number of outputs for an image."""
        return sum(output.width for output in self.outputs)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_session": None}  # it cannot be copied


def onnx_file(name: str) -> Backbone:
    """Describe `onnx:FILE`, a path, or else the name of a file in the cache folder.

    Raises `BackboneError` where the file is missing or no image encoder.
    """
    path = Path(name.partition(":")[2]).expanduser()
    if not path.is_file():
        named, path = path, cache_folder() / path.name
        if not path.is_file():
            raise BackboneError(f"{name}: there is no file at {named} or {path}; copy the encoder there")
    return _described(name, path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _described(name: str, path: Path, changed: int) -> Backbone:  # noqa: ARG001
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # protobuf's, of several kinds
        raise BackboneError(f"{name}: the file is not ONNX, or damaged ({type(error).__name__})") from error
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [each for each in graph.input if each.name not in weights]
    shape = _shape(inputs[0]) if len(inputs) == 1 else []
    if len(shape) != 4 or shape[1] not in (3, None):
        raise BackboneError(f"{name}: an image encoder takes one input [B,3,R,R]; this one takes {shape or 'several'}")
    output = _best_output(graph.output)
    if output is None:
        raise BackboneError(f"{name}: none of the outputs is [B,W] or [B,T,W] with a known W")
    mean, std, side = _preprocessing(path.with_name("preprocessor_config.json"))

    def load() -> LoadedBackbone:
        return LoadedBackbone(OnnxEncoder(path.read_bytes(), [output]), sha256_of_file(path))

    return Backbone(name, shape[2] or side, all_of(output.width), mean, std, load)


def _shape(value: onnx.ValueInfoProto) -> list[int | None]:
    return [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]


def _best_output(outputs: Sequence[onnx.ValueInfoProto]) -> Output | None:
    """The output that is used: the first vector for each image, else the first sequence."""
    known = [(value.name, shape) for value in outputs if (shape := _shape(value)) and shape[-1]]
    for dimensions in (2, 3):
        for name, shape in known:
            if len(shape) == dimensions:
                return Output(name, int(shape[-1] or 0), sequence=dimensions == 3)
    return None


def _preprocessing(path: Path) -> tuple[tuple[float, float, float], tuple[float, float, float], int]:
    """Read mean, standard deviation and side from a hub's file of settings, if there is one."""
    try:
        settings = json.loads(path.read_text())
        size = settings.get("crop_size") or settings.get("size") or DEFAULT_SIDE
        side = int(size if isinstance(size, int) else size.get("height") or size.get("shortest_edge"))
        (r, g, b), (dr, dg, db) = settings["image_mean"], settings["image_std"]
        return (float(r), float(g), float(b)), (float(dr), float(dg), float(db)), side
    except FileNotFoundError:
        return IMAGENET_MEAN, IMAGENET_STD, DEFAULT_SIDE
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackboneError(f"{path} cannot be read ({error}); mend it or move it away") from error


# -- CLIP ----------------------------------------------------------------------------------------

CLIP_FILE = "clip-vit-b16.int8.onnx"
CLIP_SHA256 = "2d2da5e254d60501f138004788497e280fd80eb9dd877241aec41761be285d8d"
CLIP_OUTPUTS = (Output("onnx::Gather_1524", 768, sequence=True), Output("image_embeds", 512, sequence=False))


def clip_vit_b16() -> Backbone:
    """Describe the image tower of CLIP ViT-B/16 (Radford et al., 2021) in 8 bits.

    Its features are the last layer's class token, [768]; `all` has the image's embedding, [512], too.
    """

    def load() -> LoadedBackbone:
        path = cache_folder() / CLIP_FILE
        if not path.is_file():
            raise BackboneError("clip-vit-b16 needs its weights: run 'leo backbones fetch clip-vit-b16'")
        digest = sha256_of_file(path)
        if digest != CLIP_SHA256:
            raise BackboneError(
                f"{path} is not the file expected: its SHA-256 is {digest[:12]}..., not {CLIP_SHA256[:12]}...; "
                "run 'leo backbones fetch clip-vit-b16' again"
            )
        return LoadedBackbone(OnnxEncoder(path.read_bytes(), CLIP_OUTPUTS), digest)

    parts: dict[Pooling, tuple[Part, ...]] = {"mean": (Part(0, 768),), "all": (Part(0, 1280),)}
    return Backbone("clip-vit-b16", DEFAULT_SIDE, parts, CLIP_MEAN, CLIP_STD, load)
