"""phi for serving: framed drawings in, features out, by whatever runs it fastest on the device.

Everything else takes phi for a function of images. What was tried on a CPU: bench/results/phi_engines.json.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from model.devices import CORES, WORKERS
from model.networks.features import FeatureExtractor, FrozenBackbone
from model.serving.onnx_export import phi_to_onnx
from model.serving.onnx_runtime import session


class Phi(Protocol):
    """Framed drawings [B,R,R], 255 full ink, or photos [B,R,R,3] -> features [B,F] on the device."""

    def __call__(self, images: NDArray[np.uint8]) -> Tensor:
        """The features."""

    def begin(self, images: NDArray[np.uint8]) -> Callable[[], Tensor]:
        """Begin the same; what it gives waits for the features. So two of them share the cores."""


CHUNKS = (1, 4, 16)  # images a call: the activations of more leave the processor's cache
REPEATS = 3
WORTH_ROUNDING = 1.3  # times as fast: for less, phi is computed as it was trained
ALIKE = 0.9  # cosine of its features to phi's own: on a processor that overflows on bytes it is far below
WORTH_SHARING = 0.9  # of the time that one thread takes
WORTH_A_THREAD = 0.0005  # seconds


def always() -> bool:
    """Nobody else wants the cores."""
    return True


def fastest_phi(
    phi: FeatureExtractor,
    side: int,
    device: torch.device,
    cores_are_free: Callable[[], bool] = always,
    *,
    exact: bool = False,
) -> Phi:
    """The fastest form of a phi that will not change any more, for pictures of `side` pixels.

    With `exact` it gives what phi gives, but for rounding errors; else what `OnnxPhi` finds near enough.
    """
    if device.type == "cuda":
        return TorchPhi(phi, device)
    try:
        return OnnxPhi(phi, side, cores_are_free, exact=exact)
    except TypeError:  # a torchvision backbone with layers that have no ONNX form here
        return TorchPhi(phi, device)


class TorchPhi:
    """PyTorch, all images in one call: what a GPU likes best."""

    def __init__(self, phi: FeatureExtractor, device: torch.device) -> None:
        phi.fold_batch_norm()
        self._phi, self._device = phi.to(device).to(memory_format=torch.channels_last), device

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8]) -> Tensor:
        # [B, 1, R, R], or [B, 3, R, R]
        drawings = torch.from_numpy(images).unsqueeze(1) if images.ndim == 3 else torch.from_numpy(images).movedim(3, 1)
        if self._device.type == "cuda":  # bytes travel from pinned memory while the host goes on; they widen over there
            drawings = drawings.pin_memory().to(self._device, non_blocking=True)
        features: Tensor = self._phi((drawings.float() / 255).contiguous(memory_format=torch.channels_last))
        return features

    def begin(self, images: NDArray[np.uint8]) -> Callable[[], Tensor]:
        features = self(images)  # a GPU works on while its host goes on
        return lambda: features


class OnnxPhi:
    """ONNX Runtime, in chunks and on threads that were found by timing; on one where the cores are not free.

    phi is computed in bytes where that is much faster and, seen by its features, nearly the same.
    """

    def __init__(
        self, phi: FeatureExtractor, side: int, cores_are_free: Callable[[], bool] = always, *, exact: bool = False
    ) -> None:
        phi.fold_batch_norm()
        self._cores_are_free = cores_are_free
        self._graph = phi_to_onnx(phi, side)
        images = smooth(max(CHUNKS), side) if isinstance(phi.blocks, FrozenBackbone) else strokes(max(CHUNKS), side)
        self.quantised = False
        if not exact:
            with contextlib.suppress(TypeError):  # a phi that has no such form
                self._try_quantised(phi_to_onnx(phi, side, quantised=True), images[:4])
        timed: dict[int, dict[int, float]] = {}  # by threads and chunk: seconds an image
        for threads in {1, CORES}:
            session = self.on_threads(threads)
            timed[threads] = {chunk: _seconds(session, images[:chunk]) / chunk for chunk in CHUNKS}
        # Several threads where one image alone gains: waking them for less takes their cores from those who read and
        # decode requests.
        several = timed[CORES][1] < WORTH_SHARING * timed[1][1]
        self.threads = CORES if several else 1
        self.chunk = min(CHUNKS, key=lambda chunk: timed[1][chunk])
        self.seconds_an_image = timed[1][self.chunk]
        self._alone = self.on_threads(
            1
        )  # for many, each thread on images of its own: they then need not wait for others
        self._together = self.on_threads(CORES) if several else self._alone  # for one image, all threads on it
        # That pays wherever an image takes much longer than to hand it over; the small model leaves the other cores
        # to those who read and decode requests.
        self.workers = CORES if timed[1][self.chunk] > WORTH_A_THREAD else 1

    def _try_quantised(self, graph: bytes, some: NDArray[np.uint8]) -> None:
        """Take phi's quantised form if on this processor it is, with some images, what it promises to be."""
        exact = self.on_threads(1)
        plain, self._graph = self._graph, graph
        quantised = self.on_threads(1)
        alike = (unit(exact(some)) * unit(quantised(some))).sum(axis=1).min()
        faster = _seconds(exact, some) / _seconds(quantised, some)
        self.quantised = bool(alike >= ALIKE and faster >= WORTH_ROUNDING)
        if not self.quantised:
            self._graph = plain

    def on_threads(self, threads: int) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
        """phi in one call, on so many threads."""
        ready = session(self._graph, threads)

        def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            (features,) = ready.run(None, {"images": images})
            return features  # type: ignore[no-any-return]

        return run

    def __call__(self, images: NDArray[np.uint8]) -> Tensor:
        if len(images) > 1:
            return self.begin(images)()
        shared = self.threads > 1 and self._cores_are_free()
        return torch.from_numpy(self._together(images) if shared else self._alone(images))

    def begin(self, images: NDArray[np.uint8]) -> Callable[[], Tensor]:
        workers = self.workers if self.workers > 1 and self._cores_are_free() else 1
        size = min(self.chunk, -(-len(images) // workers))
        chunks = [images[at : at + size] for at in range(0, len(images), size)]
        features = map(self._alone, chunks) if workers == 1 else WORKERS.map(self._alone, chunks)
        return lambda: torch.from_numpy(np.concatenate(list(features)))


def smooth(count: int, side: int) -> NDArray[np.uint8]:
    """Soft patches of colour, [B,R,R,3]: nearer to photos than noise is."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, 7, 7, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)) for one in coarse])


def strokes(count: int, side: int) -> NDArray[np.uint8]:
    """Framed scribbles, [B,R,R]: each a line through some points."""
    scribbles, places = [], np.random.default_rng(0).integers(side // 10, side - side // 10, (count, 5, 2))
    for points in places.tolist():
        paper = Image.new("L", (side, side))
        ImageDraw.Draw(paper).line([tuple(point) for point in points], fill=255, width=max(1, side // 28))
        scribbles.append(np.asarray(paper))
    return np.stack(scribbles)


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1."""
    lengths: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return lengths


def _seconds(run: Callable[[Any], object], images: NDArray[np.uint8]) -> float:
    """The shortest of some calls, after one to warm up: others on the machine only ever make them longer."""
    took = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        run(images)
        took.append(time.perf_counter() - began)
    return min(took[1:])
