"""A batch of requests on a device: gathered on the host, one copy there, one copy back, then handed out.

All that the host needs to hand results out, such as ways, labels and shots, it knows itself. So it waits for the device
once a batch.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.inference.support_features import SupportFeatures
from app.inference.work import Adapt, Adapted, Decode, Head, Predict, Predicted, Result, Work, by_row
from model.devices import use_one_thread
from model.leo import LatentEmbeddingOptimization
from model.negatives import free as free_lead
from model.serving.adapt import pad_membership
from model.serving.graphs import CudaRecorder
from model.serving.phi import NotQuantisable
from model.serving.stacked import Decodes, Queries, StackedLEO, Supports
from model.serving.transfer import to_device, to_host


class Batch(NamedTuple):
    """A batch's work by kind."""

    predictions: list[Predict]
    adaptations: list[Adapt]
    decodes: list[Decode]


class DevicePass:
    """The passes of one LEO on a device. It keeps nothing from one batch to the next."""

    keeps_heads = False
    precision = "float32"
    seconds_an_image: float | None = None  # not timed

    def __init__(self, leo: LatentEmbeddingOptimization, device: torch.device, quantise: bool | None = None) -> None:
        """Raises `NotQuantisable` if `quantise` is True."""
        _refuse_to_quantise(quantise)
        self._device, self._leo = device, StackedLEO(leo, device)
        self._config, self._background = leo.config, leo.background
        if device.type == "cpu":
            use_one_thread()
        self._own_encoder = leo.encoder.features is not None

    def record(self, image: tuple[int, ...]) -> None:
        """Record CUDA graphs for images of this shape, where there is a GPU."""
        if self._device.type == "cuda":
            self._leo.record(image, CudaRecorder())

    def begin(self, batch: list[Work]) -> Callable[[], list[Result]]:
        """Start the work of a batch, and return a function that waits for its results."""
        by_kind = Batch(
            [work for work in batch if isinstance(work, Predict)],
            [work for work in batch if isinstance(work, Adapt)],
            [work for work in batch if isinstance(work, Decode)],
        )
        arrays = to_host(self._compute(by_kind, iter(to_device(self._gather(by_kind), self._device))))

        def results() -> list[Result]:
            found = dict(self._hand_out(by_kind, iter(arrays())))
            return [found[id(work)] for work in batch]

        return results

    def _gather(self, batch: Batch) -> list[Sequence[NDArray[Any]]]:
        """Make what goes to the device, in the order in which `_compute` takes it."""
        parts: list[Sequence[NDArray[Any]]] = []
        if images := [work.images for works in (batch.predictions, batch.adaptations) for work in works]:
            parts.append(images)
        if batch.predictions:
            temperatures = [self._config.temperature_at(work.shots, work.ways) for work in batch.predictions]
            owner = np.arange(len(batch.predictions)).repeat([len(work.images) for work in batch.predictions])
            free = [free_lead(work.shots * work.ways, work.negatives) for work in batch.predictions]
            of_tasks = [[np.array(each, dtype=np.float32)] for each in (temperatures, free)]
            parts += [*_pad_codes(batch.predictions), *of_tasks, [owner]]
        if batch.adaptations:
            parts += self._gather_supports(batch.adaptations)
        if batch.decodes:
            parts += _pad_codes(batch.decodes)
        return parts

    def _gather_supports(self, works: list[Adapt]) -> list[Sequence[NDArray[Any]]]:
        labels = [_all_labels(work) for work in works]
        most = max(map(len, labels))
        of_earlier = sum(len(work.images) for work in works)  # rows of the earlier examples begin after the new ones
        padding = of_earlier + sum(len(work.earlier) for work in works if work.earlier)
        rows = np.full((len(works), most), padding)
        of_new = 0
        for row, work in zip(rows, works, strict=True):
            earlier, new = len(work.earlier) if work.earlier else 0, len(work.images)
            row[:earlier] = np.arange(of_earlier, of_earlier + earlier)
            row[earlier : earlier + new] = np.arange(of_new, of_new + new)
            of_earlier, of_new = of_earlier + earlier, of_new + new
        membership = pad_membership(labels, most, max(int(own.max()) + 1 for own in labels))
        none = np.empty((0, *self._config.example_shape), dtype=np.float16)
        held = [work.earlier for work in works if work.earlier]
        earlier_features = [none, *(one.features for one in held)]
        of_encoder = [none, *(one.features if one.encoder_features is None else one.encoder_features for one in held)]
        return [[rows], [membership], earlier_features, of_encoder]

    def _compute(self, batch: Batch, inputs: Iterator[Tensor]) -> list[Tensor]:
        """Compute everything on the device, from what `_gather` made; `_hand_out` takes the results in this order."""
        outputs: list[Tensor] = []
        queries = sum(len(work.images) for work in batch.predictions)
        if batch.predictions or batch.adaptations:
            images = next(inputs)
            features = self._leo.features(images)
        if batch.predictions:
            asked = Queries(*(next(inputs) for _ in range(5)))
            probabilities, scores = self._leo.classify(features[:queries], asked)
            outputs += [probabilities] if scores is None else [probabilities, scores]
        if batch.adaptations:
            supports = Supports(next(inputs), next(inputs), next(inputs), next(inputs))
            adapted = self._leo.adapt(images[queries:], features[queries:], supports)
            outputs += [adapted.codes, adapted.losses, adapted.hits, adapted.finite, adapted.features]
            if self._own_encoder:
                outputs.append(adapted.encoder_features)
        if batch.decodes:
            outputs.append(self._leo.decode(Decodes(next(inputs), next(inputs))))
        return outputs

    def _hand_out(self, batch: Batch, arrays: Iterator[NDArray[Any]]) -> Iterator[tuple[int, Result]]:
        """Each work's result, by the work's id. What is kept is copied, so that it does not keep its whole batch."""
        if batch.predictions:
            probabilities, at = next(arrays), 0
            known = self._known(next(arrays), batch.predictions) if self._background else None
            for predict in batch.predictions:
                own = slice(at, at + len(predict.images))
                its_known = None if known is None else known[own]
                yield id(predict), Predicted(probabilities[own, : predict.ways], None, its_known)
                at = own.stop
        if batch.adaptations:
            yield from self._hand_out_adaptations(batch.adaptations, arrays)
        if batch.decodes:
            for decode, head in zip(batch.decodes, next(arrays), strict=True):
                own = head[: len(decode.codes)]
                yield id(decode), Head(own[:, :-1].copy(), own[:, -1].copy())

    def _known(self, scores: NDArray[np.float32], works: list[Predict]) -> NDArray[np.float32]:
        assert self._background is not None  # noqa: S101, else there are no scores
        heights = [len(work.images) for work in works]
        shifts = by_row([work.shift for work in works], heights)
        return self._background.known(scores - shifts, by_row([work.shots for work in works], heights))

    def _hand_out_adaptations(
        self, works: list[Adapt], arrays: Iterator[NDArray[Any]]
    ) -> Iterator[tuple[int, Adapted]]:
        codes, losses, hits, finite, features = (next(arrays) for _ in range(5))
        encoder_features = next(arrays) if self._own_encoder else None
        at = 0
        for t, work in enumerate(works):
            labels = _all_labels(work)
            new = slice(at, at + len(work.images))
            at = new.stop
            earlier = work.earlier
            of_encoder = None
            if encoder_features is not None:
                of_encoder = _after(earlier.encoder_features if earlier else None, encoder_features[new])
            support = SupportFeatures(_after(earlier.features if earlier else None, features[new]), of_encoder, labels)
            yield (
                id(work),
                Adapted(
                    codes[t, : int(labels.max()) + 1].copy(),
                    None,
                    losses[t].tolist(),
                    float(hits[t]) / len(labels),
                    bool(finite[t]),
                    support,
                ),
            )


class PassElsewhere:
    """Stands for the pass of a model that another process computes."""

    keeps_heads = False
    precision = DevicePass.precision
    seconds_an_image: float | None = None

    def __init__(self, leo: LatentEmbeddingOptimization, quantise: bool | None = None) -> None:
        """Raises `NotQuantisable` if `quantise` is True."""
        _refuse_to_quantise(quantise)
        leo.classifier.phi.fold_batch_norm()  # as every pass does; ONNX graphs are made of it

    def begin(self, batch: list[Work]) -> Callable[[], list[Result]]:
        """Raises `RuntimeError`."""
        raise RuntimeError(f"{len(batch)} requests came to a process without their device")


def _refuse_to_quantise(quantise: bool | None) -> None:
    if quantise:
        raise NotQuantisable("phi cannot run quantised on a GPU: use float32 there, or the device cpu")


def _pad_codes(works: Sequence[Predict | Decode]) -> list[Sequence[NDArray[Any]]]:
    """Codes of several tasks -> [T,N,L], and what they are, [T,N]: 1 of a class, -1 of a negative, 0 of padding."""
    ways = max(len(work.codes) for work in works)
    codes = np.zeros((len(works), ways, works[0].codes.shape[1]), dtype=np.float32)
    for padded, work in zip(codes, works, strict=True):
        padded[: len(work.codes)] = work.codes
    present = np.zeros(codes.shape[:2], dtype=np.float32)
    for row, work in zip(present, works, strict=True):
        row[: len(work.codes)] = 1
        if isinstance(work, Predict):
            row[work.ways : len(work.codes)] = -1
    return [[codes], [present]]


def _all_labels(work: Adapt) -> NDArray[np.int64]:
    """Class numbers of a task's earlier and new examples."""
    return np.concatenate([work.earlier.labels, work.labels]) if work.earlier else work.labels


def _after(earlier: NDArray[np.float16] | None, new: NDArray[np.float16]) -> NDArray[np.float16]:
    """New features after earlier ones, in memory of their own."""
    return new.copy() if earlier is None else np.concatenate([earlier, new])
