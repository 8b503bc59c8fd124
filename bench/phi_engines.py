"""Ways to run phi on a CPU, side by side: milliseconds an image, start-up, megabytes installed, distance from PyTorch.

    python -m bench.phi_engines      # needs openvino beside the project's own packages, and a C++ compiler for inductor

Writes bench/results/phi_engines.json. What serves is `model.serving.phi`.
"""

import importlib.metadata
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from bench.latency import RESULTS
from model.allocator import keep_freed_memory
from model.evaluation.card import machine, today
from model.leo import LatentEmbeddingOptimization
from model.networks.features import FeatureExtractor
from model.serving.onnx_export import phi_to_onnx

ROOT = Path(__file__).resolve().parent.parent
SIZES, SECONDS = (1, 4, 16), 0.3
Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def fresh(model: str) -> tuple[FeatureExtractor, int]:
    leo = LatentEmbeddingOptimization.from_pretrained(ROOT / "weights" / model)
    return leo.classifier.phi, leo.config.resolution


def ink(images: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(images).unsqueeze(1).float() / 255


def eager(model: str, _: int) -> Run:
    phi, _ = fresh(model)
    return lambda images: phi(ink(images)).numpy()


def folded(model: str, _: int) -> Run:
    phi, _ = fresh(model)
    phi.fold_batch_norm()
    phi.to(memory_format=torch.channels_last)
    return lambda images: phi(ink(images).contiguous(memory_format=torch.channels_last)).numpy()


def bfloat16(model: str, threads: int) -> Run:
    run = folded(model, threads)

    def cast(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.autocast("cpu", torch.bfloat16):
            return run(images)

    return cast


def inductor(model: str, _: int) -> Run:
    import torch._inductor.config as inductor_config

    inductor_config.freezing = True
    torch._dynamo.reset()
    phi, _ = fresh(model)
    phi.fold_batch_norm()
    phi.to(memory_format=torch.channels_last)
    compiled = torch.compile(phi, dynamic=False)  # anew for each batch size; a dynamic one's check of strides fails
    return lambda images: compiled(ink(images).contiguous(memory_format=torch.channels_last)).numpy()


def onnx_runtime(model: str, threads: int) -> Run:
    phi, side = fresh(model)
    phi.fold_batch_norm()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(phi_to_onnx(phi, side), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]  # type: ignore[no-any-return]


def openvino(model: str, threads: int) -> Run:
    import openvino as ov

    phi, side = fresh(model)
    phi.fold_batch_norm()
    options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    core = ov.Core()
    request = core.compile_model(core.read_model(phi_to_onnx(phi, side)), "CPU", options).create_infer_request()
    return lambda images: request.infer({0: images})[0]


ENGINES: dict[str, tuple[Callable[[str, int], Run], str]] = {
    "PyTorch, as trained": (eager, "torch"),
    "PyTorch, folded, channels last": (folded, "torch"),
    "the same in bfloat16": (bfloat16, "torch"),
    "torch.compile (inductor, freezing)": (inductor, "torch"),
    "ONNX Runtime": (onnx_runtime, "onnxruntime"),
    "OpenVINO": (openvino, "openvino"),
}


def megabytes(package: str) -> float:
    """Of its files as installed."""
    files = importlib.metadata.files(package) or []
    return round(sum(Path(str(file.locate())).stat().st_size for file in files if file.locate().is_file()) / 1e6, 1)  # type: ignore[attr-defined]


def median_ms(run: Run, images: NDArray[np.uint8]) -> float:
    for _ in range(2):
        run(images)
    took, until = [], time.perf_counter() + SECONDS
    while time.perf_counter() < until or len(took) < 5:
        began = time.perf_counter()
        run(images)
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took)


def measure(model: str) -> list[dict[str, Any]]:
    phi, side = fresh(model)
    images = (255 * (np.random.default_rng(0).random((max(SIZES), side, side)) < 0.15)).astype(np.uint8)
    rows = []
    with torch.inference_mode():
        expected = phi(ink(images)).numpy()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for name, (make, package) in ENGINES.items():
            with torch.inference_mode():
                began = time.perf_counter()
                try:
                    run = make(model, threads)
                    distance = float(np.abs(run(images[:1]) - expected[:1]).max())
                except Exception as error:  # a package or a compiler that is not here
                    rows.append(
                        {"engine": name, "threads": threads, "failed": f"{type(error).__name__}: {error}"[:200]}
                    )
                    continue
                started = time.perf_counter() - began
                row = {
                    "engine": name,
                    "threads": threads,
                    "version": importlib.metadata.version(package),
                    "installed_mb": megabytes(package),
                    "start_seconds": round(started, 2),
                    "largest_difference": distance,
                    "ms_an_image": {str(n): round(median_ms(run, images[:n]) / n, 3) for n in SIZES},
                }
            rows.append(row)
            print(model, json.dumps(row), flush=True)
    return rows


def main() -> None:
    """Measure every engine with both shipped models."""
    keep_freed_memory()
    found = {model: measure(model) for model in ("omniglot", "omniglot-105")}
    written = {
        "what": "phi on a CPU, images a call against milliseconds an image",
        "date": today(),
        "machine": machine(),
    }
    (RESULTS / "phi_engines.json").write_text(json.dumps(written | {"models": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
