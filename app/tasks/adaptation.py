"""Adapts to a support set: computes what a new task's record and the cache store."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from app.inference.engine import Engine
from app.inference.work import Adapt, Adapted, Decode, Head, Images, WorkQueue
from app.observability import metrics
from app.problems import Problem
from app.tasks import quality_report
from app.tasks.examples import Examples, numbered
from model.background import Background
from model.serving.task_background import code_scale

Report = TypeVar("Report")

SMALL_SUPPORT = 50_000  # feature values, S times F; a report on fewer takes less time than passing it to a thread


@dataclass(frozen=True)
class Adaptation:
    """The result of adapting to a support set."""

    shots: dict[str, int]
    codes: NDArray[np.float32]  # [N, L]
    head: Head | None  # where the engine keeps heads
    examples: Examples
    report: dict[str, Any]  # with the fields of `AdaptationReport`
    quality: dict[str, Any]
    cohesion: float | None  # of the support
    own_score: float | None  # of the support too, where the model's `known` depends on it


async def adapt(
    batcher: WorkQueue,
    engine: Engine,
    images: Images,
    labels: Sequence[str],
    *,
    earlier_shots: Mapping[str, int],
    earlier: Examples | None,
    pool: ThreadPoolExecutor,
) -> Adaptation:
    """Adapt to images [S,R,R] and their labels, together with a task's `earlier` examples.

    Classes are numbered in the order of their first example. A large quality report is made in a thread of `pool`.
    Raises `Problem` 422 if the adaptation turns non-finite, 503 if the queue is full or the device takes too long.
    """
    shots = {**earlier_shots, **dict.fromkeys((label for label in labels if label not in earlier_shots), 0)}
    numbers = {label: number for number, label in enumerate(shots)}
    for label in labels:
        shots[label] += 1
    started = time.perf_counter()
    targets = np.array([numbers[label] for label in labels], dtype=np.int64)
    version, background = engine.info.version, engine.leo.background
    work = Adapt(images, targets, earlier.support if earlier else None, version)
    with metrics.Stage("device"):
        adapted = cast(Adapted, await batcher.submit(work))
    seconds = time.perf_counter() - started
    if not adapted.is_finite:
        raise Problem(
            422, "adaptation turned non-finite on this support set, so nothing was stored; check the images and labels"
        )
    metrics.observe_adaptation(adapted.losses)
    examples = numbered(adapted.support, earlier)
    quality, cohesion = await in_pool_if_large(quality_report.of_support, examples, pool)
    own_score = None
    if background is not None and background.takes_own_score(sum(shots.values()) / len(shots)):
        head = adapted.head or cast(Head, await batcher.submit(Decode(adapted.codes, version)))
        own_score = await in_pool_if_large(partial(_score_of_examples, background, head), examples, pool)
    return Adaptation(
        shots=shots,
        codes=adapted.codes,
        head=adapted.head,
        examples=examples,
        report={
            "losses": [round(loss, 6) for loss in adapted.losses],
            "support_accuracy": adapted.support_accuracy,
            "milliseconds": round(1000 * seconds, 3),
        },
        quality=quality,
        cohesion=cohesion,
        own_score=own_score,
    )


def _score_of_examples(background: Background, head: Head, examples: Examples) -> float:
    """How high a task's examples score by its own head."""
    support = examples.support
    score = background.own_score(support.of_pictures.astype(np.float32), support.labels, head.weight, head.bias)
    return round(score, quality_report.DECIMALS)


async def encode_negatives(batcher: WorkQueue, engine: Engine, images: Images) -> NDArray[np.float32] | None:
    """The codes [M,L] of images [M,R,R], each as the only example of a class of its own; None of no images.

    Where `model.negatives` draws lines to them, each is encoded on its own, so that it does not matter which others
    came with it. Raises what `adapt` does.
    """
    if not len(images):
        return None
    version = engine.info.version
    parts = [images] if code_scale(engine.leo) is None else np.split(images, len(images))
    works = [Adapt(part, np.arange(len(part)), None, version) for part in parts]
    adapted = [cast(Adapted, each) for each in await asyncio.gather(*map(batcher.submit, works))]
    if not all(each.is_finite for each in adapted):
        raise Problem(422, "adaptation turned non-finite on the negatives, so nothing was stored; check their images")
    return np.concatenate([each.codes for each in adapted])


async def in_pool_if_large(
    report: Callable[[Examples], Report], examples: Examples, pool: ThreadPoolExecutor
) -> Report:
    """Make a report on examples, in a thread of `pool` where it takes long."""
    if examples.support.features.size <= SMALL_SUPPORT:
        return report(examples)
    return await asyncio.get_running_loop().run_in_executor(pool, report, examples)
