"""The engine's requests and results: adapt, predict and decode, each for one HTTP request."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from app.inference.support_features import SupportFeatures
from model.serving.adapt import AdaptedTask

Images = NDArray[np.uint8]  # [B,R,R] with 255 as full ink, or [B,R,R,3]: the output of `model.images.reader.reader`


@dataclass(frozen=True)
class Head:
    """A task's classifier on the device: `weight` [N,F] and `bias` [N]."""

    weight: Tensor
    bias: Tensor

    @cached_property
    def size(self) -> int:
        """Size in bytes."""
        return self.weight.nbytes + self.bias.nbytes


@dataclass(frozen=True)
class Adapt:
    """Adapt to support images [S,R,R] with class numbers [S], together with the `earlier` examples of the task."""

    images: Images
    labels: NDArray[np.int64]
    earlier: SupportFeatures | None = None
    model_version: str = ""  # of a loaded model; empty for the default


@dataclass(frozen=True)
class Adapted(AdaptedTask):
    """An adapted task, and the features of its whole support set."""

    support: SupportFeatures


@dataclass(frozen=True)
class Predict:
    """Classify images [Q,R,R] with a head, or with codes [N,L] if there is no head."""

    images: Images
    head: Head | None
    codes: NDArray[np.float32]
    model_version: str = ""
    shots: float = 1.0  # mean number of examples per class of the task
    decode: bool = True  # without a head: decode one and return it; if False, take the logits from the codes, for less


@dataclass(frozen=True)
class Predicted:
    """Probabilities [Q,N], and the head that they were computed with if there is one."""

    probabilities: NDArray[np.float32]
    head: Head | None


@dataclass(frozen=True)
class Decode:
    """Decode codes [N,L] into a head."""

    codes: NDArray[np.float32]
    model_version: str = ""


Work = Adapt | Predict | Decode
Result = Adapted | Predicted | Head
