"""The model on its device: one pass over a batch of requests. Its methods block; one thread at a time calls them."""

import math
from collections.abc import Callable
from pathlib import Path

import torch

from app.inference.cpu_pass import CpuPass
from app.inference.device_pass import DevicePass
from app.inference.work import Decode, Predict, Result, Work
from model.checkpoint import read_info
from model.devices import choose
from model.images.reader import reader
from model.leo import LatentEmbeddingOptimization
from model.serving.phi import always_free

DECODE_FLOPS = 2e10  # a second, on a slow core: to tell whether decoding heads is quick


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device, or the machine, had too little memory for a batch."""
    on_cpu = any(sign in str(error) for sign in ("DefaultCPUAllocator", "Failed to allocate memory"))
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or on_cpu


def release_memory() -> None:
    """Return to the device what the allocator keeps for later."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Engine:
    """A LEO, and the passes over it that requests share."""

    def __init__(
        self,
        weights: Path,
        device: str = "auto",
        cores_are_free: Callable[[], bool] = always_free,
        quantise: bool | None = None,
        *,
        stacked: bool = False,
    ) -> None:
        """Load a model folder. On a CPU one call spreads over all cores where `cores_are_free`.

        `quantise` phi to 8 bits, or not; None: where the CPU is made for it, see `model.serving.phi`. `stacked`:
        compute on a CPU too as on a GPU, see `model.serving.stacked`. Raises `CheckpointError`, `BackboneError`, or
        `ValueError` for a device or a precision that is not there.
        """
        self.device = choose(device)
        self.info = read_info(weights)
        self.leo = LatentEmbeddingOptimization.from_pretrained(weights, self.device)
        self.read = reader(self.info.config)
        self._pass: CpuPass | DevicePass
        if self.device.type == "cpu" and not stacked:
            self._pass = CpuPass(self.leo, self.info.config.resolution, cores_are_free, quantise)
        else:
            self._pass = DevicePass(self.leo, self.device, quantise)
        self._own_encoder = self.leo.encoder.features is not None
        self._decoder_size = sum(parameter.numel() for parameter in self.leo.decoder.parameters())

    @property
    def keeps_heads(self) -> bool:
        """Whether a prediction takes less time with a head that was decoded before."""
        return self._pass.keeps_heads

    @property
    def phi_precision(self) -> str:
        """ "int8" or "float32"."""
        return self._pass.phi.precision

    @property
    def seconds_an_image(self) -> float | None:
        """What phi takes for an image, where it was timed."""
        return self._pass.seconds_an_image

    def seconds(self, work: Work) -> float:
        """About how long work takes on its own; infinite where phi was not timed."""
        each = self.seconds_an_image
        if each is None:
            return math.inf
        if isinstance(work, Decode):
            return 2 * self._decoder_size * len(work.codes) / DECODE_FLOPS
        if isinstance(work, Predict):
            return len(work.images) * each
        passes = 2 if self._own_encoder else self.info.config.support_views
        return (passes * len(work.images) + (len(work.earlier) if work.earlier else 0)) * each

    @property
    def takes_drawings(self) -> bool:
        """Whether the model is for drawings; else it is for photos."""
        return self.info.config.pretrained is None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an image: [R,R], or [R,R,3] for photos."""
        side = self.info.config.resolution
        return (side, side) if self.takes_drawings else (side, side, 3)

    def run(self, batch: list[Work]) -> list[Result]:
        """Do all work of a batch: phi once over all images, one inner loop over all tasks."""
        return self.begin(batch)()

    def begin(self, batch: list[Work]) -> Callable[[], list[Result]]:
        """Start the work of a batch, and return a function that waits for its results.

        A GPU computes meanwhile, so the host may gather the next batch. A CPU has done all before this returns.
        """
        with torch.inference_mode():
            return self._pass.begin(batch)
