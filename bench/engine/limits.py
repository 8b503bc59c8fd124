"""How fast decoding and the model are without a service around them: with HTTP's cost, the limit of any service."""

import io
import multiprocessing
import time
from multiprocessing.synchronize import Barrier
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.inference.engine import Engine
from app.inference.work import Adapt, Adapted, Predict
from bench.common import WEIGHTS, median_ms
from bench.requests import query
from model.allocator import keep_freed_memory
from model.devices import CORES
from model.serving.phi import OnnxPhi

SECONDS = 3.0

_work: "Work"  # of a process that takes part
_all_are_ready: Barrier


class Work:
    """An engine and encoded images for it; each method does a piece of work and returns its number of units."""

    def __init__(self, engine: Engine) -> None:
        phi = engine._pass.phi
        if not isinstance(phi, OnnxPhi):
            raise TypeError(f"phi is a {type(phi).__name__} here, whose time is not that of the work alone")
        self.engine, self.phi = engine, phi
        self._images = [query(n) for n in range(64)]

    def decoded(self, start: int, stop: int) -> NDArray[np.uint8]:
        pictures = [Image.open(io.BytesIO(image)) for image in self._images[start:stop]]
        return np.stack([self.engine.read(picture) for picture in pictures])

    def images(self) -> int:
        self.phi(self.decoded(0, 16))
        return 16

    def creations(self) -> int:
        self.engine.run([Adapt(self.decoded(at, at + 5), np.arange(5)) for at in range(0, 40, 5)])
        return 8


def limits(model: str) -> dict[str, Any]:
    """Single steps with nothing else running, and all of a request's work in a process for each core."""
    work = Work(Engine(WEIGHTS / model, "cpu"))
    decoded = work.decoded(0, 5)
    adapt = Adapt(decoded, np.arange(5))
    (adapted,) = work.engine.run([adapt])
    if not isinstance(adapted, Adapted):
        raise TypeError(type(adapted))
    predict = Predict(decoded[:1], adapted.head, adapted.codes)
    return {
        "single": {
            "decode_ms": median_ms(lambda: work.decoded(0, 1)),
            "phi_ms": median_ms(lambda: work.phi(decoded[:1])),
            "phi_and_head_ms": median_ms(lambda: work.engine.run([predict])),
            "phi_of_five_ms": median_ms(lambda: work.phi(decoded)),
            "adapt_5way_1shot_ms": median_ms(lambda: work.engine.run([adapt])),
            "create_5way_1shot_ms": median_ms(lambda: work.engine.run([Adapt(work.decoded(0, 5), np.arange(5))])),
            "phi_threads": work.phi.threads,
            "phi_chunk": work.phi.chunk,
        },
        "images_a_second_by_processes": _a_second(model, Work.images.__name__),
        "creations_a_second_by_processes": _a_second(model, Work.creations.__name__),
    }


def _a_second(model: str, units: str) -> float:
    """Units a second with a process for each core, each on one thread."""
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(CORES, _load, (model, spawn.Barrier(CORES))) as pool:
        return round(sum(pool.map(_a_second_here, [units] * CORES, chunksize=1)), 1)


def _load(model: str, all_are_ready: Barrier) -> None:
    global _work, _all_are_ready
    keep_freed_memory()
    _work, _all_are_ready = Work(Engine(WEIGHTS / model, "cpu", cores_are_free=lambda: False)), all_are_ready


def _a_second_here(units: str) -> float:
    work = getattr(_work, units)
    work()
    _all_are_ready.wait()
    done, began = 0, time.perf_counter()
    while time.perf_counter() < began + SECONDS:
        done += work()
    return done / (time.perf_counter() - began)
