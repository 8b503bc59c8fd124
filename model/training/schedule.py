"""Random choices and the learning rate of each step, which all training runs share."""

import math
from typing import TypeVar

import torch

Choice = TypeVar("Choice")


def one_cycle(done: float) -> float:
    """Return the learning rate as a share of its peak when `done` (0..1) of the steps are done.

    It rises linearly for the first tenth of the run, then falls as half a cosine (Smith and Topin, 2018).
    """
    warm_up = 0.1
    if done < warm_up:
        return 0.05 + 0.95 * done / warm_up
    return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up))) + 1e-3


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return a generator for one step. A resumed run samples what the uninterrupted one would have sampled."""
    return torch.Generator().manual_seed(seed * 10_000_019 + step)


def random_choice(choices: tuple[Choice, ...], generator: torch.Generator) -> Choice:
    """Return one of the choices, each equally likely."""
    return choices[int(torch.randint(len(choices), (1,), generator=generator))]
