"""Ways to run phi on a CPU side by side: milliseconds an image, start-up, megabytes installed, distance from PyTorch.

    python -m bench.phi_engines      # needs openvino beside the project's own packages, and a C++ compiler for inductor

Writes bench/results/phi_engines.json. What serves is `model.serving.phi`.
"""

import importlib.metadata
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from bench.common import DRAWING_MODELS, WEIGHTS, median_ms, write_results
from model.allocator import keep_freed_memory
from model.leo import LatentEmbeddingOptimization
from model.networks.features import FeatureExtractor
from model.serving.onnx_export import phi_to_onnx

SIZES, SECONDS = (1, 4, 16), 0.3
Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def load_phi(model: str) -> tuple[FeatureExtractor, int]:
    """A shipped model's feature extractor and its side in pixels."""
    leo = LatentEmbeddingOptimization.from_pretrained(WEIGHTS / model)
    return leo.classifier.phi, leo.config.resolution


def folded_phi(model: str) -> tuple[FeatureExtractor, int]:
    """The same with each BatchNorm folded into its convolution."""
    phi, side = load_phi(model)
    phi.fold_batch_norm()
    return phi, side


def ink(images: NDArray[np.uint8]) -> torch.Tensor:
    """[B,R,R], 255 full ink -> [B,1,R,R], 1 full ink."""
    return torch.from_numpy(images).unsqueeze(1).float() / 255


def eager(model: str, _: int) -> Run:
    phi, _ = load_phi(model)
    return lambda images: phi(ink(images)).numpy()


def channels_last(model: str, _: int, compiled: bool = False) -> Run:
    phi = folded_phi(model)[0].to(memory_format=torch.channels_last)
    # Compiled for each batch size: with a dynamic one the check of strides fails.
    call = torch.compile(phi, dynamic=False) if compiled else phi
    return lambda images: call(ink(images).contiguous(memory_format=torch.channels_last)).numpy()


def bfloat16(model: str, threads: int) -> Run:
    run = channels_last(model, threads)

    def cast(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.autocast("cpu", torch.bfloat16):
            return run(images)

    return cast


def inductor(model: str, threads: int) -> Run:
    import torch._inductor.config as inductor_config

    inductor_config.freezing = True
    torch._dynamo.reset()
    return channels_last(model, threads, compiled=True)


def onnx_runtime(model: str, threads: int) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    graph = phi_to_onnx(*folded_phi(model))
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]  # type: ignore[no-any-return]


def openvino(model: str, threads: int) -> Run:
    import openvino as ov

    options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    core = ov.Core()
    graph = core.read_model(phi_to_onnx(*folded_phi(model)))
    request = core.compile_model(graph, "CPU", options).create_infer_request()
    return lambda images: request.infer({0: images})[0]


ENGINES: dict[str, tuple[Callable[[str, int], Run], str]] = {
    "PyTorch, as trained": (eager, "torch"),
    "PyTorch, folded, channels last": (channels_last, "torch"),
    "the same in bfloat16": (bfloat16, "torch"),
    "torch.compile (inductor, freezing)": (inductor, "torch"),
    "ONNX Runtime": (onnx_runtime, "onnxruntime"),
    "OpenVINO": (openvino, "openvino"),
}


def installed_mb(package: str) -> float:
    """Megabytes of a package's files."""
    paths = [Path(str(file.locate())) for file in importlib.metadata.files(package) or []]
    return round(sum(path.stat().st_size for path in paths if path.is_file()) / 1e6, 1)


@torch.inference_mode()
def measure(model: str) -> list[dict[str, Any]]:
    """A row for each engine on one thread and on two; one that is not installed says how it failed."""
    phi, side = load_phi(model)
    images = (255 * (np.random.default_rng(0).random((max(SIZES), side, side)) < 0.15)).astype(np.uint8)
    expected = phi(ink(images[:1])).numpy()
    rows: list[dict[str, Any]] = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for name, (make, package) in ENGINES.items():
            began = time.perf_counter()
            row: dict[str, Any] = {"engine": name, "threads": threads}
            rows.append(row)
            try:
                run = make(model, threads)
                distance = float(np.abs(run(images[:1]) - expected).max())
            except Exception as error:  # a package or a compiler that is not here
                row["failed"] = f"{type(error).__name__}: {error}"[:200]
                continue
            row |= {
                "version": importlib.metadata.version(package),
                "installed_mb": installed_mb(package),
                "start_seconds": round(time.perf_counter() - began, 2),
                "largest_difference": distance,
                "ms_an_image": {str(n): round(median_ms(partial(run, images[:n]), SECONDS) / n, 3) for n in SIZES},
            }
            print(model, json.dumps(row), flush=True)
    return rows


def main() -> None:
    """Measure every engine with both models for drawings."""
    keep_freed_memory()
    models = {model: measure(model) for model in DRAWING_MODELS}
    write_results("phi_engines", "phi on a CPU, images a call against milliseconds an image", models=models)


if __name__ == "__main__":
    main()
