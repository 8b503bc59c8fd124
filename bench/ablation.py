"""What each choice of `LEOConfig` is worth: every choice is meta-trained alike on the features of a frozen phi.

Each row starts from the shipped model's phi and linear map and a fresh relation network, decoder and alpha, and
is meta-trained on the same tasks, drawn from the training alphabets' features, for the same number of
steps. Then all answer the same tasks from the validation alphabets; differences are paired with the first row's.

    python -m bench.ablation --data .../images_background.zip        # half an hour on one core
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.common import WEIGHTS, rows_measured_before, write_results
from bench.intervals import as_row, in_percent, with_ci95
from model.allocator import keep_freed_memory
from model.baselines.leo import LeoMethod
from model.checkpoint import read_info
from model.config import LEOConfig
from model.data.episodes import sample_episodes
from model.data.omniglot import Drawings, load_drawings
from model.evaluation.accuracy import Setting, accuracy_per_task, sample_tasks
from model.evaluation.extracted_features import extract_leo_features
from model.leo import LatentEmbeddingOptimization
from model.training.drawing_batches import ROTATIONS, DrawingBatches
from model.training.schedule import one_cycle, random_choice

PLAIN_STEPS = {"inner_ridge": None, "inner_lr": 0.3, "inner_temperature": 3.0}  # not divided by the curvature
ROWS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "head from the code alone, no linear path": {"decoder_skip": False},
    "relation replaces the codes": {"relation_residual": False},
    "no relation network": {"relation_steps": 0},
    "relation over all pairs of examples": {"relation_over": "examples"},
    "relation applied three times": {"relation_steps": 3},
    "attention over examples": {"attention": True},
    "decoder conditioned on the task": {"decoder_conditioned": True},
    "mixture of four decoders": {"decoder_experts": 4},
    "one alpha for each step": {"inner_lr_per_step": True},
    "the whole paper": LEOConfig.paper().model_dump(
        include={
            "stochastic", "relation_over", "relation_residual", "dropout", "finetune_steps", "kl_weight",
            "encoder_penalty", "orthogonality", "l2",
        }
    ) | {"decoder_skip": False} | PLAIN_STEPS,
    "plain gradient steps": PLAIN_STEPS,
    "alpha fixed": {"learn_inner_lr": False},
    "one inner step": {"inner_steps": 1},
    "ten inner steps": {"inner_steps": 10},
    "first order": {"second_order": False},
    "five fine-tuning steps on the head": {"finetune_steps": 5},
    "Gaussian codes and heads": {"stochastic": True},
    "Gaussian, KL 0.001": {"stochastic": True, "kl_weight": 1e-3},
    "encoder penalty 0.01": {"encoder_penalty": 1e-2},
    "orthogonality 0.1": {"orthogonality": 0.1},
    "L2 0.00001": {"l2": 1e-5},
    "dropout 0.3": {"dropout": 0.3},
}  # fmt: skip
SETTINGS = (
    Setting(5, (1, 1), 15),
    Setting(5, (5, 5), 15),
    Setting(20, (1, 1), 15, "alphabet"),
    Setting(20, (5, 5), 15, "alphabet"),
)
WAYS, SHOTS, QUERY, IMAGES_PER_STEP = (5, 10, 20), (1, 2, 5, 10), 5, 400


def turned_features(leo: LatentEmbeddingOptimization, training: Drawings, seed: int = 0) -> Tensor:
    """One augmented view of every drawing in each quarter turn, through phi: [C*4,D,F]."""
    images = DrawingBatches(training, leo.config.resolution, torch.device("cpu"))
    number, most = training.images.shape[:2]
    classes, slots = torch.arange(number).repeat_interleave(most), torch.arange(most).repeat(number)
    generator = torch.Generator().manual_seed(seed)
    quarters = []
    for quarter in range(ROTATIONS):
        seen = []
        for part, slot in zip(classes.split(256), slots.split(256), strict=True):
            shown = images.augmented_batch(part, slot, torch.full_like(part, quarter), generator)
            with torch.no_grad():
                seen.append(leo.features(leo.classifier.phi, shown))
        quarters.append(torch.cat(seen).unflatten(0, (number, most)))
    return torch.stack(quarters, dim=1).flatten(0, 1)  # as the trainer numbers turned classes


def train_heads(
    start: LatentEmbeddingOptimization, changes: dict[str, Any], seen: Tensor, training: Drawings, steps: int, seed: int
) -> LatentEmbeddingOptimization:
    """A LEO with other settings on the same frozen phi, meta-trained on features [C*4,D,F]."""
    torch.manual_seed(seed)
    base = start.config.model_dump() | {"finetune_lr": 0.1}
    leo = LatentEmbeddingOptimization(config=LEOConfig.model_validate(base | changes))
    leo.classifier.phi.load_state_dict(start.classifier.phi.state_dict())
    leo.encoder.to_code.load_state_dict(start.encoder.to_code.state_dict(), strict=False)
    leo.decoder.start_as_transpose_of(leo.encoder)
    leo.classifier.phi.requires_grad_(False)
    leo.train()
    counts = training.counts.repeat_interleave(ROTATIONS)
    names = {name: index for index, name in enumerate(dict.fromkeys(training.alphabets))}
    alphabets = torch.tensor([names[name] for name in training.alphabets])
    groups = (alphabets.unsqueeze(1) * ROTATIONS + torch.arange(ROTATIONS)).flatten()
    for step in range(steps):
        generator = torch.Generator().manual_seed(seed * 10_000_019 + step)
        way, shot = random_choice(WAYS, generator), random_choice(SHOTS, generator)
        tasks = max(1, IMAGES_PER_STEP // (way * (shot + QUERY)))
        within = groups if torch.rand((), generator=generator) < 0.5 else None
        episodes = sample_episodes(counts, tasks, way, shot, QUERY, generator, within)
        support, labels, queries, query_labels = episodes.gather(seen)
        for group in leo.optimizer.param_groups:
            group["lr"] = leo.config.outer_lr * one_cycle(step / steps)
        loss, _ = leo.meta_loss_of_features(support, support, labels, queries, query_labels)
        leo.step_if_finite(loss, leo.optimizer, support, queries)
    return leo.eval()


def main() -> None:
    """Train and compare every choice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Omniglot's images_background, folder or zip")
    parser.add_argument("--model", type=Path, default=WEIGHTS / "omniglot")
    parser.add_argument("--steps", type=int, default=500, help="meta-training steps of each row")
    parser.add_argument("--episodes", type=int, default=1000)
    given = parser.parse_args()
    keep_freed_memory()
    start = LatentEmbeddingOptimization.from_pretrained(given.model)
    drawings = load_drawings(given.data)
    training = drawings.split("train")
    seen, validation = turned_features(start, training), extract_leo_features(start, drawings.split("validation"))
    tasks = {setting: sample_tasks(validation, setting, given.episodes) for setting in SETTINGS}
    first: dict[Setting, Tensor] = {}
    settings = {
        "model": given.model.name,
        "model_version": read_info(given.model).version,
        "split": "validation alphabets",
        "episodes": given.episodes,
        "training_steps": given.steps,
    }
    rows = rows_measured_before("ablation", settings)
    known = {row["choice"] for row in rows}
    for name, changes in ROWS.items():
        if first and name in known:  # the first is always trained: the others are compared with it task by task
            continue
        rows = [row for row in rows if row["choice"] != name]
        began = time.perf_counter()
        leo = train_heads(start, changes, seen, training, given.steps, seed=0)
        seconds = time.perf_counter() - began
        for setting in SETTINGS:
            right = accuracy_per_task(LeoMethod(leo), validation, tasks[setting])
            without = accuracy_per_task(LeoMethod(leo, 0), validation, tasks[setting])
            first.setdefault(setting, right)
            figures = with_ci95(accuracy=right, against_first=right - first[setting], steps_gain=right - without)
            rows.append(
                {
                    "choice": name,
                    "changes": changes,
                    **as_row(setting),
                    **figures,
                    "training_seconds": round(seconds, 1),
                }
            )
            print(name, setting, in_percent(figures), flush=True)
        rows.sort(key=lambda row: list(ROWS).index(row["choice"]))
        write_results("ablation", "choices of LEOConfig, meta-trained alike on a frozen phi", **settings, rows=rows)


if __name__ == "__main__":
    main()
