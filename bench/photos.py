"""The model for photos served: one client's wait, many clients' throughput, and what can run its phi.

Starts `leo serve` as anyone would and sends JPEGs of 1280x960 made by code, decoding included.
Writes bench/results/photos_latency.json. Takes about three minutes.
"""

import argparse
import io
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import latency
from bench.load import closed, request
from model.evaluation.card import machine, today
from model.images.photos import to_pixels
from model.leo import LatentEmbeddingOptimization
from model.serving.phi import OnnxPhi, TorchPhi
from tests.helpers.photographed import PRODUCTS, jpeg, product

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "weights" / "photos-lite0"
SIZE = (1280, 960)
CLIENTS = 16
NAMES = [*PRODUCTS, "orange again"]


def picture(name: str, seed: int) -> bytes:
    return jpeg(product(name.split(" ")[0], seed).resize(SIZE))


def served(rounds: int, seconds: float) -> dict[str, Any]:
    """Latency of one client in some rounds, then 16 clients at once."""
    create = [latency.multipart([picture(name, 10 * s + n) for n, name in enumerate(NAMES)], NAMES) for s in range(4)]
    query = [latency.multipart([picture(name, 90)], []) for name in PRODUCTS]
    with tempfile.TemporaryDirectory() as data:
        settings = {"LEO_PORT": str(latency.PORT), "LEO_DATA_DIR": data, "LEO_WEIGHTS": str(WEIGHTS)}
        command = [sys.executable, "-m", "app.cli", "serve"]
        server = subprocess.Popen(command, env=os.environ | settings, cwd=ROOT, stderr=subprocess.DEVNULL)
        try:
            connection = latency.connect()
            creations, predictions, task = [], [], ""
            for _ in range(rounds):
                made = [latency.post(connection, "/tasks", create[n % 4]) for n in range(30)]
                task = made[-1][0]["task_id"]
                asked = [latency.post(connection, f"/tasks/{task}/predict", query[n % 4]) for n in range(80)]
                creations.append([took for _, took in made[5:]])
                predictions.append([took for _, took in asked[5:]])
            requests = itertools.cycle([request(f"/tasks/{task}/predict", each, latency.BOUNDARY) for each in query])
            closed(latency.PORT, requests.__next__, CLIENTS, 2.0)  # to warm up
            many = closed(latency.PORT, requests.__next__, CLIENTS, seconds).summary()
        finally:
            server.terminate()
            server.wait()
    return {
        "create_5way_1shot_ms": latency.percentiles(creations),
        "predict_1image_ms": latency.percentiles(predictions),
        f"predict_{CLIENTS}_clients": many,
    }


def forms(compiled: bool) -> list[dict[str, Any]]:
    """Milliseconds an image of each way to run phi, one image a call and eight."""
    leo = LatentEmbeddingOptimization.from_pretrained(WEIGHTS)
    phi, cpu = leo.classifier.phi, torch.device("cpu")
    pixels = np.stack([to_pixels(product(name.split(" ")[0], n), 224) for n, name in enumerate(NAMES + NAMES[:3])])
    exact, served = OnnxPhi(phi, 224, exact=True), OnnxPhi(phi, 224)
    expected = exact(pixels)
    found = []
    ways: list[tuple[str, Callable[[Any], torch.Tensor]]] = []
    for kind, runtime in (("float32", exact), ("bytes", served)):
        if runtime is served and not served.quantised:
            continue
        for threads in (1, 2):
            run = runtime.on_threads(threads)
            ways.append(
                (f"ONNX Runtime, {kind}, {threads} threads", lambda images, run=run: torch.from_numpy(run(images)))
            )
    torch.set_num_threads(2)
    ways.append(("torch, float32, channels last, 2 threads", TorchPhi(phi, cpu)))
    if compiled:
        fast = TorchPhi(phi, cpu)
        fast._phi = torch.compile(fast._phi)  # type: ignore[assignment]
        ways.append(("torch.compile, float32, channels last, 2 threads", fast))
    for name, run in ways:
        row: dict[str, Any] = {"way": name, "largest_difference": float((run(pixels) - expected).abs().max())}
        for batch in (1, 8):
            took = []
            for _ in range(12):
                began = time.perf_counter()
                run(pixels[:batch])
                took.append(1000 * (time.perf_counter() - began) / batch)
            row[f"ms_an_image_of_{batch}"] = round(statistics.median(took[2:]), 2)
        found.append(row)
    return found


def decoding() -> float:
    """Median milliseconds from a JPEG's bytes to phi's input."""
    from PIL import Image

    data, took = picture("carton", 3), []
    for _ in range(40):
        began = time.perf_counter()
        to_pixels(Image.open(io.BytesIO(data)), 224)
        took.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(took), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--compiled", action="store_true", help="torch.compile too, which takes a minute more")
    given = parser.parse_args()
    results = {
        "what": "JPEGs of 1280x960 over HTTP on loopback, CPU; clients on the same machine",
        "date": today(),
        "machine": machine(),
        "served": served(given.rounds, given.seconds),
        "decode_ms": decoding(),
        "phi": forms(given.compiled),
    }
    target = latency.RESULTS / "photos_latency.json"
    target.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
