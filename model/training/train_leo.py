"""`train_leo`: meta-training in one call, on batches of tasks."""

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from model.leo import LatentEmbeddingOptimization


def train_leo(
    num_classes: int,
    task_dataloader: "DataLoader[tuple[Tensor, Tensor, Tensor, Tensor]]",
    latent_dim: int = 64,
    inner_lr: float = 0.01,
    outer_lr: float = 0.001,
    inner_steps: int = 5,
    device: str | torch.device = "cpu",
) -> tuple[LatentEmbeddingOptimization, list[float]]:
    """Meta-train a LEO of the basic form on batches of tasks; return it and the loss of each batch.

    The loader yields support [T,S,1,105,105], labels [T,S], queries [T,Q,1,105,105] and labels [T,Q], as one over
    `model.data.episodes.OmniglotTaskDataset` does. Raises `model.leo.TrainingDiverged` if 20 steps in a row are not
    finite.
    """
    leo = LatentEmbeddingOptimization(num_classes, latent_dim, inner_lr, outer_lr, inner_steps).to(device)
    losses = [leo.meta_train_step(*(part.to(device) for part in batch)) for batch in task_dataloader]
    return leo, losses
