"""A report on a support set's own labels, from its features: how well each class agrees, and suspicious examples.

Each example is classified as if it were a query: its own class is represented by the mean of the class's other
examples, every other class by its mean, and the nearest by cosine wins. An example whose own class does not win is a
suspect: its label may be wrong. A class with a single example has no others to compare it with. Its own cosine counts
as 1, so the margin only says how near the nearest other class is.

The support's cohesion is how alike the examples of a class are: the mean of their cosines to their own class.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Two examples of different classes with at least this cosine count as near-duplicates. Of pairs of different
#: characters in Omniglot's validation alphabets, fewer than one in ten thousand reach it.
DUPLICATE_COSINE = 0.97
MAX_REPORTED = 20  # most suspects, and most near-duplicates, in a report; the worst come first


@dataclass(frozen=True)
class Suspect:
    """An example that looks more like another class than like the one it is labelled with."""

    index: int  # of the example in the support set
    looks_like: int  # the other class
    margin: float  # cosine to its own class minus cosine to the other; at most 0


@dataclass(frozen=True)
class NearDuplicate:
    """Two examples of different classes that are nearly the same picture."""

    first: int  # index in the support set
    second: int
    similarity: float  # cosine


@dataclass(frozen=True)
class SupportReport:
    """What a support set's features say about its labels. The first three lists have one entry for each class.

    `margins` and `rivals` have one for each example.
    """

    agreement: list[float | None]  # share of the class's examples that are no suspects; None for a single example
    margin: list[float]  # mean over its examples of the cosine to their own class minus that to the nearest other
    nearest: list[int]  # the class that its examples are most similar to, on average, beside their own
    margins: list[float]  # cosine to its own class minus that to the nearest other
    rivals: list[int]  # the nearest other class
    suspects: list[Suspect]
    near_duplicates: list[NearDuplicate]
    cohesion: float | None  # mean cosine of an example to its own class; None if no class has several


def report_on_support(features: NDArray[np.floating], labels: NDArray[np.int64]) -> SupportReport:
    """Report on features [S,F] with labels [S] in 0..N-1. There must be at least 2 classes, each with an example."""
    unit = _normalise(features.astype(np.float32))  # [S, F]
    # Everything below follows from the cosines. They are far fewer numbers than the features.
    cosines = unit @ unit.T  # [S, S]
    ways, examples = int(labels.max()) + 1, np.arange(len(labels))
    membership = np.eye(ways, dtype=np.float32)[labels]  # [S, N]
    shots = membership.sum(axis=0)  # [N]
    to_sums = cosines @ membership  # [S, N], each example's product with the sum of each class's examples
    squares = (membership * to_sums).sum(axis=0)  # [N], squared lengths of the sums
    to_class = to_sums / _positive_root(squares)  # [S, N], cosines to the class means
    alone = shots[labels] == 1  # [S]
    to_own, itself = to_sums[examples, labels], cosines.diagonal()  # [S], [S]
    # The cosine to the mean of the class's other examples: the example is taken out of the sum and of its length.
    to_rest = (to_own - itself) / _positive_root(squares[labels] - 2 * to_own + itself)  # [S]
    own = np.where(alone, 1.0, to_rest)  # [S]
    others = to_class.copy()
    others[examples, labels] = -np.inf
    rival = others.argmax(axis=1)  # [S]
    margin = own - others[examples, rival]  # [S]

    recognised = (margin > 0).astype(np.float32)
    agreement = (membership.T @ recognised) / shots  # [N]
    margins = (membership.T @ margin) / shots  # [N]
    similarity = membership.T @ np.where(np.isfinite(others), others, 0)  # [N, N]
    np.fill_diagonal(similarity, -np.inf)
    suspects = [int(i) for i in np.argsort(margin, kind="stable") if margin[i] <= 0 and not alone[i]]
    return SupportReport(
        agreement=[None if shots[n] == 1 else float(agreement[n]) for n in range(ways)],
        margin=[float(m) for m in margins],
        nearest=[int(n) for n in similarity.argmax(axis=1)],
        margins=[float(m) for m in margin],
        rivals=[int(n) for n in rival],
        suspects=[Suspect(i, int(rival[i]), float(margin[i])) for i in suspects[:MAX_REPORTED]],
        near_duplicates=_near_duplicates(cosines, labels),
        cohesion=None if alone.all() else float(to_rest[~alone].mean().clip(-1, 1)),
    )


def _near_duplicates(cosines: NDArray[np.float32], labels: NDArray[np.int64]) -> list[NearDuplicate]:
    """Find pairs of different classes with nearly the same features, from the cosines [S,S], the most similar first.

    A thousand equal pictures are half a million such pairs, so those that are not reported are never sorted.
    """
    similar = np.triu(cosines >= DUPLICATE_COSINE, k=1) & (labels[:, None] != labels[None, :])
    values = cosines[similar]  # [P]
    chosen = np.arange(len(values))
    if len(values) > MAX_REPORTED:
        least = np.partition(values, -MAX_REPORTED)[-MAX_REPORTED]
        higher = np.flatnonzero(values > least)
        chosen = np.sort(np.concatenate([higher, np.flatnonzero(values == least)[: MAX_REPORTED - len(higher)]]))
    chosen = chosen[np.argsort(-values[chosen], kind="stable")]
    first, second = (each[chosen] for each in np.nonzero(similar))
    return [NearDuplicate(int(i), int(j), float(cosines[i, j])) for i, j in zip(first, second, strict=True)]


def _normalise(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each row to length 1; rows of zeros stay zeros."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float32] = rows / np.maximum(length, np.float32(1e-12))
    return unit


def _positive_root(squares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take square roots, kept above 0 so that they can be divided by."""
    lengths: NDArray[np.float32] = np.sqrt(np.maximum(squares, np.float32(1e-12)))
    return lengths
