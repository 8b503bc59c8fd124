"""How long one client waits, over HTTP, for a task to be created and for one image to be predicted.

Every shipped model for drawings gets a new server in each round, because machines share their processors with others
and are slow for a while and fast again. Writes bench/results/latency.json; takes about a minute.
"""

import json
import statistics
from typing import Any

from app.cli.load import percentiles
from bench.common import DRAWING_MODELS, write_results
from bench.load import send_each
from bench.requests import NAMES, creation, prediction
from bench.service import Service

ROUNDS, WARM_UP, CREATIONS, PREDICTIONS = 5, 30, 100, 300


def measure(model: str) -> dict[str, list[float]]:
    """Milliseconds of each call in one round, and whether its answer was right."""
    with Service("ours", model) as service:
        created = send_each(service.url, [creation(n % 20) for n in range(WARM_UP + CREATIONS)], 1, keep=True)
        task_id = json.loads(created.answers[0][1])["task_id"]
        requests = [prediction(task_id, n % 20) for n in range(WARM_UP + PREDICTIONS)]
        predicted = send_each(service.url, requests, 1, keep=True)
    if (created.statuses.keys(), predicted.statuses.keys()) != ({"201"}, {"200"}):
        raise RuntimeError(f"{model}: {created.statuses}, {predicted.statuses}")
    labels = [json.loads(body)["predictions"][0]["label"] for _, body in predicted.answers]
    return {
        "create_5way_1shot_ms": created.accepted[WARM_UP:],
        "predict_1image_ms": predicted.accepted[WARM_UP:],
        "right": [float(label == NAMES[n % 5]) for n, label in enumerate(labels)],
    }


def summary(rounds: list[list[float]]) -> dict[str, Any]:
    """Percentiles of all rounds together, and the median of each."""
    together = [took for one in rounds for took in one]
    medians = [round(statistics.median(one), 2) for one in rounds]
    return {"n": len(together), **percentiles(together), "p50_ms_of_each_round": medians}


def main() -> None:
    """Measure and write."""
    rounds: dict[str, list[dict[str, list[float]]]] = {model: [] for model in DRAWING_MODELS}
    for _ in range(ROUNDS):
        for model, measured in rounds.items():
            measured.append(measure(model))
    models = {
        model: {
            "create_5way_1shot_ms": summary([one["create_5way_1shot_ms"] for one in measured]),
            "predict_1image_ms": summary([one["predict_1image_ms"] for one in measured]),
            "share_right": statistics.mean(hit for one in measured for hit in one["right"]),
        }
        for model, measured in rounds.items()
    }
    write_results("latency", "one client, one request at a time, over HTTP on loopback, CPU", models=models)
    print(json.dumps(models, indent=2))


if __name__ == "__main__":
    main()
