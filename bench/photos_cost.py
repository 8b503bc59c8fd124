"""What photos cost on a CPU: decoding large ones, predictions of one client and of many, and creation.

    python -m bench.photos_cost

The server runs as it is installed, with `photos-lite0`, and shares the machine with the clients. Photos are made by
code: small ones of 400x300 pixels, and large ones of 12 megapixels, as phones take them. Writes
bench/results/photos_cost.json; takes two minutes.
"""

import io
import json
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from app.cli.load import form_request, multipart, percentiles
from bench.common import median_ms, write_results
from bench.load import send_each
from bench.service import Service
from model.images import files
from model.images.reader import PhotoReader
from model.images.small_copy import SmallCopies
from tests.helpers.photographed import PRODUCTS, jpeg, product

MODEL = "photos-lite0"
LARGE, SMALL = (4032, 3024), (400, 300)
GRAIN = 6.0  # of the large photos: a standard deviation of levels, so that files are as long as those of phones
CLIENTS, SECONDS, ROUNDS = 16, 6.0, 3
PREDICTIONS, LARGE_PREDICTIONS, CREATIONS = 300, 40, 10
KEPT_BYTES = 24 * 2**10  # of the small copies: the service's default


@cache
def photo(name: str, seed: int, size: tuple[int, int] = SMALL) -> bytes:
    """A JPEG of a product. A large one is the small one enlarged, with grain."""
    small = product(name, seed)
    if size == SMALL:
        return jpeg(small)
    enlarged = np.asarray(small.resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
    grain = np.random.default_rng(seed).normal(0, GRAIN, (size[1], size[0], 1)).astype(np.float32)
    return jpeg(Image.fromarray((enlarged + grain).clip(0, 255).astype(np.uint8)))


def decoding() -> dict[str, Any]:
    """Milliseconds of decoding a large photo on one core: for phi, for the copy that is kept, and in full."""
    data, reader, copies = photo("lime", 0, LARGE), PhotoReader(224), SmallCopies(KEPT_BYTES)

    def whole() -> None:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()

    return {
        "bytes": len(data),
        "for_phi_ms": median_ms(lambda: files.read(data, reader, draft=reader.draft)),
        "for_the_copy_ms": median_ms(lambda: files.read(data, copies, draft=copies.draft)),
        "in_full_ms": median_ms(whole),
    }


def creation(size: tuple[int, int], seed: int) -> bytes:
    """A request for a task of four classes, one photo of each."""
    form = multipart([photo(name, seed, size) for name in PRODUCTS], list(PRODUCTS))
    return form_request("/tasks", form)


def prediction(task_id: str, seed: int, size: tuple[int, int] = SMALL) -> bytes:
    """A request for the prediction of one photo."""
    name = list(PRODUCTS)[seed % len(PRODUCTS)]
    return form_request(f"/tasks/{task_id}/predict", multipart([photo(name, 100 + seed % 20, size)]))


def timed(url: str, requests: list[bytes], status: str) -> list[float]:
    """Milliseconds of each request of one client, after the first few."""
    found = send_each(url, requests, 1)
    if found.statuses.keys() != {status}:
        raise RuntimeError(f"statuses {found.statuses}")
    return found.accepted[len(requests) // 10 :]


def served() -> dict[str, Any]:
    """What the calls take over HTTP."""
    found: dict[str, list[float]] = {"predict_ms": [], "predict_large_ms": [], "create_ms": [], "create_large_ms": []}
    loads = []
    with Service("ours", MODEL) as service:
        ((_, body),) = send_each(service.url, [creation(SMALL, 0)], 1, keep=True).answers
        task = str(json.loads(body)["task_id"])
        small = [prediction(task, seed) for seed in range(PREDICTIONS)]
        large = [prediction(task, seed, LARGE) for seed in range(4)] * (LARGE_PREDICTIONS // 4)
        for _ in range(ROUNDS):
            found["predict_ms"] += timed(service.url, small, "200")
            found["predict_large_ms"] += timed(service.url, large, "200")
            found["create_ms"] += timed(service.url, [creation(SMALL, n) for n in range(CREATIONS)], "201")
            found["create_large_ms"] += timed(service.url, [creation(LARGE, n % 2) for n in range(CREATIONS)], "201")
            loads.append(service.load(small, CLIENTS, SECONDS))
    images = len(PRODUCTS)
    return {
        **{name: {"n": len(took), **percentiles(took)} for name, took in found.items()},
        "create_large_ms_a_picture": round(percentiles(found["create_large_ms"])["p50_ms"] / images, 2),
        "images_per_second": {"clients": CLIENTS, "of_each_round": [load["per_second"] for load in loads]},
    }


def main() -> None:
    """Measure and write."""
    results = {"model": MODEL, "pixels": list(LARGE), "decoding": decoding(), "served": served()}
    write_results("photos_cost", "what photos cost on a CPU shared with the clients", **results)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
