"""How accurate a LEO, or any few-shot method, is on tasks it has not seen: seeded episodes, 95 % intervals."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from model.baselines.latent import Leo
from model.baselines.method import Method, Phi
from model.data.episodes import Episodes, join, sample_episodes
from model.data.omniglot import DataError, Drawings
from model.data.photos import Photos
from model.functional import one_hot
from model.images.resize import to_side
from model.leo import LatentEmbeddingOptimization

Within = Literal["alphabet"]
Pictures = Drawings | Photos

EPISODES_AT_ONCE = 100  # drawn together; part of what a seed means
NUMBERS_AT_ONCE = 2**24  # of features, in the tasks that are adapted together
IMAGES_AT_ONCE = 32  # phi's activations of more leave a CPU's cache


class Setting(NamedTuple):
    """What the tasks of a row are like. Shots lie between the two, both included, drawn for each class."""

    way: int
    shots: tuple[int, int]
    query: int
    within: Within | None = None


@dataclass(frozen=True)
class Row:
    """Accuracy (0-1) over the episodes of one setting, and half its 95 % interval.

    `shot` is a number, or "1-5" where it was drawn for each class. `ece` is the expected
    calibration error of the probabilities, `auroc` how well the best score tells strangers; where measured.
    """

    way: int
    shot: int | str
    query: int
    episodes: int
    inner_steps: int
    accuracy: float
    ci95: float
    within: str | None = None
    ece: float | None = None
    auroc: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class ExtractedFeatures:
    """A data set's features as a method extracts them, computed once."""

    features: Tensor  # [C, D, ...]
    counts: Tensor  # [C]
    groups: Tensor  # [C] int64, each class's alphabet


class Answers(NamedTuple):
    """What a method said in some tasks of one setting."""

    tasks: Episodes
    support: Tensor  # [T, S, ...], as the extractor gives it
    queries: Tensor  # [T, Q, ...]
    state: Any
    logits: Tensor  # [T, Q, N]
    labels: Tensor  # [T, Q]


def extract(
    extractor: Callable[[Tensor], Tensor], data: Pictures, resolution: int, device: torch.device
) -> ExtractedFeatures:
    """Features of every picture, on the device. Raises `DataError` where the extractor takes other data."""
    alphabets = {name: index for index, name in enumerate(dict.fromkeys(data.alphabets))}
    groups = torch.tensor([alphabets[name] for name in data.alphabets])
    if isinstance(data, Photos):
        if not isinstance(extractor, Phi):
            raise DataError("only methods that work on a backbone's features can be asked about photos")
        return ExtractedFeatures(extractor.of_photos(data), data.counts, groups)
    images = to_side(data.images, resolution)  # [C, D, R, R]
    parts = images.flatten(0, 1).unsqueeze(1).split(1024 if device.type == "cuda" else IMAGES_AT_ONCE)
    with torch.no_grad():
        seen = torch.cat([extractor(part.to(device).float() / 255) for part in parts])
    return ExtractedFeatures(seen.reshape(*images.shape[:2], *seen.shape[1:]), data.counts, groups)


def extract_features(leo: LatentEmbeddingOptimization, data: Pictures) -> ExtractedFeatures:
    """Features of every picture under a LEO in evaluation mode."""
    return extract(Leo(leo).extractor, data, leo.config.resolution, leo.alpha.device)


def sample_tasks(extracted: ExtractedFeatures, setting: Setting, episodes: int, seed: int = 0) -> Episodes:
    """The tasks of a setting: the same for the same seed, whoever answers them.

    Raises `model.data.omniglot.DataError` where the data is too small for such tasks.
    """
    way, (fewest, most), query, within = setting
    # Way, shot and query take part in the seed, so that rows are independent draws.
    generator = torch.Generator().manual_seed(seed * 1_000_003 + way * 10_007 + most * 101 + query)
    groups = extracted.groups if within else None
    shot = most if fewest == most else (fewest, most)
    sizes = [min(EPISODES_AT_ONCE, episodes - done) for done in range(0, episodes, EPISODES_AT_ONCE)]
    return join([sample_episodes(extracted.counts, size, way, shot, query, generator, groups) for size in sizes])


def feasible_settings(extracted: ExtractedFeatures, settings: Iterable[Setting]) -> list[Setting]:
    """Those of the settings that the data is large enough for. Raises `DataError` if none is."""
    found, refused = [], DataError("no setting was asked for")
    for setting in settings:
        try:
            sample_tasks(extracted, setting, 1)
            found.append(setting)
        except DataError as error:
            refused = error
    if not found:
        raise refused
    return found


@torch.no_grad()
def answer_tasks(method: Method, extracted: ExtractedFeatures, tasks: Episodes) -> Iterator[Answers]:
    """Adapt to each task and classify its queries, as many tasks at a time as memory likes."""
    way, drawings = tasks.drawings.shape[1:]
    numbers = way * drawings * max(extracted.features[0, 0].numel(), way)
    at_once = max(1, NUMBERS_AT_ONCE // numbers)
    for start in range(0, len(tasks), at_once):
        some = tasks[start : start + at_once]
        support, labels, queries, query_labels = some.gather(extracted.features)
        membership = one_hot(labels, way)
        state = method.adapt(support, membership)
        yield Answers(some, support, queries, state, method.logits(state, queries), query_labels)


def accuracies(method: Method, extracted: ExtractedFeatures, tasks: Episodes) -> Tensor:
    """Share of queries each of the tasks gets right, [E]."""
    right = [(part.logits.argmax(dim=-1) == part.labels).double() for part in answer_tasks(method, extracted, tasks)]
    return torch.cat([part.mean(dim=1).cpu() for part in right])


def evaluate(
    leo: LatentEmbeddingOptimization,
    extracted: ExtractedFeatures,
    way: int,
    shot: int,
    query: int,
    episodes: int,
    seed: int = 0,
    inner_steps: int | None = None,
) -> Row:
    """Accuracy over `episodes` random tasks; the same seed draws the same tasks for any model.

    Raises `model.data.omniglot.DataError` where the data is too small for such tasks.
    """
    method = Leo(leo, inner_steps)
    tasks = sample_tasks(extracted, Setting(way, (shot, shot), query), episodes, seed)
    mean, ci95 = mean_and_ci95(accuracies(method, extracted, tasks))
    return Row(way, shot, query, episodes, method.steps, mean, ci95)


def evaluate_many(
    leo: LatentEmbeddingOptimization,
    extracted: ExtractedFeatures,
    ways: Iterable[int],
    shots: Iterable[int],
    query: int,
    episodes: int,
    seed: int = 0,
    inner_steps: int | None = None,
) -> Iterable[Row]:
    """A row for each of ways x shots, as it is done."""
    shots = list(shots)
    for way in ways:
        for shot in shots:
            yield evaluate(leo, extracted, way, shot, query, episodes, seed, inner_steps)


def mean_and_ci95(values: Tensor) -> tuple[float, float]:
    """Mean of n values and half its 95 % interval, 1.96 s / sqrt(n)."""
    if len(values) < 2:
        return float(values.mean()), math.nan
    return float(values.mean()), float(1.96 * values.std() / math.sqrt(len(values)))


def format_shots(shots: tuple[int, int]) -> int | str:
    """A setting's shots as results name them: 5, or "1-5"."""
    return shots[0] if shots[0] == shots[1] else f"{shots[0]}-{shots[1]}"
