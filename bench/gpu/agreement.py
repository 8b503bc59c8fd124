"""Whether a GPU answers what the CPU answers in float32: 1,000 tasks of drawings made by code, in each precision."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from app.inference.engine import Engine
from app.inference.work import Adapt, Adapted, Images, Predict, Predicted, Result, Work
from bench.common import WEIGHTS
from model.images.drawings import to_drawing, to_input
from tests.helpers.drawn import CHARACTERS, canvas, shaky

WAYS, QUERIES, AT_ONCE = 5, 15, 64
HANDS = 40  # drawings of each character; their hands are shakier than the tests', so that some answers are wrong
SHAKE = 0.09
PRECISIONS = ("float32", "tf32", "bf16")


def measure(device: str, small: bool) -> dict[str, Any]:
    """Accuracy and probabilities of both drawing models, against float32 on the CPU."""
    found: dict[str, Any] = {}
    for name, tasks in (("omniglot", 50 if small else 1000), ("omniglot-105", 5 if small else 200)):
        reference = Engine(WEIGHTS / name, "cpu", quantise=False)
        works = list(_tasks(reference.info.config.resolution, tasks))
        expected, right = _answers(reference, works)
        rows: dict[str, Any] = {"tasks": tasks, "images": right.size, "cpu_accuracy": round(100 * right.mean(), 3)}
        for precision in PRECISIONS if device != "cpu" else PRECISIONS[:1]:
            try:
                with _in(precision, device):
                    engine = Engine(WEIGHTS / name, device, stacked=True)
                    engine.warm_up()
                    rows[precision] = _apart(*_answers(engine, works), expected, right)
            except Exception as error:  # a precision that a part of the pass does not take
                rows[precision] = {"failed": f"{type(error).__name__}: {error}"[:1000]}
        found[name] = rows
    return found


def _apart(answers: np.ndarray, correct: np.ndarray, expected: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """How far answers are from those expected, and accuracy from that of the CPU."""
    apart = np.abs(answers - expected).max(axis=-1)
    return {
        "accuracy": round(100 * correct.mean(), 3),
        "points_apart": round(100 * float(correct.mean() - right.mean()), 3),
        "probabilities_apart": {
            "median": float(np.median(apart)),
            "p99": float(np.quantile(apart, 0.99)),
            "most": float(apart.max()),
        },
        "other_labels": int((answers.argmax(-1) != expected.argmax(-1)).sum()),
    }


@contextlib.contextmanager
def _in(precision: str, device: str) -> Iterator[None]:
    """Let convolutions and products run in a precision, while engines are made and asked."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision != "float32"
    try:
        with torch.autocast(device.split(":")[0], torch.bfloat16, precision == "bf16", cache_enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def _tasks(side: int, number: int) -> Iterator[tuple[Adapt, Images, np.ndarray]]:
    chance = np.random.default_rng(0)
    drawn = np.stack(
        [np.stack([_drawing(name, hand, side) for hand in range(HANDS)]) for name in CHARACTERS]
    )  # [characters, hands, R, R]
    for _ in range(number):
        classes = chance.permutation(len(CHARACTERS))[:WAYS]
        hands = np.stack([chance.permutation(HANDS)[: 1 + QUERIES // WAYS] for _ in classes])
        support = drawn[classes, hands[:, 0]]
        queries = drawn[classes[:, None], hands[:, 1:]].reshape(-1, side, side)
        yield Adapt(support, np.arange(WAYS)), queries, np.arange(WAYS).repeat(QUERIES // WAYS)


def _drawing(name: str, hand: int, side: int) -> Images:
    picture = canvas(shaky(CHARACTERS[name], hand, SHAKE), 105, 3, ink=0, paper=255)
    return to_input(to_drawing(picture), side)


def _answers(engine: Engine, tasks: list[tuple[Adapt, Images, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [T,Q,N] of every task, and whether each answer is right, [T,Q]."""
    probabilities = []
    for at in range(0, len(tasks), AT_ONCE):
        some = tasks[at : at + AT_ONCE]
        made: list[Result] = engine.run([adapt for adapt, _, _ in some])
        asked: list[Work] = [
            Predict(queries, None, task.codes)
            for (_, queries, _), task in zip(some, made, strict=True)
            if isinstance(task, Adapted)
        ]
        probabilities += [each.probabilities for each in engine.run(asked) if isinstance(each, Predicted)]
    stacked = np.stack(probabilities)
    truth = np.stack([labels for _, _, labels in tasks])
    return stacked, stacked.argmax(axis=-1) == truth
