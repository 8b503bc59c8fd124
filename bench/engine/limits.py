"""Decoding, phi and adaptation in one process on all cores; what bare HTTP leaves of it is the limit."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from app.cache import Head
from app.engine import Adapt, Adapted, Engine, Predict
from app.uploads import decode_one
from bench.engine.service import ROOT
from bench.pictures import NAMES, picture
from model.devices import CORES
from model.phi import OnCPU


def limits(model: str) -> dict[str, Any]:
    """In one process: single steps with nothing else running, and everything on all cores at once."""
    engine = Engine(ROOT / "weights" / model, "cpu")
    phi = engine._phi
    if not isinstance(phi, OnCPU):
        raise TypeError(type(phi))
    images = [picture(NAMES[n % 5], 1000 + n) for n in range(64)]
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

    def on_all_cores(work: Callable[[], int], seconds: float = 3.0) -> float:
        """Units a second with a thread for each core."""
        until = time.perf_counter() + seconds

        def loop() -> int:
            done = 0
            while time.perf_counter() < until:
                done += work()
            return done

        with ThreadPoolExecutor(CORES) as pool:
            began = time.perf_counter()
            done = sum(one.result() for one in [pool.submit(loop) for _ in range(CORES)])
            return done / (time.perf_counter() - began)

    def look(see: Callable[[Any], object]) -> int:
        see(np.stack([decode_one(data, n, engine.read, 10**8) for n, data in enumerate(images[:16])]))
        return 16

    def teach() -> int:
        parts = [
            np.stack([decode_one(data, n, engine.read, 10**8) for n, data in enumerate(images[at : at + 5])])
            for at in range(0, 40, 5)
        ]
        engine.run([Adapt(part, np.arange(5)) for part in parts])
        return len(parts)

    return {
        "single": single,
        # phi as it is served, and one thread for each core: whichever is faster.
        "images_a_second": round(max(on_all_cores(partial(look, see)) for see in (phi, phi.session(1))), 1),
        "creations_a_second": round(max(on_all_cores(teach) for _ in range(2)), 1),
    }


def median_ms(call: Callable[[], object], seconds: float = 1.0) -> float:
    for _ in range(3):
        call()
    took, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until or len(took) < 5:
        began = time.perf_counter()
        call()
        took.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(took), 4)
