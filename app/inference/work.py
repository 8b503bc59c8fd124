"""What the engine is asked to do, and what it answers: images, codes and heads of one request each."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from app.inference.support_features import SupportFeatures
from model.serving.adapt import AdaptedTask

Images = NDArray[np.uint8]  # [B,R,R], 255 full ink, or [B,R,R,3]: what `model.images.reader.reader` gives


@dataclass(frozen=True)
class Head:
    """A task's classifier, on the device: `weight` [N,F], `bias` [N]."""

    weight: Tensor
    bias: Tensor

    @cached_property
    def size(self) -> int:
        """Bytes."""
        return self.weight.nbytes + self.bias.nbytes


@dataclass(frozen=True)
class Adapt:
    """Make a task: support images [S,R,R] and their class numbers [S], after the `earlier` ones."""

    images: Images
    labels: NDArray[np.int64]
    earlier: SupportFeatures | None = None
    model_version: str = ""  # of those loaded; empty for the default


@dataclass(frozen=True)
class Adapted(AdaptedTask):
    """The task, and the features of all its support examples."""

    support: SupportFeatures


@dataclass(frozen=True)
class Predict:
    """Classify images [Q,R,R] with a head, or with the head that codes [N,L] decode to."""

    images: Images
    head: Head | None
    codes: NDArray[np.float32]
    model_version: str = ""
    shots: float = 1.0  # examples a class of its task has on average
    decode: bool = True  # a head that is not there, and give it back; else its answers are had for less


@dataclass(frozen=True)
class Predicted:
    """Probabilities [Q,N] and the head they came from, where it was decoded."""

    probabilities: NDArray[np.float32]
    head: Head | None


@dataclass(frozen=True)
class Decode:
    """Only decode codes [N,L] to a head."""

    codes: NDArray[np.float32]
    model_version: str = ""


Work = Adapt | Predict | Decode


Result = Adapted | Predicted | Head
