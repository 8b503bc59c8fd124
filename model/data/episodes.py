"""Few-shot tasks drawn at random from classes of drawings: which images, and how they are labelled."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from model.data.omniglot import DataError, Drawings


@dataclass(frozen=True)
class Episodes:
    """T tasks as indices into a data set: which classes, and which drawings of each.

    The first `shot` drawings of a class are its support, the others its queries. With `shots` a
    class has only so many of its `shot` support drawings; the rest is padding.
    """

    classes: Tensor  # [T, N] int64
    drawings: Tensor  # [T, N, K+Q] int64
    shot: int
    shots: Tensor | None = None  # [T, N] int64, 1..K

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, tasks: slice) -> "Episodes":
        shots = None if self.shots is None else self.shots[tasks]
        return Episodes(self.classes[tasks], self.drawings[tasks], self.shot, shots)

    @property
    def mean_shots(self) -> list[float]:
        """Of each task, over its classes."""
        if self.shots is None:
            return [float(self.shot)] * len(self)
        return [float(mean) for mean in self.shots.double().mean(dim=1)]

    def gather(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Values of every drawing [C,D,...] -> support [T,N*K,...], labels [T,N*K], and the queries'.

        The label of padding is -1.
        """
        picked = values[self.classes.unsqueeze(-1), self.drawings]  # [T, N, K+Q, ...]
        support, query = picked[:, :, : self.shot], picked[:, :, self.shot :]
        tasks, ways, shots = support.shape[:3]
        labels = torch.arange(ways, device=values.device).repeat(tasks, 1)  # [T, N]
        support_labels = labels.repeat_interleave(shots, dim=1)  # [T, N*K]
        if self.shots is not None:
            padding = torch.arange(shots) >= self.shots.unsqueeze(-1)  # [T, N, K]
            support_labels = support_labels.masked_fill(padding.flatten(1).to(values.device), -1)
        return (
            support.flatten(1, 2),
            support_labels,
            query.flatten(1, 2),
            labels.repeat_interleave(query.shape[2], dim=1),
        )


def join(parts: list[Episodes]) -> Episodes:
    """Tasks of the same ways, shots and queries, one after another."""
    shots = [part.shots for part in parts if part.shots is not None]
    return Episodes(
        torch.cat([part.classes for part in parts]),
        torch.cat([part.drawings for part in parts]),
        parts[0].shot,
        torch.cat(shots) if shots else None,
    )


def sample_episodes(
    counts: Tensor,
    tasks: int,
    way: int,
    shot: int | tuple[int, int],
    query: int,
    generator: torch.Generator,
    groups: Tensor | None = None,
) -> Episodes:
    """Draw T tasks, without repeats inside a task, from classes with `counts` [C] drawings each.

    A pair as `shot` draws each class's shots between the two, both included. With `groups` [C], every
    class's alphabet, say, a task's classes are all of one group, each group that has enough of
    them as likely as another. Raises `DataError` if there are too few classes or drawings for one task.
    """
    fewest, most = (shot, shot) if isinstance(shot, int) else shot
    enough = torch.nonzero(counts >= most + query).flatten()
    if way < 2 or fewest < 1 or query < 1:
        raise DataError(f"a task needs at least 2 ways, 1 shot and 1 query, not {way}, {fewest} and {query}")
    if most < fewest:
        raise DataError(f"shots of {fewest} to {most}: the first must not be the larger")
    wanted = (
        f"{way}-way tasks with {most} shots and {query} queries need {way} classes of at least {most + query} drawings"
    )
    if len(enough) < way:
        raise DataError(f"{wanted}; this data has {len(enough)}")
    keys = torch.rand(tasks, len(enough), generator=generator)
    if groups is not None:
        present, sizes = groups[enough].unique(return_counts=True)
        large = present[sizes >= way]
        if len(large) == 0:
            raise DataError(f"{wanted} within one alphabet; the largest here has {int(sizes.max())}")
        chosen = large[torch.randint(len(large), (tasks,), generator=generator)]  # [T]
        keys = keys.masked_fill(groups[enough] != chosen.unsqueeze(1), 2.0)  # the others sort last
    classes = enough[keys.argsort(dim=1)[:, :way]]  # [T, N]
    drawings = _draw(counts, classes, most + query, generator)
    shots = None
    if fewest < most:
        shots = torch.randint(fewest, most + 1, (tasks, way), generator=generator)
    return Episodes(classes, drawings, most, shots)


def sample_strangers(
    counts: Tensor, episodes: Episodes, way: int, query: int, generator: torch.Generator, groups: Tensor | None = None
) -> Episodes:
    """For each task `query` drawings of each of `way` classes that are not in it, as support of a task.

    With `groups` of the task's own group. Takes fewer classes where not so many are left in every
    task, and so may give 0.
    """
    enough = torch.nonzero(counts >= query).flatten()
    keys = torch.rand(len(episodes), len(enough), generator=generator)
    taken = (enough.view(1, -1, 1) == episodes.classes.unsqueeze(1)).any(dim=-1)  # [T, C]
    if groups is not None:
        taken |= groups[enough] != groups[episodes.classes[:, :1]]
    left = min(way, int((~taken).sum(dim=1).min()))
    classes = enough[keys.masked_fill(taken, 2.0).argsort(dim=1)[:, :left]]  # [T, way]
    return Episodes(classes, _draw(counts, classes, query, generator), query)


def _draw(counts: Tensor, classes: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Of each class [T,N] so many of its drawings, [T,N,number]."""
    order = torch.rand(*classes.shape, int(counts.max()), generator=generator)
    missing = torch.arange(order.shape[-1]) >= counts[classes].unsqueeze(-1)  # [T, N, D]
    return order.masked_fill(missing, 2.0).argsort(dim=-1)[..., :number]  # padding sorts last


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
        support, labels, query, query_labels = self.episodes[index : index + 1].gather(self.dataset.images)
        return support[0].unsqueeze(1).float(), labels[0], query[0].unsqueeze(1).float(), query_labels[0]
