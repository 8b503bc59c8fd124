"""Background classes, which a picture is compared with to tell whether it is of its task at all.

A softmax over a task's classes must choose one of them, so its probabilities say nothing of pictures of other classes.
A model therefore brings the heads of a few other classes. A picture that fits one of them as well as it fits the task's
best class is probably of neither. In speaker verification scores are normalised by a cohort of other speakers for the
same reason. Nothing more is needed of a task than its head, so every task that was ever stored has a score.

The pictures of some tasks score higher than those of others, and the support tells which. Scores rise with those of the
examples themselves, which are high where classes are many and look little alike; single drawings do not tell that.
Where a class has several drawings, scores also rise with how alike these are. So `known` is calibrated for tasks of any
cohesion and of any score of their own examples, see `shift`.

A task may have negatives: examples of what is none of its classes. Those of drawings join its background, and weigh
together as much as one class of it, however many they are: so pictures that are not like them keep their scores. Those
of photos lower scores as `model.negatives` has it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

MOST_KEPT = 256  # numbers of shots whose quantiles are kept
LARGEST_EXPONENT = 85  # of e in float32, less a margin
LEAST_GAP = 1e-6  # between two scores, so that dividing by it is safe


@dataclass(frozen=True, eq=False)
class Background:
    """Heads of B background classes, and how the scores of pictures of a task's own classes are distributed.

    A picture's score is max_n l_n / T - log sum_b exp(l_b / T), of its logits l by the task's classes n and by the
    background classes b. These are the log-odds of the task's best class against all of the background, in one softmax
    of temperature T.
    """

    heads: NDArray[np.float32]  # [B, F+1], weights and bias
    temperature: float  # T
    shots: NDArray[np.float32]  # [K], rising: mean examples of a class in the tasks that were measured
    levels: NDArray[np.float32]  # [P], rising from 0 to 1
    # [K, P]: scores, less their task's shift, below which the share `levels` of own pictures are
    quantiles: NDArray[np.float32]
    # [K, 4]: how fast scores rise with a task's cohesion, and its mean, least and largest value where it was measured
    by_cohesion: NDArray[np.float32] | None = None
    # The same by the score of a task's own examples, less what cohesion explains. Photos have this alone.
    by_own_score: NDArray[np.float32] | None = None

    @cached_property
    def _scaled(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weights [F,B] and bias [B] divided by the temperature."""
        scaled = self.heads / np.float32(self.temperature)
        return np.ascontiguousarray(scaled[:, :-1].T), np.ascontiguousarray(scaled[:, -1])

    @cached_property
    def _factors(self) -> NDArray[np.float32] | None:
        """The exponential of the bias [B]; None if that of logits of features of length 1 may be too large or small."""
        weight, bias = self._scaled
        largest = np.linalg.norm(weight, axis=0).max() + np.abs(bias).max() + np.log(len(bias))
        return np.exp(bias) if largest < LARGEST_EXPONENT else None

    def score(
        self,
        features: NDArray[np.float32],
        best: NDArray[np.float32],
        of_negatives: NDArray[np.float32] | None = None,
        *,
        normalised: bool = False,
    ) -> NDArray[np.float32]:
        """Compute the scores [Q] of features [Q,F] whose highest logit among the task's classes is `best` [Q].

        `of_negatives` [Q] is what the function of that name gives, minus infinity for tasks without negatives.
        `normalised`: each query's features have length 1, which saves half of the time.
        """
        weight, bias = self._scaled
        logits = features @ weight  # [Q, B], without their bias
        if normalised and self._factors is not None:
            beside = np.log(np.exp(logits, out=logits) @ self._factors)  # [Q]
        else:
            logits += bias
            highest = logits.max(axis=1)
            beside = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
        if of_negatives is not None:
            beside = np.logaddexp(beside, of_negatives)
        scores: NDArray[np.float32] = best / np.float32(self.temperature) - beside
        return scores

    def of_negatives(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sum up logits [Q,M] by a task's negatives for `score`: [Q]."""
        scaled = logits / np.float32(self.temperature)
        together: NDArray[np.float32] = np.logaddexp.reduce(scaled, axis=1) - np.float32(np.log(logits.shape[1]))
        return together

    def joined_by(self, heads: NDArray[np.float32]) -> Self:
        """Add the heads [M,F+1] of a task's negatives, perhaps none: the background of that task alone."""
        weighed = heads.copy()
        weighed[:, -1] -= self.temperature * np.log(max(1, len(heads)))
        return replace(self, heads=np.concatenate([self.heads, weighed]))

    def own_score(
        self,
        features: NDArray[np.float32],
        labels: NDArray[np.int64],
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
    ) -> float:
        """The mean score of a task's own examples [S,F] of classes [S], each by its own class's row of the head."""
        by_own_class = np.einsum("sf,sf->s", features, weight[labels]) + bias[labels]  # [S]
        return float(self.score(features, by_own_class).mean())

    def shift(self, shots: float, cohesion: float | None, own_score: float | None = None) -> float:
        """How much higher than usual the pictures of a task's own classes score, to be taken off their scores.

        `cohesion` is that of the task's support, see `model.evaluation.support_report`. It is None where classes have a
        single example. `own_score` is what the function of that name gives. Tasks that were made before it was kept
        lack it: their cohesion alone counts. With a model that knows no cohesion they count as the tasks that score
        lowest, so that no task loses too many of its own pictures.
        """
        of_one, shift = self._of_one(shots), 0.0
        if of_one.by_cohesion is not None and cohesion is not None:
            shift += shift_at(of_one.by_cohesion, cohesion)
        if of_one.by_own_score is not None:
            if own_score is not None:
                shift += shift_at(of_one.by_own_score, own_score)
            elif of_one.by_cohesion is None:
                shift += shift_at(of_one.by_own_score, -np.inf)
        return shift

    def takes_own_score(self, shots: float) -> bool:
        """Whether the shift of a task depends on its `own_score`, by the mean number of examples of a class."""
        by_own_score = self._of_one(shots).by_own_score
        return by_own_score is not None and by_own_score[0] > 0

    def known(self, scores: NDArray[np.float32], shots: NDArray[np.float32] | float) -> NDArray[np.float32]:
        """Turn scores [Q], less their task's shift, into the share of own pictures that score lower, [Q] in 0..1.

        `shots` is the mean number of examples of a class in each picture's task [Q], or one number where it is the
        same for all, as in most batches: that takes a tenth of the time.
        """
        if not isinstance(shots, np.ndarray):
            return np.interp(scores, self._of_one(shots).quantiles, self.levels).astype(np.float32)
        quantiles = self.quantiles_at(shots)  # [Q, P]
        above = (quantiles <= scores[:, None]).sum(axis=1).clip(1, len(self.levels) - 1)  # [Q]
        query = np.arange(len(scores))
        low, high = quantiles[query, above - 1], quantiles[query, above]
        share = ((scores - low) / np.maximum(high - low, LEAST_GAP)).clip(0, 1)
        known: NDArray[np.float32] = self.levels[above - 1] + share * (self.levels[above] - self.levels[above - 1])
        return known

    def _of_one(self, shots: float) -> "OfShots":
        """What was measured at one number of shots, kept for the next time."""
        if shots not in self._kept:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            one = np.array([shots], dtype=np.float32)
            by_support = (
                None if rows is None else self._at(one, rows)[0].tolist()
                for rows in (self.by_cohesion, self.by_own_score)
            )
            self._kept[shots] = OfShots(self.quantiles_at(one)[0], *by_support)
        return self._kept[shots]

    @cached_property
    def _kept(self) -> dict[float, "OfShots"]:
        return {}

    def quantiles_at(self, shots: NDArray[np.float32]) -> NDArray[np.float32]:
        """The quantiles [Q,P] at numbers of shots [Q]."""
        return self._at(shots, self.quantiles)

    def _at(self, shots: NDArray[np.float32], measured: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows of what was measured [K,M] at numbers of shots [Q], between them by the logarithm: [Q,M]."""
        place = np.interp(np.log(shots), np.log(self.shots), np.arange(len(self.shots)))  # [Q]
        row = place.astype(np.int64)
        following = np.minimum(row + 1, len(self.shots) - 1)
        between = (place - row).astype(np.float32)[:, None]  # [Q, 1]
        rows: NDArray[np.float32] = (1 - between) * measured[row] + between * measured[following]
        return rows

    def less(self, head: NDArray[np.float32]) -> Self:
        """Subtract a head [F+1] from all heads, for scores of logits that lack it too."""
        return replace(self, heads=self.heads - head)


class OfShots(NamedTuple):
    """What a background has measured at one number of shots."""

    quantiles: NDArray[np.float32]  # [P]
    by_cohesion: list[float] | None
    by_own_score: list[float] | None


def shift_at(row: Sequence[float], statistic: float) -> float:
    """The shift of a task of this cohesion or own score, by a row of `Background.by_cohesion` or `by_own_score`."""
    slope, usual, least, largest = row
    return slope * (min(max(statistic, least), largest) - usual)


def pack(background: Background, version: str) -> bytes:
    """Pack the background of the model of this version into safetensors bytes; heads take two bytes a number."""
    held = {field.name: getattr(background, field.name) for field in fields(Background)}
    arrays = {name: np.asarray(value, dtype=np.float32) for name, value in held.items() if value is not None}
    return save({**arrays, "heads": arrays["heads"].astype(np.float16)}, {"version": version})


def unpack(data: bytes) -> tuple[str, Background]:
    """Read what `pack` wrote: the model's version and the background. Raises `ValueError` for anything else."""
    try:
        arrays = {name: array.astype(np.float32) for name, array in load(data).items()}
        header_bytes = int.from_bytes(data[:8], "little")
        version = str(json.loads(data[8 : 8 + header_bytes])["__metadata__"]["version"])  # `load` leaves it out
        temperature = float(arrays.pop("temperature"))
        background = Background(temperature=temperature, **arrays)
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    sizes = (len(background.shots), len(background.levels))
    is_finite = all(np.isfinite(array).all() for array in arrays.values())
    sizes_fit = background.heads.ndim == 2 and background.quantiles.shape == sizes
    for rows in (background.by_cohesion, background.by_own_score):
        sizes_fit = sizes_fit and (rows is None or rows.shape == (len(background.shots), 4))
    if not is_finite or not temperature > 0 or not sizes_fit:
        raise ValueError("its arrays do not belong together")
    return version, background
