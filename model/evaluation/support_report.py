"""What a support set's features say of its own labels: which classes hold together, which examples do not belong.

Each example is asked about as if it were a query: its class is represented by the mean of the other
examples of that class, every other class by its own mean, and cosines are compared. An example whose
own class is not the nearest is a suspect. A class of one example has nothing left to compare it with;
there the margin says only how far its nearest rival is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Cosine from which two examples of different classes are taken for the same drawing. Of pairs of different
#: characters in Omniglot's validation alphabets, fewer than one in ten thousand come so near.
SAME = 0.97
MOST = 20  # suspects and pairs named at most, worst first


@dataclass(frozen=True)
class Suspect:
    """An example that looks like another class than the one it is labelled with."""

    index: int  # of the example
    looks_like: int  # the class
    margin: float  # cosine with its own class less that with the other, below 0


@dataclass(frozen=True)
class SimilarPair:
    """Two examples of different classes that are nearly the same drawing."""

    first: int
    second: int
    similarity: float  # cosine


@dataclass(frozen=True)
class Quality:
    """A support set's report on itself. The lists have one entry a class."""

    agreement: list[float | None]  # share of its examples that the others recognise; None for a single example
    margin: list[float]  # mean over its examples: nearness to their own class less that to the nearest other
    nearest: list[int]  # the class it is most easily taken for
    suspects: list[Suspect]
    near_duplicates: list[SimilarPair]


def examine(features: NDArray[np.floating], labels: NDArray[np.int64]) -> Quality:
    """Features [S,F] and labels [S] in 0..N-1, every class at least once, N at least 2 -> the report."""
    unit = _unit(features.astype(np.float32))  # [S, F]
    cosines = unit @ unit.T  # [S, S], from which all else follows: the features are many more numbers
    ways, examples = int(labels.max()) + 1, np.arange(len(labels))
    membership = np.eye(ways, dtype=np.float32)[labels]  # [S, N]
    shots = membership.sum(axis=0)  # [N]
    to_sums = cosines @ membership  # [S, N], products with the sum of each class
    squares = (membership * to_sums).sum(axis=0)  # [N], of the sums' lengths
    to_class = to_sums / _root(squares)  # [S, N]
    alone = shots[labels] == 1  # [S]
    to_own, itself = to_sums[examples, labels], cosines.diagonal()  # [S], [S]
    to_rest = (to_own - itself) / _root(squares[labels] - 2 * to_own + itself)  # [S], each's class without it
    own = np.where(alone, 1.0, to_rest)  # [S]
    others = to_class.copy()
    others[examples, labels] = -np.inf
    rival = others.argmax(axis=1)  # [S]
    margin = own - others[examples, rival]  # [S]

    right = (margin > 0).astype(np.float32)
    agreement = (membership.T @ right) / shots  # [N]
    margins = (membership.T @ margin) / shots  # [N]
    votes = membership.T @ np.where(np.isfinite(others), others, 0)  # [N, N]
    np.fill_diagonal(votes, -np.inf)
    doubted = [int(i) for i in np.argsort(margin, kind="stable") if margin[i] <= 0 and not alone[i]]
    return Quality(
        agreement=[None if shots[n] == 1 else float(agreement[n]) for n in range(ways)],
        margin=[float(m) for m in margins],
        nearest=[int(n) for n in votes.argmax(axis=1)],
        suspects=[Suspect(i, int(rival[i]), float(margin[i])) for i in doubted[:MOST]],
        near_duplicates=_similar_pairs(cosines, labels),
    )


def _similar_pairs(cosines: NDArray[np.float32], labels: NDArray[np.int64]) -> list[SimilarPair]:
    """Pairs by their cosines [S,S]."""
    alike = np.triu(cosines >= SAME, k=1) & (labels[:, None] != labels[None, :])
    pairs = sorted(zip(*np.nonzero(alike), strict=True), key=lambda pair: -cosines[pair])
    return [SimilarPair(int(i), int(j), float(cosines[i, j])) for i, j in pairs[:MOST]]


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float32] = rows / np.maximum(length, np.float32(1e-12))
    return unit


def _root(squares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lengths to divide by."""
    lengths: NDArray[np.float32] = np.sqrt(np.maximum(squares, np.float32(1e-12)))
    return lengths
