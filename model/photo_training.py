"""Meta-training on a frozen backbone's features, which are computed once and kept: then it takes a minute.

Little is learned, since a hundred classes teach far less than what the backbone was trained on: how far a
task's head may move away from its class means in each direction of the codes, and how sure it is. The
directions themselves are the backbone's (`start_from_backbone`) and stay. Whatever more the
config trains starts at nothing. The weights kept are the best on classes that are not trained on.
"""

import copy
import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from model.baselines.latent import Leo
from model.baselines.logistic import LogisticHead
from model.baselines.method import Phi
from model.config import LEOConfig
from model.data.episodes import sample_episodes
from model.data.photos import Photos, features
from model.evaluate import Setting, Sight, accuracies, draw
from model.leo import LatentEmbeddingOptimization
from model.train import Progress, one_cycle, pick

L2_GRID = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03)  # of the logistic head LEO is compared with


class PhotoTrainConfig(BaseModel):
    """What a training run does. Together with data and seed it determines the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    leo: LEOConfig
    seed: int = 0
    steps: int = Field(600, ge=1)
    images_per_step: int = Field(1000, ge=20, description="tasks a step are as many as fit into it, at least 1")
    ways: tuple[int, ...] = (2, 5, 10, 20)
    shots: tuple[int, ...] = (1, 2, 5, 10)
    query: int = Field(5, ge=1, description="queries a class")
    views: int = Field(1, ge=1, description="of each picture; all but the first are augmented")
    trained: tuple[str, ...] = Field(
        ("alpha", "decoder.log_scale"), description="parameters that are trained, by the beginning of their names"
    )
    validate_every: int = Field(50, ge=1, description="steps between validations")


class PhotoTrainer:
    """A training run in a folder: `log.csv`, and in `leo` the best weights so far."""

    def __init__(
        self, config: PhotoTrainConfig, training: Photos, validation: Photos, folder: Path, device: torch.device
    ) -> None:
        backbone = config.leo.pretrained
        if backbone is None:
            raise ValueError("this trains on a pretrained backbone's features; the config names none")
        self.config, self.folder, self.device = config, folder, device
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.seed)
        loaded = backbone.load()
        self.leo = LatentEmbeddingOptimization(
            config=config.leo.model_copy(update={"backbone_sha256": loaded.sha256})
        ).to(device)
        for name, parameter in self.leo.named_parameters():
            parameter.requires_grad_(name.startswith(config.trained))
        raw = features(training, backbone, config.views)  # [C, D, V, F]
        self.counts = training.counts
        start_from_backbone(self.leo, loaded.classifier, raw[:, :, 0], self.counts)
        phi = self.leo.classifier.phi
        with torch.no_grad():
            self.seen = torch.cat([phi.finished(some.to(device)) for some in raw.split(16)])  # [C, D, V, F]
        self.sights = sights_of(self.leo, validation)
        self.best, self.seconds = -1.0, 0.0

    def run(self) -> Iterator[Progress]:
        """Train to the end, yielding each step."""
        config, leo = self.config, self.leo
        best_state: dict[str, Tensor] = {}
        for step in range(config.steps + 1):
            began = time.perf_counter()
            progress = Progress("episodes", step, config.steps, float("nan"), 0.0)
            if step % config.validate_every == 0:
                progress.validation = self._validate()
                if progress.validation > self.best:
                    self.best, best_state = progress.validation, copy.deepcopy(leo.state_dict())
            if step < config.steps:
                for group in leo.optimizer.param_groups:
                    group["lr"] = config.leo.outer_lr * one_cycle(step / config.steps)
                images, progress.watch = self._step(torch.Generator().manual_seed(config.seed * 10_000_019 + step))
                progress.loss = progress.watch.pop("loss")
                progress.images_per_second = images / (time.perf_counter() - began)
            self.seconds += time.perf_counter() - began
            if progress.validation is not None:
                self._log(progress)
            yield progress
        leo.load_state_dict(best_state)
        leo.eval()

    def _step(self, generator: torch.Generator) -> tuple[int, dict[str, float]]:
        config = self.config
        way, shot = pick(config.ways, generator), pick(config.shots, generator)
        tasks = max(1, config.images_per_step // (way * (shot + config.query)))
        episodes = sample_episodes(self.counts, tasks, way, shot, config.query, generator)
        views = torch.randint(self.seen.shape[2], episodes.drawings.shape, generator=generator)
        picked = self.seen[episodes.classes.unsqueeze(-1), episodes.drawings, views]  # [T, N, K+Q, F]
        labels = torch.arange(way, device=self.device).repeat(tasks, 1)
        support = picked[:, :, :shot].flatten(1, 2)
        self.leo.train()
        loss, watch = self.leo.meta_loss_of_features(
            support,
            support,
            labels.repeat_interleave(shot, dim=1),
            picked[:, :, shot:].flatten(1, 2),
            labels.repeat_interleave(config.query, dim=1),
        )
        return picked[..., 0].numel(), watch | {"loss": self.leo.step_if_finite(loss, self.leo.optimizer, picked)}

    def _validate(self) -> float:
        """Mean accuracy over fixed tasks of validation classes, each source's: 5-way, 1 shot and 5."""
        method = Leo(self.leo.eval())
        settings = [Setting(5, (shot, shot), 10) for shot in (1, 5)]
        found = [accuracies(method, sight, draw(sight, s, 200, seed=1)) for sight in self.sights for s in settings]
        return float(torch.stack(found).mean())

    def _log(self, progress: Progress) -> None:
        path = self.folder / "log.csv"
        fresh = progress.step == 0
        with path.open("w" if fresh else "a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(["stage", "step", "seconds", "loss", "validation", "images_per_second", "watch"])
            writer.writerow(
                [
                    progress.stage,
                    progress.step,
                    round(self.seconds, 1),
                    round(progress.loss, 5),
                    progress.validation,
                    round(progress.images_per_second, 1),
                    json.dumps({name: round(value, 5) for name, value in progress.watch.items()}),
                ]
            )


def sights_of(leo: LatentEmbeddingOptimization, validation: Photos) -> list[Sight]:
    """Features of validation classes, each source of pictures by itself: tasks are of one kind of photo."""
    return [
        Sight(seen := Phi(leo).of_photos(part), part.counts, torch.arange(len(seen))) for part in validation.by_source()
    ]


@torch.no_grad()
def start_from_backbone(leo: LatentEmbeddingOptimization, classifier: Tensor, raw: Tensor, counts: Tensor) -> None:
    """Where training starts: phi's centre, the mean of features [C,D,F]; the decoder's directions, the principal
    ones of the backbone's own classifier [classes,F]; and codes of nothing, so that heads are class means.
    """
    phi, decoder, encoder = leo.classifier.phi, leo.decoder, leo.encoder
    real = torch.arange(raw.shape[1]) < counts.unsqueeze(1)  # [C, D]
    phi.centre.copy_(raw[real].pow(phi.power).mean(dim=0))
    centred = classifier - classifier.mean(dim=0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)  # [., F], by falling strength
    if decoder.skip is not None:
        decoder.skip.weight.zero_()
        decoder.skip.weight[:-1] = directions[: leo.config.latent_dim].T
    encoder.to_code.weight.zero_()


def choose_l2(leo: LatentEmbeddingOptimization, sights: list[Sight], episodes: int = 200) -> dict[float, float]:
    """Mean accuracy of a logistic head by L2 strength, on tasks of validation classes: 5-way, 1 shot, 5 and 10."""
    eye, found = Phi(leo), {}
    for l2 in L2_GRID:
        method = LogisticHead(eye, l2)
        drawn = [(sight, draw(sight, Setting(5, (k, k), 10), episodes, seed=1)) for sight in sights for k in (1, 5, 10)]
        found[l2] = float(torch.cat([accuracies(method, sight, tasks) for sight, tasks in drawn]).mean())
    return found
