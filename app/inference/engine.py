"""The model on its device: one pass over a batch of requests. Its methods block; one thread at a time calls them."""

import math
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, TypeVar

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

JOINT_REQUESTS = 32  # requests whose features meet each other's heads in one product
DECODE_FLOPS = 2e10  # a second, on a slow core: to tell whether decoding heads is quick
Number = TypeVar("Number", bound=np.generic)


class Place(NamedTuple):
    """Where a request's logits are in those of its batch: its rows, and how many classes its task has."""

    rows: slice
    ways: int


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device, or the machine, had too little memory for a batch."""
    on_cpu = any(sign in str(error) for sign in ("DefaultCPUAllocator", "Failed to allocate memory"))
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or on_cpu


def release_memory() -> None:
    """Return to the device what the allocator keeps for later."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Engine:
    """A LEO, and the passes over it that requests share."""

    def __init__(
        self,
        weights: Path,
        device: str = "auto",
        cores_are_free: Callable[[], bool] = always_free,
        quantise: bool | None = None,
    ) -> None:
        """Load a model folder. On a CPU one call spreads over all cores where `cores_are_free`.

        `quantise` phi to 8 bits, or not; None: where the CPU is made for it, see `model.serving.phi`. Raises
        `CheckpointError`, `BackboneError`, or `ValueError` for a device or a precision that is not there.
        """
        self.device = choose(device)
        self.info = read_info(weights)
        self.leo = LatentEmbeddingOptimization.from_pretrained(weights, self.device)
        self.read = reader(self.info.config)
        side = self.info.config.resolution
        self._phi = fastest_phi(self.leo.classifier.phi, side, self.device, cores_are_free, quantise=quantise)
        own = self.leo.encoder.features
        self._encoder_phi = (
            None if own is None else fastest_phi(own, side, self.device, cores_are_free, quantise=quantise)
        )
        self._adapter = Adapter(self.leo)
        self._head_logits = head_logits(self._adapter, self.device)
        self._decoder_size = sum(parameter.numel() for parameter in self.leo.decoder.parameters())
        self.one_by_one = self.device.type == "cpu"  # requests' heads: on a CPU a call costs less than copying a head
        if self.device.type == "cpu":
            torch.set_num_threads(1)  # PyTorch's part is small here: waking threads would cost more than they save

    @property
    def phi_precision(self) -> str:
        """ "int8" or "float32"."""
        return self._phi.precision

    @property
    def seconds_an_image(self) -> float | None:
        """What phi takes for an image, where it was timed."""
        return self._phi.seconds_an_image if isinstance(self._phi, OnnxPhi) else None

    def seconds(self, work: Work) -> float:
        """About how long work takes on its own; infinite where phi was not timed."""
        each = self.seconds_an_image
        if each is None:
            return math.inf
        if isinstance(work, Decode):
            return 2 * self._decoder_size * len(work.codes) / DECODE_FLOPS
        if isinstance(work, Predict):
            return len(work.images) * each
        passes = 1 if self._encoder_phi is None else 2
        return (passes * len(work.images) + (len(work.earlier) if work.earlier else 0)) * each

    @property
    def takes_drawings(self) -> bool:
        """Whether the model is for drawings; else it is for photos."""
        return self.info.config.pretrained is None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an image: [R,R], or [R,R,3] for photos."""
        side = self.info.config.resolution
        return (side, side) if self.takes_drawings else (side, side, 3)

    def run(self, batch: list[Work]) -> list[Result]:
        """Do all work of a batch: phi once over all images, one inner loop over all tasks."""
        with torch.inference_mode():
            return self._run(batch)

    def _run(self, batch: list[Work]) -> list[Result]:
        with_head: list[Predict] = []
        without_head: list[Predict] = []
        for work in batch:
            if isinstance(work, Predict):
                needs_head = work.head or work.decode or not self.leo.decoder.is_plain
                (with_head if needs_head else without_head).append(work)
        adaptations = [work for work in batch if isinstance(work, Adapt)]
        undecoded = [work for work in batch if isinstance(work, Decode)] + [work for work in with_head if not work.head]
        heads = dict(zip(map(id, undecoded), self._decode([work.codes for work in undecoded]), strict=True))
        images = [work.images for works in (with_head, without_head, adaptations) for work in works]

        encoder_pass = None
        if self._encoder_phi is not None and adaptations:
            encoder_pass = self._encoder_phi.begin(_joined([work.images for work in adaptations]))
        features = self._phi(_joined(images)) if images else torch.empty(0)  # [B, F]
        first, second = (sum(len(work.images) for work in works) for works in (with_head, without_head))
        support_features = features[first + second :]
        encoder_features = support_features if encoder_pass is None else encoder_pass()
        supports = self._supports(adaptations, support_features, encoder_features) if adaptations else []
        adapted = self._adapter.adapt(supports) if supports else []

        results: dict[int, Result] = {**heads}
        for works, theirs in ((with_head, features[:first]), (without_head, features[first : first + second])):
            own_heads = [work.head or heads.get(id(work)) for work in works]
            results.update(zip(map(id, works), self._predict(works, theirs, own_heads), strict=True))
        for work, task, support in zip(adaptations, adapted, supports, strict=True):
            results[id(work)] = self._adapted(task, support)
        return [results[id(work)] for work in batch]

    def _predict(self, works: list[Predict], features: Tensor, heads: list[Head | None]) -> list[Predicted]:
        """Features [B,F] of all requests' images and each task's head, or no heads at all -> probabilities [Q,N]."""
        if not works:
            return []
        heights = [len(work.images) for work in works]
        places = [
            Place(slice(end - height, end), len(work.codes))
            for work, height, end in zip(works, heights, accumulate(heights), strict=True)
        ]
        logits = np.full((len(features), max(place.ways for place in places)), -np.inf, dtype=np.float32)  # [B, most N]
        for (rows, ways), own in zip(places, self._logits(features, works, heads, places), strict=True):
            logits[rows, :ways] = own
        by_request = [self.leo.config.temperature_at(work.shots, len(work.codes)) for work in works]
        temperatures = np.repeat(np.array(by_request, dtype=np.float32), heights)  # [B]
        probabilities = softmax(logits / temperatures[:, None])  # [B, most N]
        return [Predicted(probabilities[rows, :ways], head) for (rows, ways), head in zip(places, heads, strict=True)]

    def _logits(
        self, features: Tensor, works: list[Predict], heads: list[Head | None], places: list[Place]
    ) -> Iterator[NDArray[np.float32]]:
        """The logits [Q,N] of each request in turn, by its head or, where there are no heads, from its codes."""
        if heads[0] and self.one_by_one:
            queries = features.numpy()
            for (rows, _), head in zip(places, heads, strict=True):
                if head:
                    yield queries[rows] @ head.weight.numpy().T + head.bias.numpy()
            return
        # One product of several requests' features with the classes of all of them; each keeps its own block. That is
        # more arithmetic in far fewer calls, and calls are what it would wait for.
        for at in range(0, len(works), JOINT_REQUESTS):
            group = places[at : at + JOINT_REQUESTS]
            first, last = group[0].rows.start, group[-1].rows.stop
            group_heads = [head for head in heads[at : at + JOINT_REQUESTS] if head]
            if group_heads:
                weight = torch.cat([head.weight for head in group_heads])
                bias = torch.cat([head.bias for head in group_heads])
                joint = torch.addmm(bias, features[first:last], weight.T)  # [group Q, group N]
            else:
                codes = torch.from_numpy(_joined([work.codes for work in works[at : at + JOINT_REQUESTS]]))
                joint = self._head_logits(features[first:last], codes.to(self.device))
            logits, column = joint.cpu().numpy(), 0
            for rows, ways in group:
                yield logits[rows.start - first : rows.stop - first, column : column + ways]
                column += ways

    def _supports(self, works: list[Adapt], features: Tensor, encoder_features: Tensor) -> list[Support]:
        """New support features [sum S,F] of several requests -> each request's support set, earlier examples first."""
        lengths = [len(work.images) for work in works]
        parts = zip(works, features.split(lengths), encoder_features.split(lengths), strict=True)
        return [self._with_earlier(*each) for each in parts]

    def _with_earlier(self, work: Adapt, features: Tensor, encoder_features: Tensor) -> Support:
        """New features [S,F] after those of the task's earlier examples."""
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
        """Codes [N,L] of several tasks -> their heads, in one pass where a row depends on its class's code alone."""
        if not codes:
            return []
        lengths = [len(each) for each in codes]
        together = torch.from_numpy(_joined(codes)).to(self.device)
        if self.leo.decoder.is_plain:
            rows = self.leo.decoder(together)  # [sum N, F+1]
        else:
            rows = torch.cat([self.leo.decoder(each) for each in together.split(lengths)])
        parts = zip(rows[:, :-1].split(lengths), rows[:, -1].split(lengths), strict=True)
        # Copies: a view would keep all rows in memory.
        return [Head(weight.clone(memory_format=torch.contiguous_format), bias.clone()) for weight, bias in parts]


def _joined(parts: list[NDArray[Number]]) -> NDArray[Number]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of each row's logits; 0 where a logit is minus infinity."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities
