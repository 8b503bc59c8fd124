"""A task's examples as the store keeps them: features instead of pictures, each with a number that stays its own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from app.inference.support_features import SupportFeatures
from app.problems import Problem
from app.store import TaskRecord
from app.store.errors import DamagedRecord


@dataclass(frozen=True)
class Examples:
    """Examples in the order they were sent. A removed one's number is never given to another."""

    support: SupportFeatures
    numbers: NDArray[np.int64]  # [S], ascending
    next_number: int  # of the example that is added next

    def __len__(self) -> int:
        return len(self.numbers)

    def place_of(self, number: int) -> int:
        """Where the example with this number stands. Raises `Problem` 404."""
        if not 0 <= number < self.next_number:  # it may be larger than any that numpy has
            raise no_such_example()
        place = int(np.searchsorted(self.numbers, number))
        if place == len(self) or self.numbers[place] != number:
            raise no_such_example()
        return place

    def labels(self, classes: Sequence[str]) -> list[str]:
        """Each example's label, for a task's classes in their order."""
        return [classes[number] for number in self.support.labels.tolist()]

    def with_labels(self, labels: Sequence[str], classes: Sequence[str]) -> tuple[dict[str, int], "Examples"]:
        """Examples under other labels: the shots of each class, and the examples.

        Classes keep the order of `classes`; those without examples go, and new ones follow in the order of `labels`.
        """
        present = set(labels)
        shots = dict.fromkeys((label for label in (*classes, *labels) if label in present), 0)
        for label in labels:
            shots[label] += 1
        place = {label: number for number, label in enumerate(shots)}
        numbered = np.array([place[label] for label in labels], dtype=np.int64)
        return shots, replace(self, support=replace(self.support, labels=numbered))

    def without(self, place: int) -> "Examples":
        """All examples but the one that stands at this place."""
        features, of_encoder = self.support.features, self.support.encoder_features
        support = SupportFeatures(
            np.delete(features, place, axis=0),
            None if of_encoder is None else np.delete(of_encoder, place, axis=0),
            np.delete(self.support.labels, place),
        )
        return replace(self, support=support, numbers=np.delete(self.numbers, place))


def no_such_example() -> Problem:
    """The 404 for an example that was never there, or has been removed."""
    return Problem(404, "the task has no such example: GET /tasks/{id}/support lists those that it has")


def numbered(support: SupportFeatures, earlier: Examples | None = None) -> Examples:
    """Number examples: those of `earlier`, with which `support` begins, as before, and the others after them."""
    before, following = (earlier.numbers, earlier.next_number) if earlier else (np.empty(0, dtype=np.int64), 0)
    added = len(support) - len(before)
    return Examples(support, np.concatenate([before, following + np.arange(added)]), following + added)


def pack(examples: Examples) -> bytes:
    """Pack examples into safetensors bytes; numbers only if one was ever removed."""
    support = examples.support
    tensors: dict[str, NDArray[np.generic]] = {
        "features": support.features,
        "labels": support.labels.astype(np.int16),
    }
    if support.encoder_features is not None:
        tensors["encoder_features"] = support.encoder_features
    if examples.next_number > len(examples):
        tensors["numbers"] = np.append(examples.numbers, examples.next_number)
    return save(tensors)


def unpack(payload: bytes, record: TaskRecord) -> Examples:
    """Read what `pack` wrote of this task. Raises `DamagedRecord`."""
    try:
        tensors = load(payload)
        labels, numbers = tensors["labels"], tensors.get("numbers")
        if any(each is not None and each.dtype.kind != "i" for each in (labels, numbers)):
            raise ValueError("labels or numbers that are no integers")
        support = SupportFeatures(tensors["features"], tensors.get("encoder_features"), labels.astype(np.int64))
        examples = numbered(support) if numbers is None else Examples(support, numbers[:-1], int(numbers[-1]))
        _check(examples, list(record.shots.values()))
    except (SafetensorError, KeyError, ValueError, TypeError, IndexError) as error:
        raise DamagedRecord(
            f"the stored examples of task {record.task_id} are damaged: delete the task and create it again"
        ) from error
    return examples


def _check(examples: Examples, shots: list[int]) -> None:
    """Check that examples have so many of each class, and numbers that ascend. Raises `ValueError`."""
    labels, numbers = examples.support.labels, examples.numbers
    if labels.ndim != 1 or not len(labels) or not 0 <= labels.min() <= labels.max() < len(shots):
        raise ValueError("labels of no class")
    if not np.array_equal(np.bincount(labels, minlength=len(shots)), shots):
        raise ValueError("other shots than the task has")
    if len(examples.support.features) != len(labels) or numbers.shape != labels.shape or numbers.dtype != np.int64:
        raise ValueError("tensors of other shapes")
    if (np.diff(numbers, append=examples.next_number) <= 0).any() or numbers[0] < 0:
        raise ValueError("numbers that do not ascend")
