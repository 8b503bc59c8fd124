"""phi as the service runs it: images as bytes in, features out, by ONNX Runtime on a CPU and PyTorch on a GPU.

bench/results/phi_engines.json holds what other engines took on a CPU.
"""

import hashlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from model.devices import CORES, INT8_DOT_PRODUCTS, THREAD_POOL, int8_is_fast
from model.networks.features import FeatureExtractor, FrozenBackbone
from model.onnx_runtime import session
from model.serving.onnx_export import phi_to_onnx


class Phi(Protocol):
    """A feature extractor that serves: drawings [B,R,R], 255 full ink, or photos [B,R,R,3] -> features [B,F]."""

    @property
    def quantised(self) -> bool:
        """Whether activations and weights are rounded to 8 bits."""

    @property
    def precision(self) -> str:
        """`int8` or `float32`."""

    def __call__(self, images: NDArray[np.uint8]) -> Tensor:
        """Compute the features, [B,F], on the device."""

    def begin(self, images: NDArray[np.uint8]) -> Callable[[], Tensor]:
        """Start computing and return a function that waits for the features, so that two phis can share the cores."""


CHUNK_SIZES = (1, 4, 16)  # images a call that are tried: the activations of more do not fit the CPU's cache
TIMED_CALLS = 3
SLOW_SECONDS = 0.05  # for one image; a backbone so slow gains nothing by larger chunks, and timing them takes long
MIN_COSINE = 0.9  # between quantised features and float32 ones; where 16-bit sums overflow it is far lower
MULTITHREADED_BELOW = 0.9  # of one thread's time that all threads may take for one image, for them to be used
PARALLEL_ABOVE_SECONDS = 0.0005  # time for one image from which chunks are spread over threads


class PhiTiming(NamedTuple):
    """How an `OnnxPhi` is fastest on this machine."""

    threads: int  # that compute one image alone
    chunk: int  # images a call where there are more
    seconds_an_image: float  # in such a chunk, on one thread


#: What was measured, by the SHA-256 of phi's graph. A process that is given what another one measured starts sooner,
#: and is not misled by load.
TIMINGS: dict[str, PhiTiming] = {}


class NotQuantisable(ValueError):
    """phi cannot run in 8 bits on this machine; the message says why and what to do instead."""


def always_free() -> bool:
    """Say that nothing else needs the cores: the default of `cores_are_free`."""
    return True


def fastest_phi(
    phi: FeatureExtractor,
    side: int,
    device: torch.device,
    cores_are_free: Callable[[], bool] = always_free,
    *,
    quantise: bool | None = None,
) -> Phi:
    """Make the fastest form of a phi whose weights no longer change, for images of `side` pixels.

    `quantise` decides between 8 bits and float32: None takes 8 bits on a CPU that has dot products for them, where
    features of sample images stay nearly the same. True insists on 8 bits, and raises `NotQuantisable` (a
    `ValueError`) where phi cannot run so. False takes float32. The choice never depends on how fast a call was,
    so equal CPUs compute equal features.

    `cores_are_free` is asked before a call spreads over several threads.
    """
    if device.type == "cuda":
        if quantise:
            raise NotQuantisable("phi cannot run quantised on a GPU: use float32 there, or the device cpu")
        return TorchPhi(phi, device)
    try:
        return OnnxPhi(phi, side, cores_are_free, quantise=quantise)
    except TypeError as error:  # a torchvision backbone with layers that have no ONNX form here
        if quantise:
            raise NotQuantisable(f"phi cannot run quantised: {error}; use float32") from error
        return TorchPhi(phi, device)


class TorchPhi:
    """phi in PyTorch and float32, with all images in one call, which suits a GPU."""

    quantised = False
    precision = "float32"

    def __init__(self, phi: FeatureExtractor, device: torch.device) -> None:
        phi.fold_batch_norm()
        self._phi, self._device = phi.to(device).to(memory_format=torch.channels_last), device

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(images)
        if self._device.type == "cuda":  # pinned memory is copied while the host goes on; bytes are the least to copy
            pixels = pixels.pin_memory().to(self._device, non_blocking=True)
        return self.compute(pixels)

    def compute(self, images: Tensor) -> Tensor:
        """Compute the features of images on the device: uint8 [B,R,R] or [B,R,R,3] -> [B,F]."""
        pixels = images.unsqueeze(1) if images.dim() == 3 else images.movedim(3, 1)  # [B, 1, R, R], or [B, 3, R, R]
        features: Tensor = self._phi((pixels.float() / 255).contiguous(memory_format=torch.channels_last))
        return features

    def begin(self, images: NDArray[np.uint8]) -> Callable[[], Tensor]:
        features = self(images)  # a GPU computes while its host goes on
        return lambda: features


class OnnxPhi:
    """phi in ONNX Runtime on a CPU, in 8 bits or float32, in chunks and on threads chosen by timing at the start.

    `threads` is how many compute one image alone, `chunk` the images a call where there are more, and
    `seconds_an_image` the time that one image takes in such a chunk on one thread.
    """

    def __init__(
        self,
        phi: FeatureExtractor,
        side: int,
        cores_are_free: Callable[[], bool] = always_free,
        *,
        quantise: bool | None = None,
    ) -> None:
        """Fold phi's BatchNorm, choose its precision and time it; the arguments are those of `fastest_phi`.

        Raises `TypeError` for a layer without an ONNX form, `NotQuantisable` where `quantise` is True and cannot be.
        """
        phi.fold_batch_norm()
        self._cores_are_free = cores_are_free
        self._graph = phi_to_onnx(phi, side)
        count = max(CHUNK_SIZES)
        images = sample_photos(count, side) if isinstance(phi.blocks, FrozenBackbone) else sample_drawings(count, side)
        self.quantised = False
        if quantise is not False:
            try:
                self._graph = _quantised_graph(phi, side, self._graph, images[:4])
                self.quantised = True
            except NotQuantisable:
                if quantise:
                    raise
        digest = hashlib.sha256(self._graph).hexdigest()
        if digest not in TIMINGS:
            TIMINGS[digest] = self._time(images)
        self.threads, self.chunk, self.seconds_an_image = TIMINGS[digest]
        self._run = self.on_threads(1)
        self._run_multithreaded = self.on_threads(CORES) if self.threads > 1 else self._run
        # The first call of a session is slow, and so is that of each thread.
        for run in (self._run, self._run_multithreaded):
            for size in (1, self.chunk):
                features = run(images[:size])
        self._none = features[:0]  # of no image; some graphs cannot be run on none
        # Several images: each thread computes chunks of its own and waits for no other. That pays where an image takes
        # much longer than handing it over.
        self._parallel_chunks = CORES if self.seconds_an_image > PARALLEL_ABOVE_SECONDS else 1

    @property
    def precision(self) -> str:
        """`int8` or `float32`."""
        return "int8" if self.quantised else "float32"

    def _time(self, images: NDArray[np.uint8]) -> PhiTiming:
        """Find the number of threads and the chunk size that are fastest here."""
        seconds: dict[int, dict[int, float]] = {}  # by threads and chunk size: seconds an image
        for threads in {1, CORES}:
            run = self.on_threads(threads)
            seconds[threads] = {}
            for size in CHUNK_SIZES:
                seconds[threads][size] = _seconds(run, images[:size]) / size
                if seconds[threads][size] > SLOW_SECONDS:
                    break
        # Waking threads takes their cores from those who read and decode requests, so one image alone must gain by it.
        multithreaded = seconds[CORES][1] < MULTITHREADED_BELOW * seconds[1][1]
        chunk = min(seconds[1], key=lambda size: seconds[1][size])
        return PhiTiming(CORES if multithreaded else 1, chunk, seconds[1][chunk])

    def on_threads(self, threads: int) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
        """Make a function that computes phi in one call on that many threads."""
        return _runner(self._graph, threads)

    def __call__(self, images: NDArray[np.uint8]) -> Tensor:
        if len(images) != 1:
            return self.begin(images)()
        multithreaded = self.threads > 1 and self._cores_are_free()
        return torch.from_numpy(self._run_multithreaded(images) if multithreaded else self._run(images))

    def begin(self, images: NDArray[np.uint8]) -> Callable[[], Tensor]:
        parallel = self._parallel_chunks if self._parallel_chunks > 1 and self._cores_are_free() else 1
        size = max(1, min(self.chunk, -(-len(images) // parallel)))
        chunks = [images[at : at + size] for at in range(0, len(images), size)]
        features = map(self._run, chunks) if parallel == 1 else THREAD_POOL.map(self._run, chunks)
        return lambda: torch.from_numpy(np.concatenate([self._none, *features]))


def _quantised_graph(phi: FeatureExtractor, side: int, float32: bytes, images: NDArray[np.uint8]) -> bytes:
    """phi's 8-bit graph, whose features of these images agree with those of the float32 graph.

    Raises `NotQuantisable` on a CPU without 8-bit dot products, for a phi with a layer that has no 8-bit form, and
    where features differ.
    """
    if not int8_is_fast():
        flags = ", ".join(sorted(INT8_DOT_PRODUCTS))
        raise NotQuantisable(
            f"phi cannot run quantised: this CPU has no 8-bit dot products (/proc/cpuinfo names none of {flags}); "
            "use float32"
        )
    try:
        graph = phi_to_onnx(phi, side, quantised=True)
    except TypeError as error:
        raise NotQuantisable(f"phi cannot run quantised: {error}; use float32") from error
    expected, found = _runner(float32, 1)(images), _runner(graph, 1)(images)
    cosine = float((_unit_rows(expected) * _unit_rows(found)).sum(axis=1).min())
    if not cosine >= MIN_COSINE:
        raise NotQuantisable(
            f"phi cannot run quantised: its features differ from those in float32 (cosine {cosine:.3f}, "
            f"at least {MIN_COSINE} is needed); use float32"
        )
    return graph


def _runner(graph: bytes, threads: int) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Images -> features through a graph that `phi_to_onnx` made."""
    ready = session(graph, threads)

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        (features,) = ready.run(None, {"images": images})
        return features  # type: ignore[no-any-return]

    return run


def sample_photos(count: int, side: int) -> NDArray[np.uint8]:
    """Random smooth patches of colour, [B,R,R,3] uint8: closer to photos than noise is. Always the same."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, 7, 7, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)) for one in coarse])


def sample_drawings(count: int, side: int) -> NDArray[np.uint8]:
    """Random framed drawings, [B,R,R] uint8: each a line through five points. Always the same."""
    drawings, corners = [], np.random.default_rng(0).integers(side // 10, side - side // 10, (count, 5, 2))
    for points in corners.tolist():
        paper = Image.new("L", (side, side))
        ImageDraw.Draw(paper).line([tuple(point) for point in points], fill=255, width=max(1, side // 28))
        drawings.append(np.asarray(paper))
    return np.stack(drawings)


def _unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each row to length 1."""
    scaled: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def _seconds(run: Callable[[Any], object], images: NDArray[np.uint8]) -> float:
    """The shortest of several calls, after one to warm up: other load on the machine can only lengthen a call."""
    took = []
    for _ in range(TIMED_CALLS + 1):
        began = time.perf_counter()
        run(images)
        took.append(time.perf_counter() - began)
    return min(took[1:])
