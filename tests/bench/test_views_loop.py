"""The inner loop over views, beside the one that it extends."""

from dataclasses import replace

import torch
from torch.nn import functional as F

from bench.photos_steps import Attempt, InnerLoop, Products
from bench.views_loop import ATTEMPTS, ViewsLoop, products_of
from model.data.episodes import sample_episodes

RIDGE = 0.1


def tasks_of(codes: torch.Tensor, name: str) -> Products:
    """Tasks of three classes and two shots, as an attempt sees them, from codes of nine views [C,D,9,L]."""
    counts = torch.full((len(codes),), codes.shape[1])
    tasks = sample_episodes(counts, 4, 3, 2, 3, torch.Generator().manual_seed(1))
    return products_of(codes, tasks, ATTEMPTS[name])


def test_with_the_picture_alone_it_is_the_loop_without_views() -> None:
    codes = F.normalize(torch.randn(6, 5, 9, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    seen = tasks_of(codes, "the picture alone")
    pictures = replace(seen, support=seen.support[:, ::5, ::5], queries=seen.queries[:, :, ::5])  # four views each
    loop, plain = ViewsLoop(ATTEMPTS["the picture alone"], RIDGE), InnerLoop(Attempt(divided=RIDGE))
    torch.testing.assert_close(loop(seen, 5), plain(pictures, 5))


def test_views_that_are_the_picture_change_nothing() -> None:
    pictures = F.normalize(torch.randn(6, 5, 1, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    alone, *others = (
        ViewsLoop(ATTEMPTS[name], RIDGE)(tasks_of(pictures.expand(-1, -1, 9, -1), name), 5)
        for name in (
            "the picture alone",
            "the mean of the picture and 4 views in its place",
            "code of the picture, loss over it and 4 views",
            "code and loss over the picture and 4 views",
            "views with a learned weight, in code and loss",
        )
    )
    for other in others:
        torch.testing.assert_close(other, alone)
