"""What adapting many tasks in one inner loop saves, without images and HTTP."""

from functools import partial
from typing import Any

import numpy as np
import torch

from app.inference.engine import Engine
from bench.common import WEIGHTS, median_ms
from model.serving.adapt import Adapter, Support

SIZES = ((2, 1), (5, 1), (5, 5), (20, 1), (20, 5), (100, 1))  # ways, shots


def inner_loop(model: str) -> dict[str, Any]:
    """Milliseconds a task of 5 ways and 1 shot, by the number adapted together, and of one task by its size."""
    engine = Engine(WEIGHTS / model, "cpu")
    adapter, width = Adapter(engine.leo), engine.leo.config.feature_dim

    def task(way: int = 5, shot: int = 1) -> Support:
        features = torch.randn(way * shot, width)
        return Support(features, features, np.arange(way).repeat(shot))

    tasks = [task() for _ in range(256)]
    with torch.inference_mode():
        took = {n: median_ms(partial(adapter.adapt, tasks[:n])) / n for n in (1, 4, 16, 64, 256)}
        on_one_core = median_ms(partial(adapter.adapt_batch, tasks[:64])) / 64
        without = {n: median_ms(partial(adapter.adapt, tasks[:n], 0)) / n for n in (1, 64)}
        by_size = {
            f"{way}-way {shot}-shot": median_ms(partial(adapter.adapt, [task(way, shot)]), 0.5) for way, shot in SIZES
        }
    return {
        "ms_a_task_by_tasks_together": {str(n): round(ms, 4) for n, ms in took.items()},
        "ms_a_task_64_together_on_one_core": round(on_one_core, 4),
        "ms_a_task_without_steps": {str(n): round(ms, 4) for n, ms in without.items()},
        "times_faster_64_together": round(took[1] / took[64], 2),
        "times_faster_64_together_in_the_steps_alone": round((took[1] - without[1]) / (took[64] - without[64]), 2),
        "ms_by_size": by_size,
    }
