"""The engine alone: phi, the inner loop and whole passes, with CUDA graphs and without them."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from app.inference.device_pass import DevicePass
from app.inference.engine import Engine
from app.inference.work import Adapt, Adapted, Decode, Predict, Work
from bench.common import WEIGHTS
from model.serving.phi import sample_drawings, sample_photos
from model.serving.stacked import StackedLEO

MODELS = ("omniglot", "omniglot-105", "photos-lite0")


def timed(call: Callable[[], object], device: torch.device, seconds: float = 0.6) -> float:
    """Median seconds of a call, the device's work included, after three to warm up."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for _ in range(3):
        call()
    wait()
    took, until = [], time.perf_counter() + seconds
    while len(took) < 5 or time.perf_counter() < until:
        began = time.perf_counter()
        call()
        wait()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def measure(device_name: str, small: bool) -> dict[str, Any]:
    """Figures of every shipped model."""
    found: dict[str, Any] = {}
    for name in MODELS[:1] if small else MODELS:
        try:
            found[name] = _of_model(name, device_name, small)
        except Exception as error:  # the photos' network may not be carried
            found[name] = {"failed": f"{type(error).__name__}: {error}"[:1000]}
    return found


def _of_model(name: str, device_name: str, small: bool) -> dict[str, Any]:
    began = time.perf_counter()
    engine = Engine(WEIGHTS / name, device_name, stacked=True)
    loaded = time.perf_counter()
    device = engine.device
    assert device is not None  # noqa: S101
    assert isinstance(engine._pass, DevicePass)  # noqa: S101
    leo = engine._pass._leo
    figures: dict[str, Any] = {"load_seconds": round(loaded - began, 2)}
    figures["eager"] = _speeds(engine, leo, device, small)
    if device.type == "cuda":
        began = time.perf_counter()
        engine.warm_up()
        figures["warm_up_seconds"] = round(time.perf_counter() - began, 2)
        recorded = {"phi": leo.phi, "encoder_phi": leo.encoder_phi, "inner_loop": leo.adapt_features}
        figures["graphs"] = {
            what: {"recorded": len(each.sizes), "failures": each.failures} for what, each in recorded.items() if each
        }
        figures["with_graphs"] = _speeds(engine, leo, device, small)
        figures["peak_memory_mb"] = round(torch.cuda.max_memory_allocated(device) / 2**20)
    return figures


@torch.inference_mode()
def _speeds(engine: Engine, leo: StackedLEO, device: torch.device, small: bool) -> dict[str, Any]:
    config = engine.info.config
    counts = (1, 16) if small else (1, 16, 64, 256, 1024)
    sample = sample_drawings if engine.takes_drawings else sample_photos
    held = sample(64, config.resolution)
    images = np.concatenate([held] * (max(counts) // 64 + 1))
    on_device = torch.from_numpy(images).to(device)
    figures: dict[str, Any] = {"phi_images_per_second": {}, "adapt_stacked_ms": {}, "run": {}}
    for count in counts:
        seconds = timed(lambda count=count: leo.features(on_device[:count]), device)  # type: ignore[misc]
        figures["phi_images_per_second"][str(count)] = round(count / seconds)
    for tasks in (1, 16) if small else (1, 16, 64, 256, 1024):
        features = torch.nn.functional.normalize(torch.randn(tasks, 5, config.feature_dim, device=device), dim=-1)
        membership = torch.eye(5, device=device).repeat(tasks, 1, 1)
        inputs = (features, membership) if leo.encoder_phi is None else (features, membership, features.clone())
        seconds = timed(lambda inputs=inputs: leo.adapt_features(*inputs), device)  # type: ignore[misc]
        figures["adapt_stacked_ms"][str(tasks)] = round(1000 * seconds, 3)
    codes = torch.randn(256, 5, config.latent_dim, device=device)
    adapter_seconds = timed(lambda: engine.leo.decoder(codes), device)
    figures["decode_256_heads_ms"] = round(1000 * adapter_seconds, 3)
    requests = (1, 16) if small else (1, 16, 64, 256)
    for number in requests:
        creations: list[Work] = [Adapt(held[5 * (n % 12) : 5 * (n % 12) + 5], np.arange(5)) for n in range(number)]
        adapted = engine.run(creations[:1])[0]
        assert isinstance(adapted, Adapted)  # noqa: S101
        predictions: list[Work] = [Predict(held[n % 64 : n % 64 + 1], None, adapted.codes) for n in range(number)]
        mixed = creations[: number // 2] + predictions[number // 2 :]
        for what, batch in (("creations", creations), ("predictions", predictions), ("half_of_each", mixed)):
            seconds = timed(lambda batch=batch: engine.run(batch), device)  # type: ignore[misc]
            figures["run"][f"{number} {what}"] = {"ms": round(1000 * seconds, 3), "per_second": round(number / seconds)}
    figures["run"]["1 decode"] = {"ms": round(1000 * timed(lambda: engine.run([Decode(adapted.codes)]), device), 3)}
    return figures


def linear_solvers(device_name: str) -> dict[str, Any]:
    """Ways to solve the ridge regression's equations, and whether a CUDA graph can hold each."""
    device = torch.device(device_name)
    found: dict[str, Any] = {}
    for size in (5, 25, 100):
        root = torch.randn(64, size, size, device=device)
        matrices, right = root @ root.mT + torch.eye(size, device=device), torch.randn(64, size, 5, device=device)
        ways: dict[str, Callable[[], torch.Tensor]] = {
            "lu": lambda matrices=matrices, right=right: torch.linalg.solve_ex(matrices, right)[0],
            "cholesky": lambda matrices=matrices, right=right: torch.cholesky_solve(
                right, torch.linalg.cholesky_ex(matrices)[0]
            ),
            "triangular": lambda matrices=matrices, right=right: _by_triangles(matrices, right),
        }
        for name, call in ways.items():
            row: dict[str, Any] = {"ms": round(1000 * timed(call, device, 0.1), 4)}
            if device.type == "cuda":
                row["graph"] = _captures(call)
            found[f"{name}, 64 of {size}"] = row
    return found


def _by_triangles(matrices: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    lower = torch.linalg.cholesky_ex(matrices)[0]
    half = torch.linalg.solve_triangular(lower, right, upper=False)
    return torch.linalg.solve_triangular(lower.mT, half, upper=True)


def _captures(call: Callable[[], torch.Tensor]) -> str:
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        graph.replay()
        torch.cuda.synchronize()
    except Exception as error:
        return str(error).splitlines()[0][:200]
    return "recorded"
