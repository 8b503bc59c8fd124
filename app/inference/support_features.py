"""Features of a task's support set, stored instead of the images so that examples can be added later."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SupportFeatures:
    """Features [S,F] of phi and class numbers [S] of a support set; float16, so 128 bytes an example if F is 64.

    `encoder_features` are those of the encoder, if it has its own convolutions.
    """

    features: NDArray[np.float16]
    encoder_features: NDArray[np.float16] | None
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)
