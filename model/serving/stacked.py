"""A LEO's part in a batch of requests, on one device: everything stacked and padded, and nothing read back in between.

Heads are not kept. To decode them again, or to take the logits from the codes, costs a GPU less than to look them up.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.leo import LatentEmbeddingOptimization
from model.serving.adapt import Adapter, are_finite, count_hits
from model.serving.phi import TorchPhi

MOST_IMAGES = 256  # that phi computes at once: more gains nothing, and their activations take gigabytes


@dataclass(frozen=True)
class Queries:
    """Predictions for T tasks of at most N classes, and Q images in all."""

    codes: Tensor  # [T, N, L], zero for classes that a task does not have
    present: Tensor  # [T, N], 1 for a task's classes, else 0
    temperatures: Tensor  # [T]
    owner: Tensor  # [Q], int64: each image's task


@dataclass(frozen=True)
class Supports:
    """Adaptations of T tasks of at most N classes and S examples: new images, after E earlier examples' features."""

    rows: Tensor  # [T, S], int64: where an example is among new images, then earlier ones, then one row of zeros
    membership: Tensor  # [T, S, N]; zero for padding
    earlier: Tensor  # [E, F], float16
    earlier_of_encoder: Tensor  # [E, F], float16; the same without `own_encoder`


@dataclass(frozen=True)
class Decodes:
    """T tasks' codes to be decoded."""

    codes: Tensor  # [T, N, L]
    present: Tensor  # [T, N]


@dataclass(frozen=True)
class Adaptations:
    """What adapting T tasks gave."""

    codes: Tensor  # [T, N, L]
    losses: Tensor  # [T, steps + 1]
    hits: Tensor  # [T]: support examples that the adapted head gets right
    finite: Tensor  # [T], bool
    features: Tensor  # [B, F], float16, of the new images
    encoder_features: Tensor  # the same by the encoder's phi


class StackedLEO:
    """A LEO whose weights no longer change, for batches on a device."""

    def __init__(self, leo: LatentEmbeddingOptimization, device: torch.device) -> None:
        self._leo, self._adapter = leo, Adapter(leo)
        self.phi = TorchPhi(leo.classifier.phi, device)
        self.encoder_phi = None if leo.encoder.features is None else TorchPhi(leo.encoder.features, device)

    def features(self, images: Tensor) -> Tensor:
        """Compute phi of any number of images: uint8 [B,R,R] or [B,R,R,3] -> [B,F]."""
        return torch.cat([self.phi.compute(part) for part in images.split(MOST_IMAGES)])

    def probabilities(self, features: Tensor, queries: Queries) -> Tensor:
        """Classify features [Q,F] -> probabilities [Q,N], 0 for classes that a query's task does not have.

        All images meet the classes of all tasks in one product, and each keeps its own task's logits. That is more
        arithmetic in far fewer calls, and calls are what it would wait for.
        """
        tasks, ways, _ = queries.codes.shape
        if self._leo.decoder.is_plain:
            logits = self._adapter.logits(features, queries.codes.flatten(0, 1))  # [Q, T N]
        else:
            heads = self._leo.decoder(queries.codes, queries.present).flatten(0, 1)  # [T N, F+1]
            logits = torch.addmm(heads[:, -1], features, heads[:, :-1].T)
        number = torch.arange(len(features), device=features.device)
        own = logits.view(len(features), tasks, ways)[number, queries.owner]  # [Q, N]
        own = own / queries.temperatures[queries.owner].unsqueeze(1)
        return own.masked_fill(queries.present[queries.owner] == 0, -torch.inf).softmax(dim=-1)

    def adapt(self, images: Tensor, features: Tensor, supports: Supports) -> Adaptations:
        """Adapt tasks to new images, uint8 [B,...], whose features [B,F] phi has computed, and to earlier features."""
        if self._leo.bent_copies.copies:
            of_copies = self.features(self._leo.bent_copies.of_bytes(images))
            features = self._leo.bent_copies.average(features, of_copies)
        encoder_features = features
        if self.encoder_phi is not None:
            encoder_features = torch.cat([self.encoder_phi.compute(part) for part in images.split(MOST_IMAGES)])
        shape = (*supports.rows.shape, -1)
        stacked = _with_earlier(features, supports.earlier)[supports.rows.flatten()].view(shape)  # [T, S, F]
        of_encoder = stacked
        if self.encoder_phi is not None:
            of_encoder = _with_earlier(encoder_features, supports.earlier_of_encoder)[supports.rows.flatten()]
        codes, heads, losses, logits = self._adapter.adapt_stacked(
            stacked, of_encoder.view(shape), supports.membership, self._leo.config.inner_steps
        )
        return Adaptations(
            codes,
            losses,
            count_hits(logits, supports.membership),
            are_finite(codes, heads, supports.membership),
            features.half(),
            encoder_features.half(),
        )

    def decode(self, decodes: Decodes) -> Tensor:
        """Decode codes -> heads [T,N,F+1], weights and then the bias of each class."""
        heads: Tensor = self._leo.decoder(decodes.codes, decodes.present)
        return heads


def _with_earlier(features: Tensor, earlier: Tensor) -> Tensor:
    """New features [B,F], earlier ones [E,F], and a row of zeros for padding: [B+E+1,F]."""
    return torch.cat([features, earlier.to(features.dtype), features.new_zeros(1, features.shape[1])])
