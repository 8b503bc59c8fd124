"""How long one client waits, over HTTP, for a task to be created and for one image to be predicted.

For each shipped model it starts `leo serve` as anyone would, sends the requests one after another
on one connection, and writes percentiles to bench/results/latency.json. Machines share their
processors with others, so it goes round the models several times and gives each round's median too.
"""

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from model.evaluation.card import machine, today
from tests.helpers.drawn import CHARACTERS, canvas, encoded, shaky

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
PORT = 8765
ROUNDS, WARM_UP, CREATIONS, PREDICTIONS = 5, 30, 100, 300
BOUNDARY = "drawings"


def multipart(images: list[bytes], labels: list[str]) -> bytes:
    """A form as curl and browsers send it."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="{n}.png"\r\n'
        "Content-Type: image/png\r\n\r\n".encode()
        + image
        + b"\r\n"
        for n, image in enumerate(images)
    ]
    parts += [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="labels"\r\n\r\n{label}\r\n'.encode() for label in labels
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def post(connection: http.client.HTTPConnection, path: str, body: bytes) -> tuple[Any, float]:
    """Answer, and milliseconds from the first byte sent to the last received."""
    began = time.perf_counter()
    connection.request("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
    response = connection.getresponse()
    content = response.read()
    took = 1000 * (time.perf_counter() - began)
    if response.status not in (200, 201):
        raise RuntimeError(f"{path}: {response.status} {content!r}")
    return json.loads(content), took


def percentiles(rounds: list[list[float]]) -> dict[str, Any]:
    """p50, p90 and p99 of all rounds together, and the median of each."""
    cuts = statistics.quantiles([took for one in rounds for took in one], n=100)
    return {
        "n": sum(len(one) for one in rounds),
        "p50": round(cuts[49], 2),
        "p90": round(cuts[89], 2),
        "p99": round(cuts[98], 2),
        "p50_of_each_round": [round(statistics.median(one), 2) for one in rounds],
    }


def measure(name: str) -> dict[str, list[float]]:
    """One round with one model, on drawings of Omniglot's size: milliseconds, and whether answers were right."""
    names = list(CHARACTERS)[:5]

    def picture(character: str, hand: int) -> bytes:
        return encoded(canvas(shaky(CHARACTERS[character], hand), 105, 3, ink=0, paper=1, mode="1"))

    with tempfile.TemporaryDirectory() as data:
        settings = {"LEO_PORT": str(PORT), "LEO_DATA_DIR": data, "LEO_WEIGHTS": str(ROOT / "weights" / name)}
        command = [str(Path(sys.executable).with_name("leo")), "serve"]
        server = subprocess.Popen(command, env=os.environ | settings, stderr=subprocess.DEVNULL)
        try:
            connection = connect()
            create = [multipart([picture(c, hand) for c in names], names) for hand in range(20)]
            creations = [post(connection, "/tasks", create[n % 20]) for n in range(WARM_UP + CREATIONS)]
            task_id = creations[0][0]["task_id"]
            query = [multipart([picture(c, hand)], []) for hand in range(20, 24) for c in names]
            predictions = [
                post(connection, f"/tasks/{task_id}/predict", query[n % 20]) for n in range(WARM_UP + PREDICTIONS)
            ]
            right = [answer["predictions"][0]["label"] == names[n % 5] for n, (answer, _) in enumerate(predictions)]
        finally:
            server.terminate()
            server.wait()
    return {
        "create_5way_1shot_ms": [took for _, took in creations[WARM_UP:]],
        "predict_1image_ms": [took for _, took in predictions[WARM_UP:]],
        "right": [float(hit) for hit in right],
    }


def connect() -> http.client.HTTPConnection:
    """A connection to the server, once it is ready."""
    for _ in range(600):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().read() and connection.sock is not None:
                return connection
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the server did not become ready")


def main() -> None:
    """Measure every shipped model and write the results."""
    rounds: dict[str, list[dict[str, list[float]]]] = {"omniglot": [], "omniglot-105": []}
    for _ in range(ROUNDS):
        for name, of_model in rounds.items():
            of_model.append(measure(name))
    results = {
        name: {
            "create_5way_1shot_ms": percentiles([one["create_5way_1shot_ms"] for one in of_model]),
            "predict_1image_ms": percentiles([one["predict_1image_ms"] for one in of_model]),
            "share_right": statistics.mean(hit for one in of_model for hit in one["right"]),
        }
        for name, of_model in rounds.items()
    }
    RESULTS.mkdir(exist_ok=True)
    written = {"what": "one client, one request at a time, over HTTP on loopback, CPU", "date": today()}
    target = RESULTS / "latency.json"
    target.write_text(json.dumps(written | {"machine": machine(), "models": results}, indent=2) + "\n")
    for name, figures in results.items():
        for what in ("create_5way_1shot_ms", "predict_1image_ms"):
            print(f"{name:14} {what:22} {figures[what]}")
    print(f"wrote {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
