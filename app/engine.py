"""The model on its device. Its methods block and belong to the batcher's one thread."""

import logging
import statistics
import time
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.cache import Head
from app.support import Kept
from model.adapt import AdaptedTask, Adapter, Support
from model.checkpoint import read_info
from model.devices import choose
from model.leo import LatentEmbeddingOptimization
from model.networks import FeatureExtractor

log = logging.getLogger(__name__)

ALL_THREADS = torch.get_num_threads()  # before any model chooses fewer

Images = NDArray[np.uint8]  # [B,R,R], 255 full ink: what `model.drawings.to_input` gives

CHUNK_ON_CPU = 16  # images a pass of phi: the activations of more leave the processor's cache


@dataclass(frozen=True)
class Adapt:
    """Make a task: support images [S,R,R] and their class numbers [S], after those that were `kept`."""

    images: Images
    labels: NDArray[np.int64]
    kept: Kept | None = None
    model: str = ""  # of those loaded; empty for the default


@dataclass(frozen=True)
class Adapted(AdaptedTask):
    """The task, and what may be kept of all its support."""

    support: Kept


@dataclass(frozen=True)
class Predict:
    """Classify images [Q,R,R] with a head, or with the head that codes [N,L] decode to."""

    images: Images
    head: Head | None
    codes: NDArray[np.float32]
    model: str = ""


@dataclass(frozen=True)
class Predicted:
    """Probabilities [Q,N] and the head they came from, to be cached."""

    probabilities: NDArray[np.float32]
    head: Head


@dataclass(frozen=True)
class Decode:
    """Only decode codes [N,L] to a head."""

    codes: NDArray[np.float32]
    model: str = ""


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device, or the machine, had too little memory for a batch."""
    on_cpu = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or on_cpu


def release_memory() -> None:
    """Give back what the allocator keeps for later."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


Work = Adapt | Predict | Decode
Result = Adapted | Predicted | Head


class Engine:
    """A LEO and the passes that requests share."""

    def __init__(self, weights: Path, device: str = "auto") -> None:
        """Load a model folder. Raises `CheckpointError`, or `ValueError` for a device that is not there."""
        self.device = choose(device)
        self.info = read_info(weights)
        self.leo = LatentEmbeddingOptimization.from_pretrained(weights, self.device)
        for phi in {self.leo.classifier.phi, self.leo.encoder_phi}:
            phi.fold_batch_norm()
        self.leo.to(memory_format=torch.channels_last)
        self._adapter = Adapter(self.leo)
        self.resolution = self.info.config.resolution
        self._threads: int | None = None
        if self.device.type == "cpu":
            self._choose_threads()

    def _choose_threads(self) -> None:
        """One thread for a small model, which loses more by waking others than they save; all for a large one."""
        drawings = np.random.default_rng(0).integers(0, 256, (5, self.resolution, self.resolution), dtype=np.uint8)
        work: list[Work] = [Adapt(drawings, np.arange(5))]
        most, medians = ALL_THREADS, {}
        for threads in (1, most):
            torch.set_num_threads(threads)
            self.run(work)
            took = []
            for _ in range(9):
                began = time.perf_counter()
                self.run(work)
                took.append(time.perf_counter() - began)
            medians[threads] = statistics.median(took)
        # Clearly faster, or the choice would flip from start to start, and the last digits of answers with it.
        chosen = most if medians[most] < 0.75 * medians[1] else 1
        self._threads = chosen
        torch.set_num_threads(chosen)
        log.info(
            "%s: %d of %d threads, %.1f ms a 5-way 1-shot task", self.info.name, chosen, most, 1000 * medians[chosen]
        )

    def run(self, batch: list[Work]) -> list[Result]:
        """Do all of a batch: phi once over all images, one inner loop over all tasks."""
        if self._threads is not None and torch.get_num_threads() != self._threads:  # another model ran meanwhile
            torch.set_num_threads(self._threads)
        with torch.inference_mode():
            return self._run(batch)

    def _run(self, batch: list[Work]) -> list[Result]:
        images = [work.images for work in batch if not isinstance(work, Decode)]
        features = self._through(self.leo.classifier.phi, images)
        shared_phi = self.leo.encoder.features is None
        adapts = [work for work in batch if isinstance(work, Adapt)]
        encoder_features = [] if shared_phi else self._through(self.leo.encoder_phi, [work.images for work in adapts])

        of_images, of_encoder = iter(features), iter(encoder_features)
        supports: list[Support] = []
        results: dict[int, Result] = {}
        for position, work in enumerate(batch):
            if isinstance(work, Decode):
                results[position] = self._decode(work.codes)
                continue
            mine = next(of_images)
            if isinstance(work, Adapt):
                supports.append(self._with_kept(work, mine, mine if shared_phi else next(of_encoder)))
            else:
                head = work.head or self._decode(work.codes)
                logits = torch.addmm(head.bias, mine, head.weight.T)  # [Q, N]
                results[position] = Predicted(
                    (logits / self.leo.config.temperature).softmax(dim=-1).cpu().numpy(), head
                )
        made = self._adapter.adapt(supports) if supports else []
        adapted = iter([self._adapted(task, support) for task, support in zip(made, supports, strict=True)])
        return [next(adapted) if isinstance(work, Adapt) else results[i] for i, work in enumerate(batch)]

    def _with_kept(self, work: Adapt, features: Tensor, encoder_features: Tensor) -> Support:
        """New features [S,F] behind those kept of earlier examples."""
        labels = torch.from_numpy(work.labels).to(self.device)
        kept = work.kept
        if kept is None:
            return Support(features, encoder_features, labels)
        of_encoder = kept.features if kept.encoder_features is None else kept.encoder_features
        earlier, earlier_encoder = (torch.from_numpy(f).to(self.device).float() for f in (kept.features, of_encoder))
        return Support(
            torch.cat([earlier, features]),
            torch.cat([earlier_encoder, encoder_features]),
            torch.cat([torch.from_numpy(kept.labels).to(self.device), labels]),
        )

    def _adapted(self, task: AdaptedTask, support: Support) -> Adapted:
        def compact(features: Tensor) -> NDArray[np.float16]:
            return features.half().cpu().numpy()

        shared_phi = self.leo.encoder.features is None
        kept = Kept(
            compact(support.features),
            None if shared_phi else compact(support.encoder_features),
            support.labels.cpu().numpy(),
        )
        return Adapted(**vars(task), support=kept)

    def _through(self, phi: FeatureExtractor, parts: list[Images]) -> list[Tensor]:
        """Features of several requests' images in one pass, cut apart again: [B,R,R] each -> [B,F] each."""
        if not parts:
            return []
        images = torch.from_numpy(np.concatenate(parts)).unsqueeze(1).to(self.device).float() / 255  # [B, 1, R, R]
        chunk = CHUNK_ON_CPU if self.device.type == "cpu" else len(images)
        features = torch.cat([self.leo.features(phi, some) for some in images.split(chunk)])
        ends = list(accumulate(len(part) for part in parts))
        return [features[end - len(part) : end] for end, part in zip(ends, parts, strict=True)]

    def _decode(self, codes: NDArray[np.float32]) -> Head:
        params = self.leo.decode_to_params(torch.from_numpy(codes).to(self.device))
        return Head(params["fc.weight"].contiguous(), params["fc.bias"].contiguous())
