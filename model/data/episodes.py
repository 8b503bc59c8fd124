"""Few-shot tasks, called episodes in training: sampling them from a data set's classes, and labelling their images."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from model.data.omniglot import Drawings
from model.data.sources import DataError


@dataclass(frozen=True)
class Episodes:
    """T tasks, each as indices into a data set: the classes of the task and the images of each class.

    The first `shot` images of a class are its support, the others its queries. Where classes have different numbers
    of shots, `shots` holds them: only the first `shots` support images of a class count, the rest is padding.
    """

    classes: Tensor  # [T, N] int64, indices of classes
    drawings: Tensor  # [T, N, K+Q] int64, indices of images within their class
    shot: int  # K
    shots: Tensor | None = None  # [T, N] int64, 1..K; None: K for every class

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, tasks: slice) -> "Episodes":
        shots = None if self.shots is None else self.shots[tasks]
        return Episodes(self.classes[tasks], self.drawings[tasks], self.shot, shots)

    @property
    def mean_shots(self) -> list[float]:
        """The mean number of shots of each task, over its classes."""
        if self.shots is None:
            return [float(self.shot)] * len(self)
        return [float(mean) for mean in self.shots.double().mean(dim=1)]

    def gather(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Split values of every image [C,D,...] into the tasks' support and queries.

        Returns support [T,N*K,...], support labels [T,N*K], queries [T,N*Q,...] and query labels [T,N*Q]. The label
        of padding is -1.
        """
        of_tasks = values[self.classes.unsqueeze(-1), self.drawings]  # [T, N, K+Q, ...]
        support, support_labels, queries, query_labels = split_support_and_queries(of_tasks, self.shot)
        if self.shots is not None:
            padding = torch.arange(self.shot) >= self.shots.unsqueeze(-1)  # [T, N, K]
            support_labels = support_labels.masked_fill(padding.flatten(1).to(values.device), -1)
        return support, support_labels, queries, query_labels


def split_support_and_queries(of_tasks: Tensor, shot: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Split values of each class's images [T,N,K+Q,...], where K is `shot`.

    Returns support [T,N*K,...], support labels [T,N*K], queries [T,N*Q,...] and query labels [T,N*Q].
    """
    tasks, ways, images = of_tasks.shape[:3]
    labels = torch.arange(ways, device=of_tasks.device).repeat(tasks, 1)  # [T, N]
    return (
        of_tasks[:, :, :shot].flatten(1, 2),
        labels.repeat_interleave(shot, dim=1),
        of_tasks[:, :, shot:].flatten(1, 2),
        labels.repeat_interleave(images - shot, dim=1),
    )


def concatenate(parts: list[Episodes]) -> Episodes:
    """Concatenate tasks that all have the same ways, shots and queries."""
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
    """Sample T tasks from C classes; `counts` [C] are the images of each class.

    No task has a class or an image twice. If `shot` is a pair, the number of shots is sampled for each class, uniformly
    between the two numbers, both included. If `groups` [C] names a group for each class, as its alphabet, all classes
    of a task belong to one group; every group with enough classes is equally likely.

    Raises `DataError` if the data has too few classes or images for one such task.
    """
    fewest, most = (shot, shot) if isinstance(shot, int) else shot
    enough = torch.nonzero(counts >= most + query).flatten()
    if way < 2 or fewest < 1 or query < 1:
        raise DataError(
            f"a task needs at least 2 ways, 1 shot and 1 query, not {way} ways, {fewest} shots and {query} queries"
        )
    if most < fewest:
        raise DataError(f"shots of {fewest} to {most}: the first must not be the larger; swap them")
    wanted = (
        f"{way}-way tasks with {most} shots and {query} queries need {way} classes of at least {most + query} images"
    )
    fix = "ask for fewer ways, shots or queries"
    if len(enough) < way:
        raise DataError(f"{wanted}; this data has {len(enough)}: {fix}")
    keys = torch.rand(tasks, len(enough), generator=generator)
    if groups is not None:
        present, sizes = groups[enough].unique(return_counts=True)
        large = present[sizes >= way]
        if len(large) == 0:
            raise DataError(f"{wanted} within one alphabet; the largest here has {int(sizes.max())}: {fix}")
        chosen = large[torch.randint(len(large), (tasks,), generator=generator)]  # [T]
        keys = keys.masked_fill(groups[enough] != chosen.unsqueeze(1), 2.0)  # the others sort last
    classes = enough[keys.argsort(dim=1)[:, :way]]  # [T, N]
    drawings = _sample_images(counts, classes, most + query, generator)
    shots = None
    if fewest < most:
        shots = torch.randint(fewest, most + 1, (tasks, way), generator=generator)
    return Episodes(classes, drawings, most, shots)


def fit_to_data(counts: Tensor, way: int, shot: int, query: int) -> tuple[int, int, int]:
    """Return ways, shots and queries of a task that data with `counts` [C] images has enough for: fewer, or the same.

    Raises `DataError` if fewer than two classes have two images.
    """
    way = min(way, int((counts >= 2).sum()))
    if way < 2:
        raise DataError("no task can be made: at least 2 classes need 2 images or more each; add some")
    images = int(counts.sort(descending=True).values[way - 1])  # that `way` classes have
    query = min(query, images - 1)
    return way, min(shot, images - query), query


def sample_unknown_classes(
    counts: Tensor, episodes: Episodes, way: int, query: int, generator: torch.Generator, groups: Tensor | None = None
) -> Episodes:
    """Sample, for each task, `query` images of each of `way` classes that the task does not have.

    The images are the support of the result. With `groups` [C], the classes are of the task's own group. There are
    fewer classes, perhaps none, if some task leaves fewer than `way`.
    """
    enough = torch.nonzero(counts >= query).flatten()
    keys = torch.rand(len(episodes), len(enough), generator=generator)
    excluded = (enough.view(1, -1, 1) == episodes.classes.unsqueeze(1)).any(dim=-1)  # [T, C]
    if groups is not None:
        excluded |= groups[enough] != groups[episodes.classes[:, :1]]
    left = min(way, int((~excluded).sum(dim=1).min()))
    classes = enough[keys.masked_fill(excluded, 2.0).argsort(dim=1)[:, :left]]  # [T, way]
    return Episodes(classes, _sample_images(counts, classes, query, generator), query)


def _sample_images(counts: Tensor, classes: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Sample `number` different images of each class [T,N]: indices [T,N,number]."""
    order = torch.rand(*classes.shape, int(counts.max()), generator=generator)
    missing = torch.arange(order.shape[-1]) >= counts[classes].unsqueeze(-1)  # [T, N, D]
    return order.masked_fill(missing, 2.0).argsort(dim=-1)[..., :number]  # padding sorts last


class OmniglotTaskDataset(Dataset[tuple[Tensor, Tensor, Tensor, Tensor]]):
    """A `torch.utils.data.Dataset` of `num_tasks` random tasks; the same `seed` gives the same tasks.

    An item is a tuple: support [N*K,1,105,105] float (ink 1, paper 0), support labels [N*K] int64, queries
    [N*num_query,1,105,105] and query labels [N*num_query]. Raises `DataError` if the data is too small for such tasks.
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
