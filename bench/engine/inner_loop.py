"""Many tasks in one inner loop."""

from functools import partial
from typing import Any

import torch

from app.inference.engine import Engine
from bench.engine.limits import median_ms
from bench.engine.service import ROOT
from model.serving.adapt import Support


def inner(model: str) -> dict[str, Any]:
    """Tasks of five ways and one shot whose features are there already: milliseconds each, by how many go together."""
    engine = Engine(ROOT / "weights" / model, "cpu")
    adapter, width = engine._adapter, engine.leo.config.feature_dim
    tasks = [Support(features, features, torch.arange(5)) for features in torch.randn(256, 5, width)]
    counts = (1, 4, 16, 64, 256)
    with torch.inference_mode():
        took = {count: median_ms(partial(adapter.adapt, tasks[:count])) / count for count in counts}
        on_one_core = median_ms(partial(adapter.adapt_here, tasks[:64])) / 64
        without = {count: median_ms(partial(adapter.adapt, tasks[:count], 0)) / count for count in (1, 64)}
        mixed = [(2, 1), (5, 1), (5, 5), (20, 1), (20, 5), (100, 1)]
        growth = {
            f"{ways}-way {shots}-shot": median_ms(partial(adapter.adapt, [_support(ways, shots, width)]), 0.5)
            for ways, shots in mixed
        }
    return {
        "ms_a_task_by_tasks_together": {str(count): round(ms, 4) for count, ms in took.items()},
        "ms_a_task_64_together_on_one_core": round(on_one_core, 4),
        "ms_a_task_without_steps": {str(count): round(ms, 4) for count, ms in without.items()},
        "times_faster_64_together": round(took[1] / took[64], 2),
        "times_faster_64_together_in_the_steps_alone": round((took[1] - without[1]) / (took[64] - without[64]), 2),
        "ms_by_size": growth,
    }


def _support(ways: int, shots: int, width: int) -> Support:
    features = torch.randn(ways * shots, width)
    return Support(features, features, torch.arange(ways).repeat_interleave(shots))
