"""The model on its device. Its methods block and belong to the batcher's one thread."""

import math
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.inference.support_features import SupportFeatures
from app.inference.work import Adapt, Adapted, Decode, Head, Predict, Predicted, Result, Work
from model.checkpoint import read_info
from model.devices import choose
from model.images.reader import reader
from model.leo import LatentEmbeddingOptimization
from model.serving.adapt import AdaptedTask, Adapter, Support
from model.serving.head_logits import head_logits
from model.serving.phi import OnnxPhi, always_free, fastest_phi

TOGETHER = 32  # requests whose heads are multiplied at once
Number = TypeVar("Number", bound=np.generic)


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device, or the machine, had too little memory for a batch."""
    on_cpu = any(sign in str(error) for sign in ("DefaultCPUAllocator", "Failed to allocate memory"))
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or on_cpu


def release_memory() -> None:
    """Give back what the allocator keeps for later."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Engine:
    """A LEO and the passes that requests share."""

    def __init__(self, weights: Path, device: str = "auto", cores_are_free: Callable[[], bool] = always_free) -> None:
        """Load a model folder. A CPU's cores are used all at once only where they are free.

        Raises `CheckpointError`, `BackboneError`, or `ValueError` for a device that is not there.
        """
        self.device = choose(device)
        self.info = read_info(weights)
        self.leo = LatentEmbeddingOptimization.from_pretrained(weights, self.device)
        self.read = reader(self.info.config)
        side = self.info.config.resolution
        self._phi = fastest_phi(self.leo.classifier.phi, side, self.device, cores_are_free)
        own = self.leo.encoder.features
        self._encoder_phi = None if own is None else fastest_phi(own, side, self.device, cores_are_free)
        self._adapter = Adapter(self.leo)
        self._head_logits = head_logits(self._adapter, self.device)
        self.one_by_one = self.device.type == "cpu"  # requests' heads: there a call costs less than to copy a head
        if self.device.type == "cpu":
            torch.set_num_threads(1)  # what is left to torch is small: waking other threads costs more than they save

    @property
    def seconds_an_image(self) -> float | None:
        """What phi takes, where it was timed."""
        return self._phi.seconds_an_image if isinstance(self._phi, OnnxPhi) else None

    def seconds(self, work: Work) -> float:
        """About how long a piece of work takes, by what phi does; without end where that was not timed."""
        each = self.seconds_an_image
        if each is None:
            return math.inf
        if isinstance(work, Decode):
            return 0.0
        if isinstance(work, Predict):
            return len(work.images) * each
        passes = 1 if self._encoder_phi is None else 2
        return (passes * len(work.images) + (len(work.earlier) if work.earlier else 0)) * each

    @property
    def takes_drawings(self) -> bool:
        """Or photos."""
        return self.info.config.pretrained is None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an image: [R,R] or [R,R,3]."""
        side = self.info.config.resolution
        return (side, side) if self.takes_drawings else (side, side, 3)

    def run(self, batch: list[Work]) -> list[Result]:
        """Do all of a batch: phi once over all images, one inner loop over all tasks."""
        with torch.inference_mode():
            return self._run(batch)

    def _run(self, batch: list[Work]) -> list[Result]:
        by_head: list[Predict] = []
        by_codes: list[Predict] = []
        for work in batch:
            if isinstance(work, Predict):
                needs_head = work.head or work.decode or not self.leo.decoder.is_plain
                (by_head if needs_head else by_codes).append(work)
        adaptations = [work for work in batch if isinstance(work, Adapt)]
        cold = [work for work in batch if isinstance(work, Decode)] + [work for work in by_head if not work.head]
        heads = dict(zip(map(id, cold), self._decode([work.codes for work in cold]), strict=True))
        images = [work.images for works in (by_head, by_codes, adaptations) for work in works]

        of_encoder = None
        if self._encoder_phi is not None and adaptations:
            of_encoder = self._encoder_phi.begin(_joined([work.images for work in adaptations]))
        features = self._phi(_joined(images)) if images else torch.empty(0)  # [B, F]
        first, second = (sum(len(work.images) for work in works) for works in (by_head, by_codes))
        support_features = features[first + second :]
        encoded = support_features if of_encoder is None else of_encoder()
        supports = self._supports(adaptations, support_features, encoded) if adaptations else []
        made = self._adapter.adapt(supports) if supports else []
        results: dict[int, Result] = {**heads}
        for works, theirs in ((by_head, features[:first]), (by_codes, features[first : first + second])):
            with_heads = [work.head or heads.get(id(work)) for work in works]
            results.update(zip(map(id, works), self._predicted(works, theirs, with_heads), strict=True))
        for work, task, support in zip(adaptations, made, supports, strict=True):
            results[id(work)] = self._adapted(task, support)
        return [results[id(work)] for work in batch]

    def _predicted(self, asks: list[Predict], features: Tensor, heads: list[Head | None]) -> list[Predicted]:
        """Features [B,F] of each request's Q images, and their task's heads, or none of them: probabilities [Q,N]."""
        if not asks:
            return []
        heights = [len(ask.images) for ask in asks]
        places = [
            (slice(end - height, end), len(ask.codes))
            for ask, height, end in zip(asks, heights, accumulate(heights), strict=True)
        ]
        logits = np.full((len(features), max(width for _, width in places)), -np.inf, dtype=np.float32)  # [B, most N]
        for (rows, width), own in zip(places, self._logits(features, asks, heads, places), strict=True):
            logits[rows, :width] = own
        by_request = [self.leo.config.temperature_at(ask.shots, len(ask.codes)) for ask in asks]
        temperatures = np.repeat(np.array(by_request, dtype=np.float32), heights)
        shares = softmax(logits / temperatures[:, None])
        return [Predicted(shares[rows, :width], head) for (rows, width), head in zip(places, heads, strict=True)]

    def _logits(
        self, features: Tensor, asks: list[Predict], heads: list[Head | None], places: list[tuple[slice, int]]
    ) -> Iterator[NDArray[np.float32]]:
        """Of each request [Q,N], by its head or, without, its codes. `places`: its rows of the features, and its N."""
        if heads[0] and self.one_by_one:
            queries = features.numpy()
            for (rows, _), head in zip(places, heads, strict=True):
                if head:
                    yield queries[rows] @ head.weight.numpy().T + head.bias.numpy()
            return
        # Some requests at once, each by the classes of all, and only its own kept: this takes more arithmetic, of which
        # it needs little anyway, and fewer calls.
        for at in range(0, len(asks), TOGETHER):
            some = places[at : at + TOGETHER]
            first, last = some[0][0].start, some[-1][0].stop
            theirs = [head for head in heads[at : at + TOGETHER] if head]
            if theirs:
                weight, bias = torch.cat([head.weight for head in theirs]), torch.cat([head.bias for head in theirs])
                joint = torch.addmm(bias, features[first:last], weight.T)  # [some Q, some N]
            else:
                codes = torch.from_numpy(_joined([ask.codes for ask in asks[at : at + TOGETHER]])).to(self.device)
                joint = self._head_logits(features[first:last], codes)
            logits, column = joint.cpu().numpy(), 0
            for rows, width in some:
                yield logits[rows.start - first : rows.stop - first, column : column + width]
                column += width

    def _supports(self, adaptations: list[Adapt], features: Tensor, encoder_features: Tensor) -> list[Support]:
        """Features [sum S,F] of several requests, each request's behind those of its earlier examples."""
        lengths = [len(work.images) for work in adaptations]
        parts = zip(adaptations, features.split(lengths), encoder_features.split(lengths), strict=True)
        return [self._with_kept(*each) for each in parts]

    def _with_kept(self, work: Adapt, features: Tensor, encoder_features: Tensor) -> Support:
        """New features [S,F] behind those of earlier examples."""
        labels = torch.from_numpy(work.labels).to(self.device)
        earlier = work.earlier
        if earlier is None:
            return Support(features, encoder_features, labels)
        of_encoder = earlier.features if earlier.encoder_features is None else earlier.encoder_features
        before, encoder_before = (torch.from_numpy(f).to(self.device).float() for f in (earlier.features, of_encoder))
        return Support(
            torch.cat([before, features]),
            torch.cat([encoder_before, encoder_features]),
            torch.cat([torch.from_numpy(earlier.labels).to(self.device), labels]),
        )

    def _adapted(self, task: AdaptedTask, support: Support) -> Adapted:
        def compact(features: Tensor) -> NDArray[np.float16]:
            return features.half().cpu().numpy()

        support_features = SupportFeatures(
            compact(support.features),
            None if self._encoder_phi is None else compact(support.encoder_features),
            support.labels.cpu().numpy(),
        )
        return Adapted(**vars(task), support=support_features)

    def _decode(self, codes: list[NDArray[np.float32]]) -> list[Head]:
        """Codes [N,L] of tasks -> their heads, in one pass where a class's row depends on its code alone."""
        if not codes:
            return []
        lengths = [len(each) for each in codes]
        together = torch.from_numpy(codes[0] if len(codes) == 1 else np.concatenate(codes)).to(self.device)
        if self.leo.decoder.is_plain:
            rows = self.leo.decoder(together)  # [sum N, F+1]
        else:
            rows = torch.cat([self.leo.decoder(each) for each in together.split(lengths)])
        parts = zip(rows[:, :-1].split(lengths), rows[:, -1].split(lengths), strict=True)
        # Copies: a part of the whole would keep all of it in memory.
        return [Head(weight.clone(memory_format=torch.contiguous_format), bias.clone()) for weight, bias in parts]


def _joined(parts: list[NDArray[Number]]) -> NDArray[Number]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each row; 0 where there is no logit but minus infinity."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
    return shares
