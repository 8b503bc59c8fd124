"""Whether an answer under load is the answer alone."""

import itertools
import json
from functools import partial
from typing import Any

import numpy as np

from bench.engine.service import CLIENTS, Service
from bench.load import closed
from bench.pictures import creation, prediction


def company(model: str) -> dict[str, Any]:
    """The same pictures asked one by one, and by 32 clients among creations: the largest difference of a confidence."""
    with Service("ours", model) as service:
        task = service.created()
        requests = [prediction(task, n) for n in range(40)]
        alone = [json.loads(closed(service.port, partial(bytes, one), 1, 0.0, keep=True).bodies[0]) for one in requests]
        by_order = {json.dumps([s["label"] for s in one["predictions"][0]["top_k"]]): one for one in alone}
        mixed = itertools.cycle([each for n in range(40) for each in (requests[n], creation(n))])
        answers = [json.loads(body) for body in closed(service.port, mixed.__next__, CLIENTS, 4.0, keep=True).bodies]
        asked = [one for one in answers if "predictions" in one]
        known = np.array([[s["confidence"] for s in _sorted(one)] for one in alone])
        got = np.array([[s["confidence"] for s in _sorted(one)] for one in asked])
        nearest = np.abs(got[:, None] - known[None]).max(axis=2).min(axis=1)
        return {"answers": len(asked), "orders": len(by_order), "largest_difference": float(nearest.max())}


def _sorted(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return sorted(answer["predictions"][0]["top_k"], key=lambda score: str(score["label"]))
