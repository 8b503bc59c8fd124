"""Meta-training of the gradient-based baselines: MAML, Meta-SGD and ANIL.

They start from the LEO's phi. Their tasks are sampled as for LEO's episodes: the same ways, shots, queries,
augmentation and number of images, from training classes alone.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.baselines.gradient import GradientBased
from model.data.episodes import sample_episodes, split_support_and_queries
from model.data.omniglot import Drawings
from model.functional import one_hot
from model.training.config import BaselineTrainConfig
from model.training.drawing_batches import ROTATIONS, DrawingBatches
from model.training.schedule import one_cycle, random_choice, step_generator


def meta_train(
    method: GradientBased, training: Drawings, resolution: int, config: BaselineTrainConfig, device: torch.device
) -> Iterator[tuple[int, float]]:
    """Train a method in place and yield the number and query loss of each step.

    A step whose loss or gradient is not finite changes nothing and yields NaN. Raises
    `model.data.sources.DataError` if the data is too small for a task.
    """
    batches = DrawingBatches(training, resolution, device)
    counts = training.counts.repeat_interleave(ROTATIONS)
    method.to(device).train()
    phi = list(method.phi.parameters())
    others = [p for name, p in method.named_parameters() if not name.startswith("phi.")]
    optimizer = torch.optim.Adam([{"params": phi, "peak": config.phi_lr}, {"params": others, "peak": config.head_lr}])
    for step in range(config.steps):
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
        yield step + 1, _step_if_finite(loss, optimizer, config.max_grad_norm)
    method.eval()


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
