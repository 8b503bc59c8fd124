"""How right a task's answers are on labelled pictures that it was not made from, and what would improve them."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from model.evaluation.reliability import Reliability, reliability

Z95 = 1.959964  # two-sided 95 % of a normal distribution
ADDED_A_CLASS = 3  # wrongly answered pictures of one class that are named as worth adding


@dataclass(frozen=True)
class Share:
    """A share of correct answers, with its 95 % interval (Wilson, 1927)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassAnswers:
    """The answers that concern one class."""

    images: int  # with this label
    right: int
    answered: int  # images of any label that were answered with it
    taken_for: int | None  # the class that most of its wrongly answered images were taken for


@dataclass(frozen=True)
class AnswerReport:
    """How right the answers are. Classes are numbers: those of the task, and behind them other labels."""

    answers: NDArray[np.int64]  # [Q], the likeliest class
    confidences: NDArray[np.float32]  # [Q]
    accuracy: Share  # over images whose label is a class of the task
    reliability: Reliability  # of the same images
    classes: list[ClassAnswers]  # of the task, then of other labels
    confusion: NDArray[np.int64]  # [N or more, N]: images by label and answer
    wrong: list[int]  # images whose answer is not their label, in their order
    worth_adding: list[int]  # those of them that would teach the task most


def report_on_answers(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> AnswerReport:
    """Report on probabilities [Q,N] of images with labels [Q].

    Labels from N on are no classes of the task. Their images count as wrong, but not in accuracy and reliability. At
    least one image must have a class of the task.
    """
    ways = probabilities.shape[1]
    answers, confidences = probabilities.argmax(axis=1), probabilities.max(axis=1)  # [Q], [Q]
    right, known = answers == labels, labels < ways
    confusion = np.zeros((max(ways, int(labels.max()) + 1), ways), dtype=np.int64)
    np.add.at(confusion, (labels, answers), 1)
    wrong = np.flatnonzero(~right)
    return AnswerReport(
        answers=answers,
        confidences=confidences,
        accuracy=wilson(int(right.sum()), int(known.sum())),
        reliability=reliability(torch.from_numpy(confidences[known]), torch.from_numpy(right[known])),
        classes=[_class_answers(confusion, n) for n in range(len(confusion))],
        confusion=confusion,
        wrong=wrong.tolist(),
        worth_adding=_worth_adding(wrong, labels, probabilities),
    )


def wilson(right: int, of: int) -> Share:
    """The share right/of with its 95 % interval, which stays within 0..1 for few images too."""
    share, squared = right / of, Z95**2
    centre = (share + squared / (2 * of)) / (1 + squared / of)
    half = Z95 * math.sqrt(share * (1 - share) / of + squared / (4 * of**2)) / (1 + squared / of)
    return Share(share, max(0.0, centre - half), min(1.0, centre + half))


def _class_answers(confusion: NDArray[np.int64], number: int) -> ClassAnswers:
    by_answer, ways = confusion[number], confusion.shape[1]
    others = by_answer.copy()
    if number < ways:
        others[number] = 0
    return ClassAnswers(
        images=int(by_answer.sum()),
        right=int(by_answer[number]) if number < ways else 0,
        answered=int(confusion[:, number].sum()) if number < ways else 0,
        taken_for=int(others.argmax()) if others.any() else None,
    )


def _worth_adding(wrong: NDArray[np.int64], labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> list[int]:
    """Of each class the wrongly answered images whose own class was least likely, in the images' order."""
    own = np.pad(probabilities, ((0, 0), (0, 1)))[wrong, np.minimum(labels[wrong], probabilities.shape[1])]
    chosen: dict[int, list[int]] = {}
    for image in wrong[np.argsort(own, kind="stable")].tolist():
        of_class = chosen.setdefault(int(labels[image]), [])
        if len(of_class) < ADDED_A_CLASS:
            of_class.append(image)
    return sorted(image for images in chosen.values() for image in images)
