"""A LEO's part in a batch of requests, on one device: everything stacked and padded, and nothing read back in between.

Heads are not kept. To decode them again, or to take the logits from the codes, costs a GPU less than to look them up.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from model.leo import LatentEmbeddingOptimization
from model.negatives import stacked_losses
from model.serving.adapt import Adapter, are_finite, count_hits
from model.serving.graphs import Recorded, Recorder
from model.serving.phi import TorchPhi
from model.serving.task_background import codes_are_encoded

MOST_IMAGES = 256  # that phi computes at once: more gains nothing, and their activations take gigabytes
# What is recorded as CUDA graphs: images of phi; tasks, and ways with examples, of the inner loop.
RECORDED_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
RECORDED_TASKS = (1, 4, 16, 64, 256)
RECORDED_SUPPORTS = ((5, 5), (5, 25), (20, 20), (20, 100))


@dataclass(frozen=True)
class Queries:
    """Predictions for T tasks of at most N classes, and Q images in all."""

    codes: Tensor  # [T, N, L], zero for classes that a task does not have
    present: Tensor  # [T, N], 1 for a task's classes, -1 for its negatives, else 0
    temperatures: Tensor  # [T]
    free: Tensor  # [T], see `model.negatives`
    owner: Tensor  # [Q], int64: each image's task


@dataclass(frozen=True)
class Supports:
    """Adaptations of T tasks of at most N classes and S examples: new images, after E earlier examples' features."""

    rows: Tensor  # [T, S], int64: where an example is among new images, then earlier ones, then one row of zeros
    membership: Tensor  # [T, S, N]; zero for padding
    earlier: Tensor  # [E, F] or [E, V, F], float16
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
    features: Tensor  # [B, F] or [B, V, F], float16, of the new images
    encoder_features: Tensor  # the same by the encoder's phi


class StackedLEO:
    """A LEO whose weights no longer change, for batches on a device."""

    def __init__(self, leo: LatentEmbeddingOptimization, device: torch.device) -> None:
        self._leo, self._adapter, self._device = leo, Adapter(leo), device
        self.phi = Recorded(_as_function(TorchPhi(leo.classifier.phi, device)), _first_rows)
        self.encoder_phi: Recorded | None = None
        if leo.encoder.features is not None:
            self.encoder_phi = Recorded(_as_function(TorchPhi(leo.encoder.features, device)), _first_rows)
        self.adapt_features = Recorded(self._adapt_features, _first_tasks)
        # Stays on the device.
        self._code_scale = leo.decoder.log_scale.detach().exp() if codes_are_encoded(leo) else None
        self._background: Tensor | None = None  # [B, F+1], divided by its temperature
        if leo.background is not None:
            heads = torch.from_numpy(leo.background.heads).to(device)
            common = self._adapter.common_head() if leo.decoder.is_plain else 0  # the tasks' logits lack it too
            self._background_temperature = leo.background.temperature
            self._background = (heads - common) / self._background_temperature

    def record(self, image: tuple[int, ...], recorder: Recorder) -> None:
        """Record phi and the inner loop for a few sizes; `image` is an image's shape, [R,R] or [R,R,3]."""
        for phi in (self.phi, self.encoder_phi):
            if phi is not None:
                shapes = [(count, *image) for count in RECORDED_IMAGES]
                phi.record(
                    [(torch.zeros(shape, dtype=torch.uint8, device=self._device),) for shape in shapes], recorder
                )
        examples = []
        for tasks in RECORDED_TASKS:
            for ways, support in RECORDED_SUPPORTS:
                features = torch.randn(tasks, support, *self._leo.config.example_shape, device=self._device)
                features = torch.nn.functional.normalize(features, dim=-1)
                membership = torch.eye(ways, device=self._device).repeat(-(-support // ways), 1)[:support]
                own = (features.clone(),) if self.encoder_phi is not None else ()
                examples.append((features, membership.repeat(tasks, 1, 1), *own))
        self.adapt_features.record(examples, recorder)

    def features(self, images: Tensor) -> Tensor:
        """Compute phi of any number of images: uint8 [B,R,R] or [B,R,R,3] -> [B,F]."""
        return self._in_parts(self.phi, images)

    def _in_parts(self, phi: Recorded, images: Tensor) -> Tensor:
        features = torch.empty(len(images), self._leo.config.feature_dim, device=images.device)
        for at in range(0, len(images), MOST_IMAGES):
            features[at : at + MOST_IMAGES] = phi(images[at : at + MOST_IMAGES])[0]
        return features

    def classify(self, features: Tensor, queries: Queries) -> tuple[Tensor, Tensor | None]:
        """Classify features [Q,F] -> probabilities [Q,N], 0 for classes that a query's task does not have.

        Also returned are the scores [Q] against the background classes and a task's negatives, see `model.background`,
        if the LEO has a background.

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
        every = logits.view(len(features), tasks, ways)[number, queries.owner]  # [Q, N]
        present = queries.present[queries.owner]  # [Q, N]
        own = every.masked_fill(present <= 0, -torch.inf)
        scores = None
        if self._background is not None:
            background = torch.addmm(self._background[:, -1], features, self._background[:, :-1].T)  # [Q, B]
            beside = background.logsumexp(dim=-1)
            if self._code_scale is None:
                by_negatives = every.masked_fill(present >= 0, -torch.inf) / self._background_temperature
                share = (present < 0).sum(dim=-1).clamp(min=1).log()  # [Q]: together they weigh as one background class
                beside = beside.logaddexp(by_negatives.logsumexp(dim=-1) - share)
            scores = own.amax(dim=-1) / self._background_temperature - beside
            if self._code_scale is not None:
                scores -= stacked_losses(
                    every, queries.codes, queries.present, queries.owner, queries.free, self._code_scale
                )
        return (own / queries.temperatures[queries.owner].unsqueeze(1)).softmax(dim=-1), scores

    def adapt(self, images: Tensor, features: Tensor, supports: Supports) -> Adaptations:
        """Adapt tasks to new images, uint8 [B,...], whose features [B,F] phi has computed, and to earlier features."""
        views = self._leo.views
        parts = images.split(max(1, MOST_IMAGES // (1 + views.copies)))
        of_copies = torch.cat([self.features(views.of_bytes(part)) for part in parts])
        features = views.join(features, of_copies)  # [B, F] or [B, V, F]
        encoder_features = features if self.encoder_phi is None else self._in_parts(self.encoder_phi, images)
        shape, rows = (*supports.rows.shape, *features.shape[1:]), supports.rows.flatten()
        stacked = [_with_earlier(features, supports.earlier)[rows].view(shape), supports.membership]  # [T, S, ...]
        if self.encoder_phi is not None:
            stacked.append(_with_earlier(encoder_features, supports.earlier_of_encoder)[rows].view(shape))
        codes, losses, hits, finite = self.adapt_features(*stacked)
        return Adaptations(codes, losses, hits, finite, features.half(), encoder_features.half())

    def _adapt_features(
        self, features: Tensor, membership: Tensor, encoder_features: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Support features [T,S,F] or [T,S,V,F], membership [T,S,N] -> codes [T,N,L], losses [T,steps+1], hits [T],
        finite [T].
        """
        of_encoder = features if encoder_features is None else encoder_features
        steps = self._leo.config.inner_steps
        codes, heads, losses, logits = self._adapter.adapt_stacked(features, of_encoder, membership, steps)
        return codes, losses, count_hits(logits, membership), are_finite(codes, heads, membership)

    def decode(self, decodes: Decodes) -> Tensor:
        """Decode codes -> heads [T,N,F+1], weights and then the bias of each class."""
        heads: Tensor = self._leo.decoder(decodes.codes, decodes.present)
        return heads


def _with_earlier(features: Tensor, earlier: Tensor) -> Tensor:
    """New features [B,...], earlier ones [E,...], and a row of zeros for padding: [B+E+1,...]."""
    return torch.cat([features, earlier.to(features.dtype), features.new_zeros(1, *features.shape[1:])])


def _as_function(phi: TorchPhi) -> Callable[[Tensor], tuple[Tensor]]:
    return lambda images: (phi.compute(images),)


def _first_rows(outputs: tuple[Tensor, ...], images: Tensor) -> tuple[Tensor, ...]:
    """Features of the true images, without those of the padding."""
    return (outputs[0][: len(images)],)


def _first_tasks(outputs: tuple[Tensor, ...], features: Tensor, membership: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
    """Results of the true tasks and classes."""
    codes, *others = (each[: len(features)] for each in outputs)
    return (codes[:, : membership.shape[2]], *others)
