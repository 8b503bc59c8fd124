"""The model on its device: one pass over a batch of requests. Its methods block; one thread at a time calls them."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from app.inference.cpu_pass import CpuPass
from app.inference.device_pass import DevicePass, PassElsewhere
from app.inference.work import Adapt, Decode, Predict, Result, Work
from model.checkpoint import read_info
from model.devices import choose
from model.images.reader import reader
from model.leo import LatentEmbeddingOptimization
from model.serving.phi import always_free

WARM_UP_IMAGES = (1, 5, 25)
DECODE_FLOPS = 2e10  # a second, on a slow core: to tell whether decoding heads is quick


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device, or the machine, had too little memory for a batch."""
    signs = ("DefaultCPUAllocator", "Failed to allocate memory", "STATUS_ALLOC_FAILED", "CUDA error: out of memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(sign in str(error) for sign in signs)


def is_device_lost(error: Exception) -> bool:
    """Whether a GPU has failed in a way after which this process can never use it again."""
    return "CUDA error" in str(error) and not is_out_of_memory(error)


def release_memory() -> None:
    """Return to the device what the allocator keeps for later."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Engine:
    """A LEO, and the passes over it that requests share."""

    def __init__(
        self,
        weights: Path,
        device: str | None = "auto",
        cores_are_free: Callable[[], bool] = always_free,
        quantise: bool | None = None,
        *,
        stacked: bool = False,
    ) -> None:
        """Load a model folder. On a CPU one call spreads over all cores where `cores_are_free`.

        No `device`: it computes elsewhere, and this only knows the model. `quantise` phi to 8 bits, or not; None: where
        the CPU is made for it, see `model.serving.phi`. `stacked`: compute on a CPU too as on a GPU, see
        `model.serving.stacked`. Raises `CheckpointError`, `BackboneError`, or `ValueError` for a device or a precision
        that is not there.
        """
        self.device = None if device is None else choose(device)
        if self.device is not None and self.device.type == "cuda":
            torch.cuda.set_device(self.device)  # streams, events and graphs belong to the GPU that is current
        self.info = read_info(weights)
        self.leo = LatentEmbeddingOptimization.from_pretrained(weights, self.device or "cpu")
        self.read = reader(self.info.config)
        self._pass: CpuPass | DevicePass | PassElsewhere
        if self.device is None:
            self._pass = PassElsewhere(self.leo, quantise)
        elif self.device.type == "cpu" and not stacked:
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
        return self._pass.precision

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
    def takes_negatives(self) -> bool:
        """Whether examples of none of a task's classes tell it anything."""
        return self.leo.background is not None and self.leo.decoder.is_plain

    @property
    def takes_drawings(self) -> bool:
        """Whether the model is for drawings; else it is for photos."""
        return self.info.config.pretrained is None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an image: [R,R], or [R,R,3] for photos."""
        side = self.info.config.resolution
        return (side, side) if self.takes_drawings else (side, side, 3)

    @property
    def version_and_shape(self) -> tuple[str, tuple[int, ...]]:
        """Its version, and the shape of the images that it takes."""
        return self.info.version, self.shape

    def run(self, batch: list[Work]) -> list[Result]:
        """Do all work of a batch: phi once over all images, one inner loop over all tasks."""
        return self.begin(batch)()

    def begin(self, batch: list[Work]) -> Callable[[], list[Result]]:
        """Start the work of a batch, and return a function that waits for its results.

        A GPU computes meanwhile, so the host may gather the next batch. A CPU has done all before this returns.
        """
        with torch.inference_mode():
            return self._pass.begin(batch)

    def warm_up(self) -> None:
        """Run each kind of work, of one image and of many: libraries choose their methods on the first call of a size.

        It costs the first request of a size some tens of milliseconds otherwise.
        """
        if isinstance(self._pass, DevicePass):
            with torch.inference_mode():
                self._pass.record(self.shape)
        codes = np.zeros((5, self.info.config.latent_dim), dtype=np.float32)
        for images in WARM_UP_IMAGES:
            blank = np.zeros((images, *self.shape), dtype=np.uint8)
            adaptation = Adapt(blank, np.arange(images) % min(5, images))
            self.run([Predict(blank, None, codes), adaptation, Decode(codes)])
            self.run([adaptation])
            self.run([Predict(blank, None, codes)])
