"""How fast meta-training is: time for 2,000 tasks of 5 ways and 1 shot, and what the convolutions alone would take.

For each shipped shape, episodes (augmentation, inner loop, second-order gradients, Adam), then phi alone forward and
backward on the same number of images a step. Their ratio says what everything else costs. Writes
bench/results/training.json.

    python -m bench.training --data .../images_background.zip        # a quarter of an hour on two cores
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from bench.common import write_results
from model.allocator import keep_freed_memory
from model.data.omniglot import Drawings, load_drawings
from model.devices import bf16_is_fast, choose
from model.leo import LatentEmbeddingOptimization
from model.training.config import DrawingTrainConfig
from model.training.drawings import DrawingTrainer
from model.training.presets import PRESETS

BUDGET = 2000  # 5-way 1-shot tasks, 15 queries a class: 80 images each
IMAGES_A_TASK, TASKS_A_STEP, WARM_UP = 80, 5, 3
EPISODES_ALONE = {
    "pretrain_steps": 0,
    "distill": 0.0,
    "ways": (5,),
    "shots": (1,),
    "query": 15,
    "images_per_step": IMAGES_A_TASK * TASKS_A_STEP,
    "validate_every": 10**9,
}


def episodes(config: DrawingTrainConfig, drawings: Drawings, tasks: int, device: torch.device) -> dict[str, Any]:
    """Meta-train on a number of tasks: seconds of all steps, and images a second of the median one."""
    steps = WARM_UP + tasks // TASKS_A_STEP
    with tempfile.TemporaryDirectory() as folder:
        training, validation = drawings.split("train"), drawings.split("validation")
        trainer = DrawingTrainer(
            config.model_copy(update={"episode_steps": steps}), training, validation, Path(folder), device
        )
        taken = []
        for done in trainer.run():
            taken.append(IMAGES_A_TASK * TASKS_A_STEP / done.images_per_second)
            if done.step == steps - 1:  # the last step ends in a validation, which is no training
                break
    taken = taken[WARM_UP:]
    return {
        "tasks": len(taken) * TASKS_A_STEP,
        "seconds": round(sum(taken), 1),
        "seconds_for_the_budget": round(sum(taken) / len(taken) / TASKS_A_STEP * BUDGET, 1),
        "images_per_second": round(IMAGES_A_TASK * TASKS_A_STEP / statistics.median(taken), 1),
    }


def convolutions(config: DrawingTrainConfig, device: torch.device, bf16: bool, repeats: int = 10) -> float:
    """Images a second of phi (and of the encoder's own blocks on the support) alone, forward and backward."""
    leo = LatentEmbeddingOptimization(config=config.leo).to(device).to(memory_format=torch.channels_last).train()
    leo.bf16 = bf16
    side, count = config.leo.resolution, IMAGES_A_TASK * TASKS_A_STEP
    images = torch.rand(count, 1, side, side, device=device)
    taken = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        total = leo.features(leo.classifier.phi, images).sum()
        if leo.encoder.features is not None:
            total = total + leo.features(leo.encoder.features, images[: 5 * TASKS_A_STEP]).sum()
        total.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return round(count / statistics.median(taken[1:]), 1)


def main() -> None:
    """Train with both shapes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Omniglot's images_background, folder or zip")
    parser.add_argument("--tasks", type=int, default=BUDGET, help="for omniglot; a tenth of them for omniglot-105")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    keep_freed_memory()
    device = choose(given.device)
    drawings = load_drawings(given.data)
    found: dict[str, Any] = {}
    for name, tasks in (("omniglot", given.tasks), ("omniglot-105", given.tasks // 10)):
        config = PRESETS[name].model_copy(update=EPISODES_ALONE)
        row = episodes(config, drawings, tasks, device)
        row["convolutions_images_per_second"] = convolutions(config, device, bf16_is_fast(device))
        row["share_of_the_convolutions_speed"] = round(
            row["images_per_second"] / row["convolutions_images_per_second"], 3
        )
        row["peak_resident_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        if device.type == "cuda":
            row["peak_gpu_mb"] = round(torch.cuda.max_memory_allocated(device) / 2**20)
        found[name] = row
        print(name, json.dumps(row), flush=True)
    write_results("training", __doc__.splitlines()[0], budget=BUDGET, models=found)


if __name__ == "__main__":
    main()
