"""Tests of sampling tasks."""

import pytest
import torch
from torch.utils.data import DataLoader

from model.data.episodes import OmniglotTaskDataset, sample_episodes, sample_unknown_classes
from model.data.omniglot import DataError, Drawings


def drawings(classes: int = 6, each: int = 8) -> Drawings:
    """Return drawings with a single pixel of ink: its row is the class, its column the number of the drawing."""
    images = torch.zeros(classes, each, 105, 105, dtype=torch.bool)
    for c in range(classes):
        for d in range(each):
            images[c, d, c, d] = True
    return Drawings(images, torch.full((classes,), each), ("a",) * classes, tuple(f"a/{c}" for c in range(classes)))


def test_the_same_seed_gives_the_same_tasks() -> None:
    def draw(seed: int) -> torch.Tensor:
        return sample_episodes(torch.full((50,), 20), 9, 5, 1, 3, torch.Generator().manual_seed(seed)).classes

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_a_task_never_repeats_a_class_or_a_drawing() -> None:
    episodes = sample_episodes(torch.full((7,), 6), 200, 5, 2, 4, torch.Generator().manual_seed(0))
    assert episodes.classes.shape == (200, 5)
    assert episodes.drawings.shape == (200, 5, 6)
    assert all(len(set(task.tolist())) == 5 for task in episodes.classes)
    assert all(len(set(row.tolist())) == 6 for task in episodes.drawings for row in task)


def test_padding_of_a_small_class_is_never_sampled() -> None:
    counts = torch.tensor([3, 9, 4, 5])
    episodes = sample_episodes(counts, 300, 3, 1, 2, torch.Generator().manual_seed(0))
    assert (episodes.drawings < counts[episodes.classes].unsqueeze(-1)).all()
    few = sample_episodes(counts, 50, 3, 2, 2, torch.Generator().manual_seed(0))
    assert 0 not in few.classes  # class 0 has 3 drawings, the task needs 4


def test_support_and_queries_are_labelled_alike_and_disjoint() -> None:
    data = drawings()
    episodes = sample_episodes(data.counts, 4, 3, 2, 3, torch.Generator().manual_seed(0))
    where = torch.stack(torch.meshgrid(torch.arange(6), torch.arange(8), indexing="ij"), dim=-1)  # [C, D, 2]
    support, labels, query, query_labels = episodes.gather(where)
    for t in range(4):
        assert torch.equal(support[t, :, 0], episodes.classes[t][labels[t]])
        assert torch.equal(query[t, :, 0], episodes.classes[t][query_labels[t]])
        assert not {tuple(pair) for pair in support[t].tolist()} & {tuple(pair) for pair in query[t].tolist()}


@pytest.mark.parametrize(("way", "shot", "query"), [(7, 1, 1), (5, 5, 5), (1, 1, 1), (2, 0, 1), (2, 1, 0)])
def test_impossible_tasks_are_refused(way: int, shot: int, query: int) -> None:
    with pytest.raises(DataError):
        sample_episodes(torch.full((6,), 8), 1, way, shot, query, torch.Generator())


def test_the_data_set_of_the_usage_examples() -> None:
    tasks = OmniglotTaskDataset(drawings(), n_way=5, k_shot=1, num_query=3, num_tasks=7)
    assert len(tasks) == 7
    assert len(list(DataLoader(tasks, batch_size=4))) == 2
    support, labels, query, query_labels = next(iter(DataLoader(tasks, batch_size=4, shuffle=True)))
    assert support.shape == (4, 5, 1, 105, 105)
    assert support.dtype == torch.float32
    assert labels.tolist() == [[0, 1, 2, 3, 4]] * 4
    assert query.shape == (4, 15, 1, 105, 105)
    assert query_labels.shape == (4, 15)
    with pytest.raises(IndexError):
        tasks[7]


GROUPS = torch.tensor([0] * 3 + [1] * 6 + [2] * 5)  # three alphabets, of 3, 6 and 5 classes


def test_all_classes_of_a_task_are_of_one_alphabet() -> None:
    counts = torch.full((14,), 6)
    episodes = sample_episodes(counts, 400, 5, 1, 2, torch.Generator().manual_seed(0), GROUPS)
    alphabets = GROUPS[episodes.classes]  # [T, N]
    assert (alphabets == alphabets[:, :1]).all()
    assert all(len(set(task.tolist())) == 5 for task in episodes.classes)
    share = (alphabets[:, 0] == 1).double().mean()  # the alphabet of 3 is too small, the others are equally likely
    assert set(alphabets[:, 0].tolist()) == {1, 2}
    assert 0.4 < share < 0.6


def test_an_alphabet_needs_enough_classes_with_enough_drawings() -> None:
    counts = torch.full((14,), 6)
    counts[3:5] = 2  # leaves the second alphabet 4 classes
    episodes = sample_episodes(counts, 50, 5, 1, 2, torch.Generator().manual_seed(0), GROUPS)
    assert (GROUPS[episodes.classes] == 2).all()
    with pytest.raises(DataError, match="within one alphabet; the largest here has 5"):
        sample_episodes(counts, 1, 6, 1, 2, torch.Generator(), GROUPS)


def test_unequal_shots_are_padded_with_the_label_minus_one() -> None:
    data = drawings()
    episodes = sample_episodes(data.counts, 200, 3, (1, 4), 2, torch.Generator().manual_seed(0))
    assert episodes.shots is not None
    assert set(episodes.shots.flatten().tolist()) == {1, 2, 3, 4}
    support, labels, query, query_labels = episodes.gather(torch.arange(48).view(6, 8))
    assert labels.shape == support.shape == (200, 12)
    assert query.shape == query_labels.shape == (200, 6)
    for n in range(3):
        assert torch.equal((labels == n).sum(dim=1), episodes.shots[:, n])
    assert torch.equal((labels == -1).sum(dim=1), 12 - episodes.shots.sum(dim=1))
    with pytest.raises(DataError, match="must not be the larger"):
        sample_episodes(data.counts, 1, 3, (4, 1), 2, torch.Generator())


def test_unknown_classes_are_none_of_the_tasks_own() -> None:
    counts = torch.full((14,), 6)
    generator = torch.Generator().manual_seed(0)
    anywhere = sample_episodes(counts, 100, 5, 1, 2, generator)
    unknown = sample_unknown_classes(counts, anywhere, 4, 3, generator)
    assert unknown.drawings.shape == (100, 4, 3)
    for mine, others in zip(anywhere.classes.tolist(), unknown.classes.tolist(), strict=True):
        assert len(set(mine) | set(others)) == 9
    within = sample_episodes(counts, 100, 4, 1, 2, generator, GROUPS)
    few = sample_unknown_classes(counts, within, 4, 3, generator, GROUPS)
    assert few.classes.shape == (100, 1)  # an alphabet of 5 has one class beside the task's four
    assert torch.equal(GROUPS[few.classes[:, 0]], GROUPS[within.classes[:, 0]])
    full = sample_episodes(counts, 10, 14, 1, 2, generator)
    assert sample_unknown_classes(counts, full, 4, 3, generator).classes.shape == (10, 0)
