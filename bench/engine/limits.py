"""Decoding, phi and adaptation in one process on all cores; what bare HTTP leaves of it is the limit."""

import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.synchronize import Barrier
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.inference.decoding import decode_one
from app.inference.engine import Engine
from app.inference.work import Adapt, Adapted, Head, Predict
from bench.engine.service import ROOT
from bench.pictures import NAMES, picture
from model.allocator import keep_freed_memory
from model.devices import CORES
from model.serving.phi import OnnxPhi

_here: "_Work"  # of a process that takes part
_all_are_here: Barrier


def limits(model: str) -> dict[str, Any]:
    """In one process: single steps with nothing else running, and everything on all cores at once."""
    engine = Engine(ROOT / "weights" / model, "cpu")
    phi = engine._phi
    if not isinstance(phi, OnnxPhi):
        raise TypeError(type(phi))
    images = _images()
    decoded = np.stack([decode_one(data, n, engine.read, 10**8) for n, data in enumerate(images)])
    adapt = Adapt(decoded[:5], np.arange(5))
    (adapted,) = engine.run([adapt])
    if not isinstance(adapted, Adapted):
        raise TypeError(type(adapted))
    ask = Predict(decoded[:1], Head(adapted.weight, adapted.bias), adapted.codes.numpy())
    single = {
        "decode_ms": median_ms(lambda: decode_one(images[0], 0, engine.read, 10**8)),
        "phi_ms": median_ms(lambda: phi(decoded[:1])),
        "phi_and_head_ms": median_ms(lambda: engine.run([ask])),
        "phi_of_five_ms": median_ms(lambda: phi(decoded[:5])),
        "adapt_5way_1shot_ms": median_ms(lambda: engine.run([adapt])),
        "create_5way_1shot_ms": median_ms(
            lambda: engine.run(
                [
                    Adapt(
                        np.stack([decode_one(each, n, engine.read, 10**8) for n, each in enumerate(images[:5])]),
                        np.arange(5),
                    )
                ]
            )
        ),
        "phi_threads": phi.threads,
        "phi_chunk": phi.chunk,
    }

    work = _Work(engine, images)
    ways = [phi, phi.on_threads(1)]  # as it is served, and one thread for each core: whichever is faster
    return {
        "single": single,
        "images_a_second": round(max(_on_all_cores(partial(work.look, see)) for see in ways), 1),
        "images_a_second_by_processes": round(_in_processes(model, "look"), 1),
        "creations_a_second": round(max(_on_all_cores(work.teach) for _ in range(2)), 1),
        "creations_a_second_by_processes": round(_in_processes(model, "teach"), 1),
    }


class _Work:
    """Pieces of work without a service around them; each tells how many units it was."""

    def __init__(self, engine: Engine, images: list[bytes]) -> None:
        self._engine, self._images = engine, images

    def _decoded(self, part: slice) -> NDArray[np.uint8]:
        read = self._engine.read
        return np.stack([decode_one(data, n, read, 10**8) for n, data in enumerate(self._images[part])])

    def look(self, see: Callable[[Any], object]) -> int:
        see(self._decoded(slice(16)))
        return 16

    def teach(self) -> int:
        parts = [self._decoded(slice(at, at + 5)) for at in range(0, 40, 5)]
        self._engine.run([Adapt(part, np.arange(5)) for part in parts])
        return len(parts)


def _rate(work: Callable[[], int], seconds: float = 3.0) -> float:
    """Units a second."""
    done, began = 0, time.perf_counter()
    while time.perf_counter() < began + seconds:
        done += work()
    return done / (time.perf_counter() - began)


def _on_all_cores(work: Callable[[], int]) -> float:
    """Units a second with a thread for each core."""
    with ThreadPoolExecutor(CORES) as pool:
        return sum(one.result() for one in [pool.submit(_rate, work) for _ in range(CORES)])


def _in_processes(model: str, what: str) -> float:
    """Units a second with a process for each core, each on one thread."""
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(CORES, _load, (model, spawn.Barrier(CORES))) as pool:
        return sum(pool.map(_rate_here, [what] * CORES, chunksize=1))


def _load(model: str, all_are_here: Barrier) -> None:
    global _here, _all_are_here
    keep_freed_memory()
    engine = Engine(ROOT / "weights" / model, "cpu", cores_are_free=lambda: False)
    _here, _all_are_here = _Work(engine, _images()), all_are_here


def _rate_here(what: str) -> float:
    def look() -> int:
        return _here.look(_here._engine._phi)

    work = look if what == "look" else _here.teach
    work()
    _all_are_here.wait()
    return _rate(work)


def _images() -> list[bytes]:
    return [picture(NAMES[n % 5], 1000 + n) for n in range(64)]


def median_ms(call: Callable[[], object], seconds: float = 1.0) -> float:
    for _ in range(3):
        call()
    took, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until or len(took) < 5:
        began = time.perf_counter()
        call()
        took.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(took), 4)
