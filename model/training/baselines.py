"""Meta-training of the gradient-based baselines: MAML, Meta-SGD and ANIL.

They start from the LEO's phi. Their tasks are sampled as for LEO's episodes: the same ways, shots, queries,
augmentation and number of images, from training classes alone. A run can be killed at any moment: it resumes, and ends
with the same weights.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.baselines.gradient import GradientBased
from model.data.episodes import sample_episodes, split_support_and_queries
from model.data.omniglot import Drawings, fingerprint
from model.functional import one_hot
from model.training.config import BaselineTrainConfig
from model.training.drawing_batches import ROTATIONS, DrawingBatches
from model.training.schedule import one_cycle, random_choice, step_generator

CHECKPOINT_EVERY = 10  # steps


def meta_train(
    method: GradientBased,
    training: Drawings,
    resolution: int,
    config: BaselineTrainConfig,
    device: torch.device,
    checkpoint: Path | None = None,
) -> Iterator[tuple[int, float]]:
    """Train a method in place and yield the number and query loss of each step.

    The run is saved in the file `checkpoint` every ten steps and continues from it, if that is of the same run. A step
    whose loss or gradient is not finite changes nothing and yields NaN. Raises
    `model.data.sources.DataError` if the data is too small for a task.
    """
    batches = DrawingBatches(training, resolution, device)
    counts = training.counts.repeat_interleave(ROTATIONS)
    identity = _identity(method, training, config)
    method.to(device).train()
    phi = list(method.phi.parameters())
    others = [p for name, p in method.named_parameters() if not name.startswith("phi.")]
    optimizer = torch.optim.Adam([{"params": phi, "peak": config.phi_lr}, {"params": others, "peak": config.head_lr}])
    done = 0
    if checkpoint is not None and checkpoint.exists():
        saved: dict[str, Any] = torch.load(checkpoint, map_location=device, weights_only=True)
        if saved["identity"] == identity:
            done = saved["step"]
            method.load_state_dict(saved["method"])
            optimizer.load_state_dict(saved["optimizer"])
    for step in range(done, config.steps):
        generator = step_generator(config.seed, step)
        way, shot = random_choice(config.ways, generator), random_choice(config.shots, generator)
        tasks = config.tasks_per_step(way, shot)
        episodes = sample_episodes(counts, tasks, way, shot, config.query, generator)
        images = batches.augmented_tasks(episodes.classes, episodes.drawings, ROTATIONS, generator)
        support, labels, queries, query_labels = split_support_and_queries(images, shot)
        state = method.adapt(method.extractor(support), one_hot(labels, way))
        logits = method.logits(state, method.extractor(queries))  # [T, N*Q, N]
        loss = F.cross_entropy(logits.flatten(0, 1), query_labels.flatten())
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * one_cycle(step / config.steps)
        reached = _step_if_finite(loss, optimizer, config.max_grad_norm)
        if checkpoint is not None and ((step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == config.steps):
            weights = {"method": method.state_dict(), "optimizer": optimizer.state_dict()}
            fresh = checkpoint.with_suffix(".new")
            torch.save({"identity": identity, "step": step + 1} | weights, fresh)
            fresh.replace(checkpoint)
        yield step + 1, reached
    method.eval()


def _identity(method: GradientBased, training: Drawings, config: BaselineTrainConfig) -> str:
    """Return what determines a run's result: the method and its first weights, the data and the settings."""
    weights = hashlib.sha256()
    for name, value in method.state_dict().items():
        weights.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return f"{method.kind} {weights.hexdigest()} {fingerprint(training)} {config.model_dump_json()}"


def _step_if_finite(loss: Tensor, optimizer: torch.optim.Optimizer, max_norm: float) -> float:
    """Clip the gradients and step, unless loss or gradients are not finite; return the loss or NaN."""
    optimizer.zero_grad(set_to_none=True)
    if not torch.isfinite(loss):
        return float("nan")
    loss.backward()
    norm = nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], max_norm)
    if not torch.isfinite(norm):
        return float("nan")
    optimizer.step()
    return float(loss.detach())
