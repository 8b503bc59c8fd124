"""What a pretrained backbone is: its input, the parts of its output, and how its weights are loaded."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import nn


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
    over positions; `centre`, means with more weight in the middle; `all`, everything. The parts of joined backbones
    are centred and scaled each by itself, with weights that are learned.
    """

    name: str
    resolution: int
    parts: Mapping[Pooling, tuple[Part, ...]] = field(hash=False)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    load: Callable[[], LoadedBackbone]  # raises BackboneError
    members: tuple["Backbone", ...] = ()  # the backbones that are joined, if it is several

    def width(self, pooling: Pooling) -> int:
        """Number of features with this pooling: F, and W for `all`."""
        return sum(part.width for part in self.parts[pooling])

    @property
    def joined(self) -> bool:
        """Whether it is several backbones side by side."""
        return bool(self.members)

    @property
    def best_pooling(self) -> Pooling:
        """The pooling whose features are the best for photos: `centre` where there is one."""
        return "centre" if "centre" in self.parts else "mean"


def all_of(width: int) -> dict[Pooling, tuple[Part, ...]]:
    """The parts of a backbone that gives one vector of features."""
    whole = (Part(0, width),)
    return {"mean": whole, "all": whole}


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal. Raises `BackboneError` where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BackboneError(f"{path} cannot be read: {error.strerror or error}") from error


def sha256_of_weights(network: nn.Module) -> str:
    """The SHA-256 over the names and values of a network's weights, in hexadecimal."""
    digest = hashlib.sha256()
    for key, value in network.state_dict().items():
        digest.update(key.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()
