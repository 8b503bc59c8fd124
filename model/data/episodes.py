"""Few-shot tasks drawn at random from classes of drawings: which images, and how they are labelled."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from model.data.omniglot import DataError, Drawings


@dataclass(frozen=True)
class Episodes:
    """T tasks as indices into a data set: which classes, and which drawings of each.

    The first `shot` drawings of a class are its support, the others its queries.
    """

    classes: Tensor  # [T, N] int64
    drawings: Tensor  # [T, N, K+Q] int64
    shot: int

    def gather(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Values of every drawing [C,D,...] -> support [T,N*K,...], labels [T,N*K], and the queries'."""
        picked = values[self.classes.unsqueeze(-1), self.drawings]  # [T, N, K+Q, ...]
        support, query = picked[:, :, : self.shot], picked[:, :, self.shot :]
        tasks, ways, shots = support.shape[:3]
        labels = torch.arange(ways, device=values.device).repeat(tasks, 1)  # [T, N]
        return (
            support.flatten(1, 2),
            labels.repeat_interleave(shots, dim=1),
            query.flatten(1, 2),
            labels.repeat_interleave(query.shape[2], dim=1),
        )


def sample_episodes(
    counts: Tensor, tasks: int, way: int, shot: int, query: int, generator: torch.Generator
) -> Episodes:
    """Draw T tasks, without repeats inside a task, from classes with `counts` [C] drawings each.

    Raises `DataError` if there are too few classes or drawings for one task.
    """
    enough = torch.nonzero(counts >= shot + query).flatten()
    if way < 2 or shot < 1 or query < 1:
        raise DataError(f"a task needs at least 2 ways, 1 shot and 1 query, not {way}, {shot} and {query}")
    if len(enough) < way:
        raise DataError(
            f"{way}-way tasks with {shot} shots and {query} queries need {way} classes of at least "
            f"{shot + query} drawings; this data has {len(enough)}"
        )
    classes = enough[torch.rand(tasks, len(enough), generator=generator).argsort(dim=1)[:, :way]]  # [T, N]
    order = torch.rand(tasks, way, int(counts.max()), generator=generator)
    missing = torch.arange(order.shape[-1]) >= counts[classes].unsqueeze(-1)  # [T, N, D]
    order = order.masked_fill(missing, 2.0)  # padding sorts last
    return Episodes(classes, order.argsort(dim=-1)[..., : shot + query], shot)


class OmniglotTaskDataset(Dataset[tuple[Tensor, Tensor, Tensor, Tensor]]):
    """`num_tasks` random tasks for a `DataLoader`, the same for the same `seed`.

    An item is support [N*K,1,105,105] float (ink 1, paper 0), support labels [N*K], and the same
    for `num_query` queries a class. Raises `DataError` if the data is too small for such a task.
    """

    def __init__(
        self, dataset: Drawings, n_way: int, k_shot: int, num_query: int, num_tasks: int, seed: int = 0
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.dataset = dataset
        self.episodes = sample_episodes(dataset.counts, num_tasks, n_way, k_shot, num_query, generator)

    def __len__(self) -> int:
        return len(self.episodes.classes)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        one = Episodes(
            self.episodes.classes[index : index + 1], self.episodes.drawings[index : index + 1], self.episodes.shot
        )
        support, labels, query, query_labels = one.gather(self.dataset.images)
        return support[0].unsqueeze(1).float(), labels[0], query[0].unsqueeze(1).float(), query_labels[0]
