"""Work that every model does before the service is ready, since whatever runs for the first time is slow."""

import asyncio
import logging
from typing import cast

import numpy as np

from app.inference.engine import Engine
from app.inference.models import Models
from app.inference.readiness import two_strokes
from app.inference.work import Adapt, Adapted, Predict, WorkQueue
from app.problems import Problem

log = logging.getLogger(__name__)

TOGETHER = 8  # requests that are sent at once
MOST_SECONDS, MOST_IMAGES = 0.2, 64  # that phi may take for the many images of one round, and how many they may be


async def warm_up(models: Models, queue: WorkQueue) -> None:
    """Adapt and predict with every model, with few images and with many, one request at a time and several at once."""
    for engine in models:
        try:
            await _warm_up(engine, queue)
        except Problem as error:  # such as a queue that is set to be too short for this
            log.info("%s is not warm yet: %s", engine.info.name, error)


async def _warm_up(engine: Engine, queue: WorkQueue) -> None:
    version, strokes = engine.info.version, two_strokes(engine.shape)
    each = engine.seconds_an_image or 0.0
    count = max(2, min(MOST_IMAGES, int(MOST_SECONDS / each) if each else MOST_IMAGES))
    many = np.concatenate([strokes] * (count // 2))  # [B,R,R]
    adapted = cast(Adapted, await queue.submit(Adapt(strokes, np.array([0, 1]), model_version=version)))
    for images in (strokes[:1], many):
        for decode in (False, True):
            await queue.submit(Predict(images, None, adapted.codes, version, decode=decode))
    await queue.submit(Adapt(many, np.arange(len(many)) % 2, model_version=version))
    for work in (
        Adapt(strokes, np.array([0, 1]), model_version=version),
        Predict(strokes[:1], None, adapted.codes, version),
    ):
        await asyncio.gather(*[queue.submit(work) for _ in range(TOGETHER)])
