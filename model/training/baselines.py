"""What the baselines learn before any task: start and step sizes of the gradient-based, the logistic head's L2.

All of it from training classes alone. MAML, Meta-SGD and ANIL go on from the LEO's own phi, on the
episodes its second stage draws: same ways, shots, queries, augmentation and number of images.
"""

from collections.abc import Iterator

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from model.baselines.gradient import GradientBased
from model.baselines.logistic import LogisticHead
from model.baselines.method import Phi
from model.data.episodes import sample_episodes
from model.data.omniglot import Drawings
from model.evaluation.accuracy import Setting, accuracies, extract, sample_tasks
from model.functional import one_hot
from model.leo import LatentEmbeddingOptimization
from model.training.augmented_batches import ROTATIONS, DeviceDrawings
from model.training.drawings import pick
from model.training.history import one_cycle

L2_GRID = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)


class Budget(BaseModel):
    """How long a gradient-based baseline is meta-trained; the defaults are LEO's second stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(1500, ge=1)
    images_per_step: int = Field(400, ge=20, description="tasks a step are as many as fit into it, at least 1")
    ways: tuple[int, ...] = (5, 10, 20)
    shots: tuple[int, ...] = (1, 2, 5)
    query: int = Field(5, ge=1, description="queries a class")
    phi_lr: float = Field(3e-4, gt=0, description="peak for phi, which is trained already")
    head_lr: float = Field(3e-2, gt=0, description="peak for the head's start and the logarithms of the step sizes")
    max_grad_norm: float = Field(5.0, gt=0)
    seed: int = 0


def meta_train(
    method: GradientBased, training: Drawings, resolution: int, budget: Budget, device: torch.device
) -> Iterator[tuple[int, float]]:
    """Train in place, yielding (step, query loss); NaN where a step was not finite and changed nothing."""
    images = DeviceDrawings(training, resolution, device)
    counts = training.counts.repeat_interleave(ROTATIONS)
    method.to(device).train()
    phi = list(method.phi.parameters())
    others = [p for name, p in method.named_parameters() if not name.startswith("phi.")]
    optimizer = torch.optim.Adam([{"params": phi, "peak": budget.phi_lr}, {"params": others, "peak": budget.head_lr}])
    for step in range(budget.steps):
        generator = torch.Generator().manual_seed(budget.seed * 10_000_019 + step)
        way, shot = pick(budget.ways, generator), pick(budget.shots, generator)
        tasks = max(1, budget.images_per_step // (way * (shot + budget.query)))
        episodes = sample_episodes(counts, tasks, way, shot, budget.query, generator)
        shape = episodes.drawings.shape  # [T, N, K+Q]
        classes, turns = (part.unsqueeze(-1).expand(shape).flatten() for part in _divmod(episodes.classes))
        bent = images.augmented_batch(classes, episodes.drawings.flatten(), turns, generator)
        drawn = bent.reshape(*shape, *bent.shape[1:])  # [T, N, K+Q, 1, R, R]
        labels = torch.arange(way, device=device).repeat(tasks, 1)
        support, query = drawn[:, :, :shot].flatten(1, 2), drawn[:, :, shot:].flatten(1, 2)
        membership = one_hot(labels.repeat_interleave(shot, dim=1), way)
        logits = method.logits(method.adapt(method.extractor(support), membership), method.extractor(query))
        loss = F.cross_entropy(logits.flatten(0, 1), labels.repeat_interleave(budget.query, dim=1).flatten())
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * one_cycle(step / budget.steps)
        yield step + 1, _step(loss, optimizer, budget.max_grad_norm)
    method.eval()


def choose_l2(
    leo: LatentEmbeddingOptimization, training: Drawings, episodes: int = 200, seed: int = 0
) -> dict[float, float]:
    """Mean accuracy on hard tasks of training classes by L2 strength; `best` takes one.

    Up to 20 ways within one alphabet, one shot and five: elsewhere training classes are nearly all
    told apart. Raises `model.data.omniglot.DataError` where there are under 10 drawings a class.
    """
    extractor = Phi(leo)
    seen = extract(extractor, training, leo.config.resolution, leo.alpha.device)
    way = min(20, int(seen.groups.bincount().max()))
    drawn = [sample_tasks(seen, Setting(way, (shot, shot), 5, "alphabet"), episodes, seed) for shot in (1, 5)]
    found = {}
    for l2 in L2_GRID:
        method = LogisticHead(extractor, l2)
        found[l2] = float(torch.cat([accuracies(method, seen, tasks) for tasks in drawn]).mean())
    return found


def best(by_strength: dict[float, float]) -> float:
    """The strength of the highest accuracy; of equal ones the strongest."""
    return max(by_strength, key=lambda l2: (by_strength[l2], l2))


def _divmod(turned: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of turned classes -> class and quarter turns."""
    return turned // ROTATIONS, turned % ROTATIONS


def _step(loss: Tensor, optimizer: torch.optim.Optimizer, max_norm: float) -> float:
    """Clip and step, unless something is not finite."""
    optimizer.zero_grad(set_to_none=True)
    if not torch.isfinite(loss):
        return float("nan")
    loss.backward()
    norm = nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], max_norm)
    if not torch.isfinite(norm):
        return float("nan")
    optimizer.step()
    return float(loss.detach())
