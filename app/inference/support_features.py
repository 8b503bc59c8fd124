"""Features of a task's support set, stored instead of the images so that examples can be added later."""

from dataclasses import dataclass

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

    def __len__(self) -> int:
        return len(self.labels)
