"""What it would bring to teach phi its own mean over several views of a drawing, so that a query needs one view only.

`bench.query_views` shows what averaging queries over nine views is worth at prediction time. Here the default model's
phi learns to give that mean from the plain drawing: of training drawings, rotated and mirrored, with the mean of the
features of their nine views as the target. The head stays. Both models answer the same tasks from the
validation alphabets. Killed, it continues with the same command; `--out` then holds phi and the optimiser.

    python -m bench.distilled_views --data .../images_background.zip --out runs/distilled.pt    # half an hour
"""

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.common import WEIGHTS, write_results
from bench.intervals import as_row, with_ci95
from bench.support_views import SETTINGS
from model.allocator import keep_freed_memory
from model.baselines.leo import LeoMethod
from model.checkpoint import read_info
from model.data.omniglot import Drawings, load_drawings
from model.devices import bf16_is_fast
from model.evaluation.accuracy import accuracy_per_task, sample_tasks
from model.evaluation.extracted_features import extract_leo_features
from model.images.resize import to_side
from model.leo import LatentEmbeddingOptimization
from model.networks.bent_copies import BentCopies
from model.serving.phi import OnnxPhi
from model.training.drawing_batches import ROTATIONS, apply_symmetries
from model.training.schedule import one_cycle, step_generator

VIEWS = 9
BATCH = 96
SAVE_EVERY = 50


def default_model() -> LatentEmbeddingOptimization:
    """The default model, in evaluation mode."""
    return LatentEmbeddingOptimization.from_pretrained(WEIGHTS / "omniglot")


class Teacher:
    """The default model's phi, which sees a drawing in several views."""

    def __init__(self) -> None:
        leo = default_model()
        self._phi = OnnxPhi(leo.classifier.phi, leo.config.resolution)
        self._bends = BentCopies(leo.config.model_copy(update={"support_views": VIEWS}))

    def __call__(self, drawings: Tensor) -> Tensor:
        """Drawings, uint8 [B,R,R] -> the means of their views' features, of unit length, [B,F]."""
        bent = self._phi(self._bends.of_bytes(drawings.float()).numpy())
        return F.normalize(self._bends.average(self._phi(drawings.numpy()), bent), dim=-1)


def distil(
    drawings: Drawings, steps: int, learning_rate: float, out: Path
) -> tuple[LatentEmbeddingOptimization, list[float]]:
    """Train phi towards its teacher, and return the model and the mean distances between them as it went on."""
    leo, teacher = default_model().requires_grad_(False).to(memory_format=torch.channels_last), Teacher()
    leo.bf16 = bf16_is_fast(leo.alpha.device)
    phi, images = leo.classifier.phi.requires_grad_(True), to_side(drawings.images, leo.config.resolution).flatten(0, 1)
    optimiser = torch.optim.Adam(phi.parameters(), lr=learning_rate)
    step, distances, of_batches = 0, list[float](), list[float]()
    if out.exists():
        held = torch.load(out, weights_only=True)
        step, distances = held["step"], held["distances"]
        phi.load_state_dict(held["phi"])
        optimiser.load_state_dict(held["optimiser"])
    while step < steps:
        generator = step_generator(0, step)
        chosen = images[torch.randint(len(images), (BATCH,), generator=generator)].unsqueeze(1)  # [B, 1, R, R]
        chosen = apply_symmetries(chosen, torch.randint(2 * ROTATIONS, (BATCH,), generator=generator))
        with torch.no_grad():
            wanted = teacher(chosen.squeeze(1))  # [B, F]
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * one_cycle(step / steps)
        found = F.normalize(leo.features(phi, chosen.float() / 255).float(), dim=-1)
        in_features = 1 - (found * wanted).sum(dim=-1).mean()
        in_codes = 1 - F.cosine_similarity(leo.encoder.to_code(found), leo.encoder.to_code(wanted), dim=-1).mean()
        optimiser.zero_grad()
        (in_features + in_codes).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(phi.parameters(), 1.0)
        optimiser.step()
        step += 1
        of_batches.append(float(in_features.detach()))
        if step % SAVE_EVERY == 0 or step == steps:
            distances.append(float(np.mean(of_batches)))
            of_batches.clear()
            print(f"step {step}: distance {distances[-1]:.4f}", flush=True)
            held = {"step": step, "distances": distances, "phi": phi.state_dict(), "optimiser": optimiser.state_dict()}
            torch.save(held, out.with_suffix(".new"))
            os.replace(out.with_suffix(".new"), out)
    leo.bf16 = False
    return leo.eval(), distances


def compare(student: LatentEmbeddingOptimization, validation: Drawings, episodes: int) -> list[dict[str, Any]]:
    """The accuracy of the default model and of the student, on the same tasks."""
    rows = []
    models = (default_model(), student)
    seen = [extract_leo_features(leo, validation) for leo in models]
    for setting in SETTINGS:
        tasks = sample_tasks(seen[0], setting, episodes)
        before, after = (
            accuracy_per_task(LeoMethod(leo), extracted, tasks) for leo, extracted in zip(models, seen, strict=True)
        )
        figures = with_ci95(shipped=before, distilled=after, difference=after - before)
        rows.append(as_row(setting) | figures)
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Distil, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Omniglot's images_background, folder or zip")
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint, from which a killed run goes on")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--episodes", type=int, default=1000)
    given = parser.parse_args()
    keep_freed_memory()
    drawings = load_drawings(given.data)
    student, distances = distil(drawings.split("train"), given.steps, given.learning_rate, given.out)
    write_results(
        "distilled_views",
        "the default model with a phi that was taught its own mean over nine views",
        model_version=read_info(WEIGHTS / "omniglot").version,
        split="validation alphabets",
        steps=given.steps,
        batch=BATCH,
        learning_rate=given.learning_rate,
        distances=distances,
        episodes=given.episodes,
        rows=compare(student, drawings.split("validation"), given.episodes),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
