"""Whether answers under load equal answers alone."""

import itertools
import json
from typing import Any

from app.cli.load import closed_loop
from bench.load import send_each
from bench.requests import creation, prediction
from bench.service import CLIENTS, Service


def answers_under_load(model: str) -> dict[str, Any]:
    """The same pictures asked one by one, and by 32 clients among creations: the largest difference of a confidence."""
    with Service("ours", model) as service:
        task = service.created()
        requests = [prediction(task, n) for n in range(40)]
        alone = {request: scores(body) for request, body in send_each(service.url, requests, 1, keep=True).answers}
        mixed = itertools.cycle([each for n, request in enumerate(requests) for each in (request, creation(n))])
        load = closed_loop(service.url, mixed, CLIENTS, 4.0, keep=True)
    answered = [(alone[request], scores(body)) for request, body in load.answers if request in alone]
    largest = max(abs(of[label] - known[label]) for known, of in answered for label in known)
    return {"answers": len(answered), "largest_difference": largest}


def scores(body: bytes) -> dict[str, float]:
    """Each class's confidence."""
    return {score["label"]: score["confidence"] for score in json.loads(body)["predictions"][0]["top_k"]}
