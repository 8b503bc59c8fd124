"""What the inner steps are worth on photos, by start and loss: attempts, each with its figure on sources left out.

    python -m bench.photos_steps --data a.zip --data b.zip --data c.zip [--backbone efficientnet-lite0] [ATTEMPT...]

For each source the encoder is set from the classes of the other sources, as `leo train` does, and the attempt's few
numbers (the size of each step, the softness of its loss) are meta-learned on tasks of those. The tasks of the source
left out are the same for all attempts and for `bench.photos_held_out`. A code is a sum of encoded examples wherever
the steps have one size for all its numbers, so all attempts work with the coefficients of these sums [T,N,S] and with
the examples' products, which are computed once. Writes bench/results/photos_steps.json.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.common import read_results, write_results
from bench.photos_held_out import PHOTOS_A_CLASS, set_up
from model.baselines.extractors import LeoExtractor
from model.data.episodes import Episodes, fit_to_data
from model.data.photos import Photos, load_photos
from model.evaluation.accuracy import Setting, mean_and_ci95, sample_tasks
from model.evaluation.extracted_features import ExtractedFeatures, extract

RESULTS = "photos_steps"
SHOTS, QUERY = (1, 5, 10), 10
LEARNED_ON = ((5, 1), (5, 5), (10, 2), (10, 10), (20, 1), (20, 5))  # ways and shots
TASKS_TO_LEARN, TASKS_A_STEP, OUTER_STEPS, OUTER_LR = 40, 20, 150, 0.02
AT_ONCE = 50
CODE_RIDGE = 0.08  # of the attempts that start from ridge regression, as models did before steps paid
RIDGE = 0.02  # by which gradients are divided beside the curvature: the preset's


@dataclass(frozen=True)
class Attempt:
    """Where the codes start, and what the inner loop does."""

    start: Literal["means", "ridge"] = "means"
    steps: int = 5
    loss: Literal["cross-entropy", "hinge", "own example left out"] = "cross-entropy"
    latent_dim: int | None = None  # None: as the preset has it
    divided: float | None = None  # the gradients are divided by the support's curvature with this ridge
    held: bool = False  # codes are pulled back to their start, as strongly as is learned


ATTEMPTS = {
    "ridge": Attempt("ridge", 3),
    "ridge, own example left out": Attempt("ridge", 3, "own example left out"),
    "ridge, hinge": Attempt("ridge", 3, "hinge"),
    "ridge, held near the start": Attempt("ridge", held=True),
    "means, 10 steps": Attempt(steps=10),
    "means, 5 steps, held near the start": Attempt(held=True),
    "means, 3 steps divided by the curvature": Attempt(steps=3, divided=RIDGE),
    "means, 5 steps divided by the curvature": Attempt(divided=RIDGE),
    "means, 10 steps divided by the curvature": Attempt(steps=10, divided=RIDGE),
    "128 numbers: ridge, own example left out": Attempt("ridge", 5, "own example left out", 128),
    "128 numbers: means, 10 steps": Attempt(steps=10, latent_dim=128),
    "128 numbers: means, 5 steps divided by the curvature": Attempt(latent_dim=128, divided=RIDGE),
    "512 numbers: means, 5 steps divided by the curvature": Attempt(latent_dim=512, divided=RIDGE),
}


@dataclass(frozen=True)
class Products:
    """T tasks of one setting: the products of their encoded examples with each other and with the queries."""

    way: int
    shot: int
    support: Tensor  # [T, S, S]
    queries: Tensor  # [T, Q, S]

    def labels(self, of: int) -> Tensor:
        """The classes of S examples or Q queries, which are sorted by class."""
        return torch.arange(self.way).repeat_interleave(of // self.way)

    def some(self, which: Tensor) -> "Products":
        """Some of the tasks."""
        return replace(self, support=self.support[which], queries=self.queries[which])


def products_of(encoded: Tensor, tasks: Episodes) -> Products:
    """Gather the tasks of a data set's encoded photos [C,D,L] and multiply."""
    way, support, queries = tasks.classes.shape[1], [], []
    for at in range(0, len(tasks), AT_ONCE):
        examples, _, asked, _ = tasks[at : at + AT_ONCE].gather(encoded)
        support.append(examples @ examples.mT)
        queries.append(asked @ examples.mT)
    return Products(way, tasks.shot, torch.cat(support), torch.cat(queries))


class InnerLoop(nn.Module):
    """An attempt with its meta-learned numbers: products of a batch of tasks -> logits of their queries [T,Q,N]."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__()
        self.attempt = attempt
        plain = 0.3 if attempt.start == "ridge" or attempt.loss == "hinge" else 4.0
        alpha = 1.0 if attempt.divided else plain
        self.log_alpha = nn.Parameter(torch.full((attempt.steps,), alpha).log())
        self.log_softness = nn.Parameter(torch.tensor(1.0 if attempt.divided else 0.3).log())
        self.log_scale = nn.Parameter(torch.tensor(12.0).log())
        self.hold = nn.Parameter(torch.tensor(-2.0), requires_grad=attempt.held)

    def start(self, tasks: Products, membership: Tensor) -> Tensor:
        """The codes' coefficients before the first step, [T,N,S]."""
        if self.attempt.start == "means":
            return (membership.T / tasks.shot).expand(len(tasks.support), -1, -1)
        dual = inverse(tasks.support, CODE_RIDGE) @ (membership - 1 / tasks.way)  # [T, S, N]
        length = (dual.mT @ tasks.support * dual.mT).sum(dim=-1).mean(dim=-1).clamp(min=1e-12).sqrt()  # [T]
        return dual.mT / (length / tasks.shot ** (1 / 3)).pow(3).view(-1, 1, 1)  # as the encoder evens lengths out

    def forward(self, tasks: Products, steps: int) -> Tensor:
        """Start, take steps, classify."""
        attempt, size = self.attempt, tasks.support.shape[-1]
        membership = F.one_hot(tasks.labels(size), tasks.way).float()  # [S, N]
        start = codes = self.start(tasks, membership)
        seen = tasks.support
        if attempt.loss == "own example left out" and tasks.shot > 1:
            seen = seen - torch.diag_embed(seen.diagonal(dim1=1, dim2=2))
        dual = None if attempt.divided is None else inverse(tasks.support, attempt.divided)
        softness = self.log_softness.exp()
        for step in range(steps):
            logits = seen @ codes.mT / softness  # [T, S, N]
            if attempt.loss == "hinge":
                violated = (logits - (logits * membership).sum(dim=-1, keepdim=True) + 1 > 0) * (1 - membership)
                error = violated - membership * violated.sum(dim=-1, keepdim=True)
            else:
                error = logits.softmax(dim=-1) - membership
            error = error / size if dual is None else dual @ error
            codes = codes - self.log_alpha[step].exp() * softness * error.mT
            if attempt.held:
                codes = codes - self.hold.sigmoid() * (codes - start)
        return self.log_scale.exp() * tasks.queries @ codes.mT


def inverse(products: Tensor, ridge: float) -> Tensor:
    """The inverse of examples' products [T,S,S] with a ridge."""
    found: Tensor = torch.linalg.inv(products + ridge * torch.eye(products.shape[-1]))
    return found


def learn(loop: InnerLoop, tasks: list[Products]) -> None:
    """Meta-learn an attempt's numbers on tasks of several settings and sources."""
    optimizer = torch.optim.Adam([each for each in loop.parameters() if each.requires_grad], lr=OUTER_LR)
    generator = torch.Generator().manual_seed(0)
    for step in range(OUTER_STEPS):
        some = tasks[int(torch.randint(len(tasks), (), generator=generator))]
        some = some.some(torch.randint(len(some.support), (TASKS_A_STEP,), generator=generator))
        logits = loop(some, loop.attempt.steps)
        loss = F.cross_entropy(logits.flatten(0, 1), some.labels(logits.shape[1]).repeat(len(logits)))
        for group in optimizer.param_groups:
            group["lr"] = OUTER_LR * (1 - step / OUTER_STEPS)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(loop.parameters(), 1.0)
        optimizer.step()


class LeftOut:
    """A source left out: the products of its tasks, and of those of the other sources to learn on."""

    def __init__(self, backbone: str, held_out: Photos, others: list[Photos], latent_dim: int | None, tasks: int):
        leo = set_up(backbone, others, latent_dim)

        @torch.no_grad()
        def encoded(photos: Photos) -> ExtractedFeatures:
            found = extract(LeoExtractor(leo), photos, leo.config.resolution, torch.device("cpu"))
            return replace(found, features=leo.encoder.to_code(found.features))

        measured = encoded(held_out)
        self.tasks = {
            shot: products_of(measured.features, sample_tasks(measured, Setting(5, (shot, shot), QUERY), tasks, 0))
            for shot in SHOTS
        }
        self.to_learn = [each for other in others for each in _tasks_to_learn(encoded(other))]


def _tasks_to_learn(extracted: ExtractedFeatures) -> Iterator[Products]:
    for way, shot in LEARNED_ON:
        if fit_to_data(extracted.counts, way, shot, 5) == (way, shot, 5):
            tasks = sample_tasks(extracted, Setting(way, (shot, shot), 5), TASKS_TO_LEARN, 2)
            yield products_of(extracted.features, tasks)


@torch.no_grad()
def right(loop: InnerLoop, tasks: Products, steps: int) -> Tensor:
    """The share of right answers in each task, [T]."""
    logits = loop(tasks, steps)
    return (logits.argmax(dim=-1) == tasks.labels(logits.shape[1])).double().mean(dim=1)


def measured(loop: InnerLoop, left_out: LeftOut, first: dict[int, Tensor]) -> list[dict[str, Any]]:
    """An attempt's rows on a source left out; `first` is filled by the first one's start, which all are compared to."""
    rows = []
    for shot, tasks in left_out.tasks.items():
        off, on = right(loop, tasks, 0), right(loop, tasks, loop.attempt.steps)
        reference = first.setdefault(shot, off)
        gain, against = mean_and_ci95(on - off), mean_and_ci95(on - reference)
        rows.append(
            {
                "shot": shot,
                "off": float(off.mean()),
                "on": float(on.mean()),
                "gain": gain[0],
                "gain_ci95": gain[1],
                "against_ridge": against[0],
                "against_ridge_ci95": against[1],
            }
        )
    return rows


@torch.no_grad()
def learned_numbers(loop: InnerLoop) -> dict[str, Any]:
    """What was meta-learned."""
    numbers = {
        "alpha": [round(each, 4) for each in loop.log_alpha.exp().tolist()],
        "softness": round(float(loop.log_softness.exp()), 3),
        "scale": round(float(loop.log_scale.exp()), 2),
    }
    return numbers | ({"hold": round(float(loop.hold.sigmoid()), 3)} if loop.attempt.held else {})


def averaged(sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The mean of the rows over sources, by shots; the intervals are those of independent means."""
    by_shot = [[source["rows"][place] for source in sources] for place in range(len(SHOTS))]
    return [
        {
            name: rows[0]["shot"]
            if name == "shot"
            else sum(row[name] ** 2 for row in rows) ** 0.5 / len(rows)
            if name.endswith("ci95")
            else sum(row[name] for row in rows) / len(rows)
            for name in rows[0]
        }
        for rows in by_shot
    ]


def main() -> None:
    """Try and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, help="a source; give at least two")
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("attempts", nargs="*", help="by name; default: all")
    given = parser.parse_args()
    sources = {Path(path).name: load_photos(path).first(PHOTOS_A_CLASS) for path in given.data}

    @cache
    def left_out(name: str, latent_dim: int | None) -> LeftOut:
        others = [photos for other, photos in sources.items() if other != name]
        return LeftOut(given.backbone, sources[name], others, latent_dim, given.episodes)

    of_first: dict[str, dict[int, Tensor]] = {name: {} for name in sources}
    first = next(iter(ATTEMPTS))
    names = [first, *(name for name in given.attempts or ATTEMPTS if name != first)]
    found = []
    for name in names:
        attempt, by_source = ATTEMPTS[name], []
        for source in sources:
            data = left_out(source, attempt.latent_dim)
            loop = InnerLoop(attempt)
            learn(loop, data.to_learn)
            rows = measured(loop, data, of_first[source])
            by_source.append({"source": source, "learned": learned_numbers(loop), "rows": rows})
        found.append({"attempt": name, "mean": averaged(by_source), "sources": by_source})
        for row in found[-1]["mean"]:
            figures = {key: round(100 * value, 2) for key, value in row.items() if key != "shot"}
            print(f"{name:45} {row['shot']:2} shots", figures, flush=True)
        print([source["learned"] for source in by_source], flush=True)
    measured_before = read_results(RESULTS).get("backbones", [])
    others = [each for each in measured_before if each["backbone"] != given.backbone]
    write_results(
        RESULTS,
        "LEO's inner steps on photos by start and loss, on a source left out: accuracy with steps off and on, the gain "
        "of the steps, and the difference to the first attempt's start, on the same tasks",
        backbones=[*others, {"backbone": given.backbone, "episodes": given.episodes, "attempts": found}],
    )


if __name__ == "__main__":
    main()
