"""One client beside the same work in this process, turn about, as a machine is faster or slower by the minute."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from app.inference.decoding import decode_one
from app.inference.engine import Engine
from app.inference.work import Adapt, Adapted, Head, Predict
from bench.engine.service import ROOT, Service
from bench.load import closed
from bench.pictures import NAMES, creation, picture, prediction
from model.devices import CORES

ROUNDS, SECONDS = 8, 1.0


def single(model: str) -> dict[str, Any]:
    """Milliseconds of a one-image prediction and of a 5-way 1-shot creation over HTTP, and of their work alone.

    `in_turn` decodes, then computes, another picture each time, as a service must; `hot` is the sum of the two parts
    each done again and again on one picture, whose data and code are then all in the caches.
    """
    engine = Engine(ROOT / "weights" / model, "cpu")
    pictures = itertools.cycle([picture(NAMES[n % 5], 1000 + n) for n in range(40)])

    def decoded(count: int) -> np.ndarray:
        return np.stack([decode_one(next(pictures), n, engine.read, 10**8) for n in range(count)])

    def adapt(images: np.ndarray) -> Adapted:
        (adapted,) = engine.run([Adapt(images, np.arange(5))])
        if not isinstance(adapted, Adapted):
            raise TypeError(type(adapted))
        return adapted

    def predict(images: np.ndarray) -> None:
        engine.run([Predict(images, head, codes)])

    one, five, first = next(pictures), decoded(5), decoded(1)
    adapted = adapt(five)
    head, codes = Head(adapted.weight, adapted.bias), adapted.codes.numpy()
    work: dict[str, Callable[[], object]] = {
        "decode_hot": lambda: decode_one(one, 0, engine.read, 10**8),
        "phi_and_head_hot": lambda: predict(first),
        "predict_in_turn": lambda: predict(decoded(1)),
        "create_in_turn": lambda: adapt(decoded(5)),
    }
    medians: dict[str, list[float]] = {name: [] for name in (*work, "predict_http", "create_http")}
    with Service("ours", model) as service:
        tasks = [service.created(hand) for hand in range(5)]
        asked = {
            "predict_http": itertools.cycle([prediction(tasks[n % 5], n) for n in range(40)]),
            "create_http": itertools.cycle([creation(n) for n in range(40)]),
        }
        for _ in range(ROUNDS):
            for name, call in work.items():
                medians[name].append(statistics.median(_times(call)))
            for name, requests in asked.items():
                medians[name].append(statistics.median(closed(service.port, requests.__next__, 1, SECONDS).accepted))
    found = {name: round(statistics.median(times), 3) for name, times in medians.items()}
    over = [
        (http - turn, http - decode - phi)
        for http, turn, decode, phi in zip(
            *(medians[name] for name in ("predict_http", "predict_in_turn", "decode_hot", "phi_and_head_hot")),
            strict=True,
        )
    ]
    times = [http / turn for http, turn in zip(medians["create_http"], medians["create_in_turn"], strict=True)]
    return {
        "cores": CORES,
        "rounds": ROUNDS,
        "milliseconds": found,
        "predict_over_in_turn_ms": round(statistics.median(each for each, _ in over), 3),
        "predict_over_hot_ms": round(statistics.median(each for _, each in over), 3),
        "create_times_in_process": round(statistics.median(times), 3),
    }


def _times(call: Callable[[], object]) -> Iterator[float]:
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        began = time.perf_counter()
        call()
        yield 1000 * (time.perf_counter() - began)
