"""What is kept of a task's examples, so that more can be added: their features, not their pictures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save


@dataclass(frozen=True)
class SupportFeatures:
    """Features [S,F] of phi, those of the encoder where it has convolutions of its own, class numbers [S].

    In float16: 128 bytes an example where F is 64.
    """

    features: NDArray[np.float16]
    encoder_features: NDArray[np.float16] | None
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


def pack(support: SupportFeatures) -> bytes:
    tensors: dict[str, NDArray[np.generic]] = {
        "features": support.features,
        "labels": support.labels.astype(np.int16),
    }
    if support.encoder_features is not None:
        tensors["encoder_features"] = support.encoder_features
    return save(tensors)


def unpack(payload: bytes) -> SupportFeatures:
    tensors = load(payload)
    return SupportFeatures(tensors["features"], tensors.get("encoder_features"), tensors["labels"].astype(np.int64))
