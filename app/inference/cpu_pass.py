"""A batch of requests on a CPU: phi once over all images, then each request by its own head, kept from before."""

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.inference.support_features import SupportFeatures
from app.inference.work import Adapt, Adapted, Decode, Head, Images, Predict, Predicted, Result, Work, by_row
from model.devices import use_one_thread
from model.leo import LatentEmbeddingOptimization
from model.negatives import losses_of_logits
from model.serving.adapt import AdaptedTask, Adapter, Support
from model.serving.head_logits import head_logits
from model.serving.phi import OnnxPhi, Phi, fastest_phi
from model.serving.task_background import code_scale

VIEWED_AT_ONCE = 64  # support images; the copies of so many share a call of phi with all other images
JOINT_REQUESTS = 32  # requests without a head whose features meet each other's codes in one product
Number = TypeVar("Number", bound=np.generic)


class Place(NamedTuple):
    """Where a request's logits are in those of its batch: its rows, and its task's classes and negatives."""

    rows: slice
    ways: int
    negatives: int


class CpuPass:
    """The passes of one LEO on a CPU, where a call costs less than copying a head."""

    keeps_heads = True

    def __init__(
        self, leo: LatentEmbeddingOptimization, side: int, cores_are_free: Callable[[], bool], quantise: bool | None
    ) -> None:
        """Time phi for images of `side` pixels; the arguments are those of `model.serving.phi.fastest_phi`."""
        device = torch.device("cpu")
        self._leo = leo
        self.phi: Phi = fastest_phi(leo.classifier.phi, side, device, cores_are_free, quantise=quantise)
        own = leo.encoder.features
        self._encoder_phi = None if own is None else fastest_phi(own, side, device, cores_are_free, quantise=quantise)
        self._adapter = Adapter(leo)
        self._head_logits = head_logits(self._adapter, device)
        self._background = leo.background
        self._background_of_codes = leo.background  # for logits that were taken from codes
        if leo.background is not None and leo.decoder.is_plain:
            self._background_of_codes = leo.background.less(self._adapter.common_head().numpy())
        self._code_scale = code_scale(leo)
        use_one_thread()

    @property
    def precision(self) -> str:
        """In which phi computes: `int8` or `float32`."""
        return self.phi.precision

    @property
    def seconds_an_image(self) -> float | None:
        """What phi takes for an image, where it was timed."""
        return self.phi.seconds_an_image if isinstance(self.phi, OnnxPhi) else None

    def begin(self, batch: list[Work]) -> Callable[[], list[Result]]:
        """Do all work of a batch; the function returned only hands out the results."""
        results = self._run(batch)
        return lambda: results

    def _run(self, batch: list[Work]) -> list[Result]:
        with_head: list[Predict] = []
        without_head: list[Predict] = []
        for work in batch:
            if isinstance(work, Predict):
                needs_head = work.head or work.decode or not self._leo.decoder.is_plain
                (with_head if needs_head else without_head).append(work)
        adaptations = [work for work in batch if isinstance(work, Adapt)]
        undecoded = [work for work in batch if isinstance(work, Decode)] + [work for work in with_head if not work.head]
        heads = dict(zip(map(id, undecoded), self._decode([work.codes for work in undecoded]), strict=True))
        images = [work.images for works in (with_head, without_head, adaptations) for work in works]
        supported = [work.images for work in adaptations]
        examples = sum(map(len, supported))
        if adaptations and examples <= VIEWED_AT_ONCE:
            images.append(self._copies(_joined(supported)))

        encoder_pass = None
        if self._encoder_phi is not None and adaptations:
            encoder_pass = self._encoder_phi.begin(_joined([work.images for work in adaptations]))
        features = self.phi(_joined(images)) if images else torch.empty(0)  # [B, F]
        first, second = (sum(len(work.images) for work in works) for works in (with_head, without_head))
        support_features, of_copies = features[first + second :].tensor_split([examples])
        if examples > VIEWED_AT_ONCE:
            of_copies = self._features_of_copies(_joined(supported))
        if adaptations:
            support_features = self._leo.views.join(support_features, of_copies)
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

    def _copies(self, images: Images) -> Images:
        """All copies of support images, [B copies,R,R] or [B copies,R,R,3]."""
        writable = images.copy()  # PyTorch warns of arrays that are not, as those of another process
        return self._leo.views.of_bytes(torch.from_numpy(writable)).numpy()

    def _features_of_copies(self, images: Images) -> Tensor:
        """The features of all copies of many support images, [B copies,F]; some at a time to bound memory."""
        starts = range(0, len(images), VIEWED_AT_ONCE)
        return torch.cat([self.phi(self._copies(images[at : at + VIEWED_AT_ONCE])) for at in starts])

    def _predict(self, works: list[Predict], features: Tensor, heads: list[Head | None]) -> list[Predicted]:
        """Classify all requests' features [B,F], by each task's head or, where no work has one, by its codes."""
        if not works:
            return []
        heights = [len(work.images) for work in works]
        places = [
            Place(slice(end - height, end), work.ways, work.negatives)
            for work, height, end in zip(works, heights, accumulate(heights), strict=True)
        ]
        logits = np.full((len(features), max(place.ways for place in places)), -np.inf, dtype=np.float32)  # [B, most N]
        background = self._background if heads[0] else self._background_of_codes
        beside: NDArray[np.float32] | None = None  # [B], logits of negatives that join the background
        lost: NDArray[np.float32] | None = None  # [B], what other negatives take off the scores
        each_logits = self._logits(features, works, heads, places)
        for work, (rows, ways, negatives), own in zip(works, places, each_logits, strict=True):
            logits[rows, :ways] = own[:, :ways]
            if negatives and background and self._code_scale is not None:
                lost = np.zeros(len(features), dtype=np.float32) if lost is None else lost
                lost[rows] = losses_of_logits(own, work.codes, ways, work.shots * ways, self._code_scale)
            elif negatives and background:
                beside = np.full(len(features), -np.inf, dtype=np.float32) if beside is None else beside
                beside[rows] = background.of_negatives(own[:, ways:])
        highest = logits.max(axis=1)  # [B]
        temperatures = by_row([self._leo.config.temperature_at(work.shots, work.ways) for work in works], heights)
        probabilities = softmax(logits, highest, temperatures)  # [B, most N]
        known = None
        if background:
            normalised = self._leo.config.normalise_features
            scores = background.score(features.numpy(), highest, beside, normalised=normalised)  # [B]
            if lost is not None:
                scores -= lost
            shifts = by_row([work.shift for work in works], heights)
            known = background.known(scores - shifts, by_row([work.shots for work in works], heights))  # [B]
        return [
            Predicted(probabilities[rows, :ways], head, None if known is None else known[rows])
            for (rows, ways, _), head in zip(places, heads, strict=True)
        ]

    def _logits(
        self, features: Tensor, works: list[Predict], heads: list[Head | None], places: list[Place]
    ) -> Iterator[NDArray[np.float32]]:
        """The logits [Q,N+M] of each request in turn, by its head or, where there are no heads, from its codes."""
        if heads[0]:
            queries = features.numpy()
            for (rows, *_), head in zip(places, heads, strict=True):
                if head:
                    yield queries[rows] @ head.weight.T + head.bias
            return
        # One product of several requests' features with the classes of all of them; each keeps its own block. That is
        # more arithmetic in far fewer calls, and calls are what it would wait for.
        for at in range(0, len(works), JOINT_REQUESTS):
            group = places[at : at + JOINT_REQUESTS]
            first, last = group[0].rows.start, group[-1].rows.stop
            codes = torch.from_numpy(_joined([work.codes for work in works[at : at + JOINT_REQUESTS]]))
            logits, column = self._head_logits(features[first:last], codes).numpy(), 0  # [group Q, group N]
            for rows, ways, negatives in group:
                yield logits[rows.start - first : rows.stop - first, column : column + ways + negatives]
                column += ways + negatives

    def _supports(self, works: list[Adapt], features: Tensor, encoder_features: Tensor) -> list[Support]:
        """New support features [sum S,...] of several requests -> each one's support set, earlier examples first."""
        lengths = [len(work.images) for work in works]
        parts = zip(works, features.split(lengths), encoder_features.split(lengths), strict=True)
        return [self._with_earlier(*each) for each in parts]

    def _with_earlier(self, work: Adapt, features: Tensor, encoder_features: Tensor) -> Support:
        """New features [S,F] or [S,V,F] after those of the task's earlier examples."""
        earlier = work.earlier
        if earlier is None:
            return Support(features, encoder_features, work.labels)
        of_encoder = earlier.features if earlier.encoder_features is None else earlier.encoder_features
        before, encoder_before = (torch.from_numpy(f).float() for f in (earlier.features, of_encoder))
        return Support(
            torch.cat([before, features]),
            torch.cat([encoder_before, encoder_features]),
            np.concatenate([earlier.labels, work.labels]),
        )

    def _adapted(self, task: AdaptedTask, support: Support) -> Adapted:
        def compact(features: Tensor) -> NDArray[np.float16]:
            return features.half().numpy()

        support_features = SupportFeatures(
            compact(support.features),
            None if self._encoder_phi is None else compact(support.encoder_features),
            support.labels,
        )
        head = Head(task.weight.numpy(), task.bias.numpy())
        return Adapted(task.codes.numpy(), head, task.losses, task.support_accuracy, task.is_finite, support_features)

    def _decode(self, codes: list[NDArray[np.float32]]) -> list[Head]:
        """Codes [N,L] of several tasks -> their heads, in one pass where a row depends on its class's code alone."""
        if not codes:
            return []
        lengths = [len(each) for each in codes]
        together = torch.from_numpy(_joined(codes))
        if self._leo.decoder.is_plain:
            rows = self._leo.decoder(together)  # [sum N, F+1]
        else:
            rows = torch.cat([self._leo.decoder(each) for each in together.split(lengths)])
        parts = zip(rows[:, :-1].split(lengths), rows[:, -1].split(lengths), strict=True)
        # Copies: a view would keep all rows in memory.
        return [Head(weight.numpy().copy(), bias.numpy().copy()) for weight, bias in parts]


def _joined(parts: list[NDArray[Number]]) -> NDArray[Number]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def softmax(
    logits: NDArray[np.float32], highest: NDArray[np.float32], temperature: NDArray[np.float32] | float
) -> NDArray[np.float32]:
    """Probabilities of each row's logits [B,N], whose highest are `highest` [B]; 0 where a logit is minus infinity."""
    powers = logits - highest[:, None]
    powers /= temperature[:, None] if isinstance(temperature, np.ndarray) else temperature
    np.exp(powers, out=powers)
    powers /= powers.sum(axis=1, keepdims=True)
    return powers
