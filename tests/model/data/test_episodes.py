import pytest
import torch
from torch.utils.data import DataLoader

from model.data.episodes import OmniglotTaskDataset, sample_episodes
from model.data.omniglot import DataError, Drawings


def drawings(classes: int = 6, each: int = 8) -> Drawings:
    """Every drawing's pixels tell its class (row) and number (column)."""
    images = torch.zeros(classes, each, 105, 105, dtype=torch.bool)
    for c in range(classes):
        for d in range(each):
            images[c, d, c, d] = True
    return Drawings(images, torch.full((classes,), each), ("a",) * classes, tuple(f"a/{c}" for c in range(classes)))


def test_the_same_seed_draws_the_same_tasks() -> None:
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


def test_padding_is_never_drawn() -> None:
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


def test_the_data_set_of_the_source_document() -> None:
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
