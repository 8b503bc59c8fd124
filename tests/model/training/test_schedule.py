"""Tests of the learning rate's schedule and of random choices."""

import pytest
import torch

from model.training.schedule import one_cycle, random_choice, step_generator


def test_the_learning_rate_rises_for_a_tenth_of_the_run_and_then_falls() -> None:
    assert one_cycle(0) == pytest.approx(0.05)
    assert one_cycle(0.05) == pytest.approx(0.525)
    assert one_cycle(0.1) == pytest.approx(1.001)
    assert one_cycle(0.55) == pytest.approx(0.501)  # half way down
    assert one_cycle(1) == pytest.approx(0.001)


def test_every_choice_is_made_about_equally_often() -> None:
    generator = torch.Generator().manual_seed(0)
    chosen = [random_choice((2, 5, 10), generator) for _ in range(3000)]
    assert all(900 < chosen.count(number) < 1100 for number in (2, 5, 10))


def test_each_step_and_each_seed_has_its_own_generator() -> None:
    numbers = {
        (seed, step): float(torch.rand((), generator=step_generator(seed, step))) for seed in (0, 1) for step in (0, 1)
    }
    assert len(set(numbers.values())) == 4
    assert float(torch.rand((), generator=step_generator(1, 0))) == numbers[1, 0]
