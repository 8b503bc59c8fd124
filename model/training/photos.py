"""Meta-training on a frozen backbone's features, which are computed once and kept: then it takes a minute.

A hundred classes teach far less than what the backbone was trained on, so little is learned. What carries over
to classes, and kinds of photos, never seen is how pictures of one thing differ among themselves: light,
angle, background. The encoder turns those directions down (`start_from_classes`), so that codes are class
means as seen by a classifier that expects them, and the decoder is its transpose. Episodes then train
how far each number of a code moves in a step, and how sure the head is. The weights kept are the
best on classes that are not trained on.
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
from model.baselines.method import Bare, Phi
from model.config import LEOConfig
from model.data.episodes import sample_episodes
from model.data.photos import Photos, features
from model.evaluation.accuracy import ExtractedFeatures, Setting, accuracies, feasible_settings, sample_tasks
from model.leo import LatentEmbeddingOptimization
from model.training.drawings import pick
from model.training.history import Progress, one_cycle

L2_GRID = (1e-5, 1e-4, 1e-3, 1e-2)  # of the logistic head LEO is compared with


#: What the temperature is fitted on, each source of photos alike; the first fits small data sets too.
PHOTO_MIX = (Setting(2, (1, 1), 3), *(Setting(way, (k, k), 10) for way in (5, 15) for k in (1, 5, 10)))


class PhotoTrainConfig(BaseModel):
    """What a training run does. Together with data and seed it determines the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    leo: LEOConfig
    seed: int = 0
    steps: int = Field(80, ge=1)
    images_per_step: int = Field(100, ge=20, description="tasks a step are as many as fit into it, at least 1")
    ways: tuple[int, ...] = (2, 5, 10, 20)
    shots: tuple[int, ...] = (1, 2, 5, 10)
    query: int = Field(5, ge=1, description="queries a class")
    from_classes: bool = Field(True, description="encoder and decoder start from training classes, not at random")
    shrinkage: float = Field(0.9, gt=0, le=1, description="of the covariance within classes; 1: it is not looked at")
    centring: float = Field(0.0, ge=0, le=1, description="share of the training features' mean that phi takes out")
    views: int = Field(1, ge=1, description="of each picture; all but the first are augmented")
    trained: tuple[str, ...] = Field(
        ("alpha", "decoder.log_scale"), description="parameters that are trained, by the beginning of their names"
    )
    validate_every: int = Field(40, ge=1, description="steps between validations")


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
        whose = {"backbone_sha256": backbone.load().sha256}
        self.leo = LatentEmbeddingOptimization(config=config.leo.model_copy(update=whose)).to(device)
        for name, parameter in self.leo.named_parameters():
            parameter.requires_grad_(name.startswith(config.trained))
        raw = features(training, backbone, config.views)  # [C, D, V, W]
        self.counts = training.counts
        first = raw[:, :, 0].to(device)  # [C, D, W]
        if config.from_classes:
            start_from_classes(self.leo, first, self.counts, config.shrinkage, config.centring)
        else:
            centre_on(self.leo, first, self.counts, config.centring)
        phi = self.leo.classifier.phi
        with torch.no_grad():
            self.features = torch.cat([phi.postprocess(some.to(device)) for some in raw.split(16)])  # [C, D, V, F]
        self.sources = extract_by_source(Phi(self.leo), validation)
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
        way = min(pick(config.ways, generator), len(self.counts))
        # The largest classes decide what is possible; in a small data set episodes are smaller.
        most = int(self.counts.sort(descending=True).values[way - 1]) - config.query
        shot = max(1, min(pick(config.shots, generator), most))
        tasks = max(1, config.images_per_step // (way * (shot + config.query)))
        episodes = sample_episodes(self.counts, tasks, way, shot, config.query, generator)
        views = torch.randint(self.features.shape[2], episodes.drawings.shape, generator=generator)
        picked = self.features[episodes.classes.unsqueeze(-1), episodes.drawings, views]  # [T, N, K+Q, F]
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
        """Mean accuracy over fixed tasks of validation classes, each source's: 5-way, 1 shot, 5 and 10."""
        method = Leo(self.leo.eval())
        found = [
            accuracies(method, extracted, sample_tasks(extracted, setting, 100, seed=1))
            for extracted in self.sources
            for setting in five_way(extracted, (1, 5, 10))
        ]
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


def five_way(extracted: ExtractedFeatures, shots: tuple[int, ...]) -> list[Setting]:
    """Tasks of 5 classes with 10 queries each, or of as many as a small data set has. Raises `DataError`."""
    way = min(5, len(extracted.counts))
    most = int(extracted.counts.sort(descending=True).values[way - 1])
    fitting = [Setting(way, (k, k), min(10, most - k)) for k in shots if k < most]
    return feasible_settings(extracted, fitting)


def extract_by_source(extractor: Phi, validation: Photos) -> list[ExtractedFeatures]:
    """Features of validation classes, each source of pictures by itself: tasks are of one kind of photo."""
    return [
        ExtractedFeatures(seen := extractor.of_photos(part), part.counts, torch.arange(len(seen)))
        for part in validation.by_source()
    ]


@torch.no_grad()
def centre_on(leo: LatentEmbeddingOptimization, raw: Tensor, counts: Tensor, share: float) -> Tensor:
    """Set phi's centre to a share of the mean of features [C,D,W] that are real; give which those are, [C,D]."""
    real = (torch.arange(raw.shape[1]) < counts.unsqueeze(1)).to(raw.device)
    phi = leo.classifier.phi
    phi.centre.copy_(share * phi.select_parts(raw[real]).mean(dim=0))
    return real


@torch.no_grad()
def start_from_classes(
    leo: LatentEmbeddingOptimization, raw: Tensor, counts: Tensor, shrinkage: float, centring: float = 0.0
) -> None:
    """Set phi's centre, encoder and decoder by the features [C,D,W] of C training classes of `counts` pictures.

    The encoder takes features x to P^(1/2) B'x, [L]: B the L directions in which they vary most, P the inverse of their
    covariance within classes there, of which `shrinkage` is replaced by the same variance in every direction
    (as in regularised linear discriminant analysis: Friedman, 1989). The decoder is the transpose.
    """
    phi, decoder, encoder = leo.classifier.phi, leo.decoder, leo.encoder
    real = centre_on(leo, raw, counts, centring)
    features = phi.postprocess(raw)  # [C, D, F]
    weights = real.unsqueeze(-1).to(features.dtype)
    means = (features * weights).sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True)  # [C, 1, F]
    apart = (features - means)[real]  # [M, F]
    within = apart.T @ apart / (len(apart) - len(counts))  # [F, F]
    covariance = features[real].T @ features[real] / len(apart)
    basis = torch.linalg.eigh(covariance).eigenvectors[:, -leo.config.latent_dim :]  # [F, L]
    even = within.trace() / len(within) * torch.eye(basis.shape[1], device=raw.device)
    variance, turn = torch.linalg.eigh((1 - shrinkage) * basis.T @ within @ basis + shrinkage * even)
    encoder.to_code.weight.copy_((turn * (variance.mean() / variance).sqrt()).T @ basis.T)  # [L, F]
    decoder.start_as_transpose_of(encoder)


def choose_l2(leo: LatentEmbeddingOptimization, validation: Photos, episodes: int = 200) -> dict[float, float]:
    """Mean accuracy of a logistic head by L2 strength, on tasks of validation classes: 5-way, 1 shot, 5 and 10."""
    extractor, found = Bare(leo), {}
    sources = extract_by_source(extractor, validation)
    for l2 in L2_GRID:
        method = LogisticHead(extractor, l2)
        drawn = [
            (extracted, sample_tasks(extracted, setting, episodes, seed=1))
            for extracted in sources
            for setting in five_way(extracted, (1, 5, 10))
        ]
        found[l2] = float(torch.cat([accuracies(method, extracted, tasks) for extracted, tasks in drawn]).mean())
    return found
