"""Features of a task's support set, stored instead of the images so that examples can be added later."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SupportFeatures:
    """Features [S,F] of phi and class numbers [S] of a support set; float16, so 128 bytes an example if F is 64.

    Of a model that sees photos in several views they are [S,V,F], those of the photo as it is first.
    `encoder_features` [S,F] are those of the encoder, if it has its own convolutions.
    """

    features: NDArray[np.float16]
    encoder_features: NDArray[np.float16] | None
    labels: NDArray[np.int64]

    @property
    def of_pictures(self) -> NDArray[np.float16]:
        """The features of the pictures as they are, [S,F]."""
        return self.features if self.features.ndim == 2 else self.features[:, 0]

    @classmethod
    def joined(cls, parts: "Sequence[Self]", labels: NDArray[np.int64]) -> Self:
        """The examples of several parts, one after the other, under these class numbers."""
        of_encoder = [part.encoder_features for part in parts if part.encoder_features is not None]
        features = np.concatenate([part.features for part in parts])
        return cls(features, np.concatenate(of_encoder) if of_encoder else None, labels)

    def __len__(self) -> int:
        return len(self.labels)
