"""Meta-training of a LEO on photos, on a frozen backbone's features. These are extracted once; training takes a minute.

The backbone was trained on far more than the hundred or so classes here can teach, so little is trained. What does
carry over to new classes and kinds of photos is how pictures of one class differ: by light, angle and background.
`set_from_classes` computes an encoder that turns these directions down, and a decoder that is its transpose. Episodes
then train only how far each number of a code moves in an inner step, and the scale of the logits. The weights kept are
those with the highest accuracy on validation classes.
"""

import copy
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from model.baselines.extractors import extractor_of
from model.baselines.leo import LeoMethod
from model.data.episodes import fit_to_data, sample_episodes, split_support_and_queries
from model.data.photo_features import backbone_features
from model.data.photos import Photos
from model.evaluation.accuracy import accuracy_per_task, five_way_settings, sample_tasks
from model.leo import LatentEmbeddingOptimization
from model.networks.likeness import cosine_between_classes
from model.training.config import PhotoTrainConfig
from model.training.history import Progress, append_to_log
from model.training.photo_validation import extract_by_source
from model.training.schedule import one_cycle, random_choice, step_generator

MAX_PAIRED = 2000  # photos whose pairs say how much each part of joined backbones counts


class PhotoTrainer:
    """A training run in a folder, which gets `log.csv`. `leo` has the best weights after `run`."""

    def __init__(
        self, config: PhotoTrainConfig, training: Photos, validation: Photos, folder: Path, device: torch.device
    ) -> None:
        """Extract the features, or read those on disk, and set the weights that training starts from.

        Raises `ValueError` if the config names no pretrained backbone, and what
        `model.data.photo_features.backbone_features` raises.
        """
        backbone = config.leo.pretrained
        if backbone is None:
            raise ValueError("training on photos needs a pretrained backbone: set `backbone` in the config")
        self.config, self.folder, self.device = config, folder, device
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.seed)
        checksum = {"backbone_sha256": backbone.load().sha256}
        self.leo = LatentEmbeddingOptimization(config=config.leo.model_copy(update=checksum)).to(device)
        for name, parameter in self.leo.named_parameters():
            parameter.requires_grad_(name.startswith(config.trained))
        raw = backbone_features(training, backbone, config.leo.support_views)  # [C, D, V, W]
        self.counts = training.counts
        places = {name: place for place, name in enumerate(training.names)}
        sources = [torch.tensor([places[name] for name in part.names]) for part in training.by_source()]
        enough = tuple(each for each in sources if int((self.counts[each] >= 2).sum()) >= 2)
        self.sources = enough or (torch.arange(len(self.counts)),)  # the classes of each, tensors of their places
        plain = raw[:, :, 0].to(device)  # [C, D, W]
        if backbone.joined:
            set_part_weights(self.leo, plain, self.counts, torch.Generator().manual_seed(config.seed))
        if config.from_classes:
            set_from_classes(self.leo, plain, self.counts, config.shrinkage, config.centring)
        else:
            set_centre(self.leo, plain, self.counts, config.centring)
        phi = self.leo.classifier.phi
        with torch.no_grad():
            self.features = torch.cat([phi.postprocess(some.to(device)) for some in raw.split(16)])  # [C, D, V, F]
        self.validation_features = extract_by_source(extractor_of(self.leo), validation)
        self.best, self.seconds = -1.0, 0.0

    def run(self) -> Iterator[Progress]:
        """Train to the end and yield after every step; step 0 only validates the initial weights."""
        config, leo = self.config, self.leo
        log = self.folder / "log.csv"
        log.unlink(missing_ok=True)
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
                images, progress.watch = self._run_step(step_generator(config.seed, step))
                progress.loss = progress.watch.pop("loss")
                progress.images_per_second = images / (time.perf_counter() - began)
            self.seconds += time.perf_counter() - began
            if progress.validation is not None:
                append_to_log(log, progress, self.seconds)
            yield progress
        leo.load_state_dict(best_state)
        leo.eval()

    def _run_step(self, generator: torch.Generator) -> tuple[int, dict[str, float]]:
        """Train on random tasks of one source; return their number of images, and the loss and other figures by name.

        Tasks are of one source because users' tasks are, and their classes are harder to tell apart. All sources count
        the same.
        """
        config = self.config
        classes = random_choice(self.sources, generator)
        counts = self.counts[classes]
        way, shot = random_choice(config.ways, generator), random_choice(config.shots, generator)
        way, shot, query = fit_to_data(counts, way, shot, config.query)
        tasks = config.tasks_per_step(way, shot)
        episodes = sample_episodes(counts, tasks, way, shot, query, generator)
        of_classes = classes[episodes.classes].unsqueeze(-1)  # [T, N, 1]
        features = self.features[of_classes, episodes.drawings]  # [T, N, K+Q, V, F]
        support, labels, queries, query_labels = split_support_and_queries(features, shot)
        of_pictures, queries = support[:, :, 0], queries[:, :, 0]  # [T, S, F], [T, Q, F]
        if self.leo.config.views_in_loss == 1:
            support = of_pictures
        self.leo.train()
        loss, watch = self.leo.meta_loss_of_features(support, of_pictures, labels, queries, query_labels)
        watch["loss"] = self.leo.step_if_finite(loss, self.leo.optimizer, features)
        return episodes.drawings.numel(), watch

    def _validate(self) -> float:
        """Measure the mean accuracy over fixed validation tasks of each source: 5-way, with 1, 5 and 10 shots."""
        method = LeoMethod(self.leo.eval())
        accuracies = [
            accuracy_per_task(method, extracted, sample_tasks(extracted, setting, 100, seed=1))
            for extracted in self.validation_features
            for setting in five_way_settings(extracted, (1, 5, 10))
        ]
        return float(torch.stack(accuracies).mean())


@torch.no_grad()
def set_part_weights(leo: LatentEmbeddingOptimization, raw: Tensor, counts: Tensor, generator: torch.Generator) -> None:
    """Set how much each part of joined backbones' features counts, from the features [C,D,W] of training classes.

    The cosine of two photos is the sum of the parts' cosines, times the squared weights. These are the coefficients of
    Fisher's linear discriminant between pairs of photos of one class and pairs of two classes, scaled to add up to 1.
    """
    phi = leo.classifier.phi
    real = set_centre(leo, raw, counts, 1.0)
    classes = real.nonzero()[:, 0]  # [M]
    some = torch.randperm(len(classes), generator=generator)[:MAX_PAIRED].to(raw.device)
    parts = (phi.select_parts(raw[real][some]) - phi.centre).split([part.width for part in phi.parts], dim=-1)
    cosines = torch.stack(
        [(unit := functional.normalize(part, dim=-1)) @ unit.T for part in parts], dim=-1
    )  # [M, M, P]
    same = classes[some].unsqueeze(0) == classes[some].unsqueeze(1)  # [M, M]
    different = ~same
    same.fill_diagonal_(False)
    of_same, of_different = cosines[same], cosines[different]  # [.., P]
    spread = of_same.T.cov() + of_different.T.cov()  # [P, P]
    squared = torch.linalg.solve(spread, of_same.mean(dim=0) - of_different.mean(dim=0)).clamp(min=0)  # [P]
    phi.part_weights.copy_((squared / squared.sum()).sqrt())


@torch.no_grad()
def set_centre(leo: LatentEmbeddingOptimization, raw: Tensor, counts: Tensor, share: float) -> Tensor:
    """Set phi's centre to a share of the mean of the backbone's features [C,D,W], padding left out.

    Returns which of the features are no padding, [C,D] bool.
    """
    real = (torch.arange(raw.shape[1]) < counts.unsqueeze(1)).to(raw.device)
    phi = leo.classifier.phi
    share = 1.0 if phi.joined else share  # parts are weighed by their lengths, which a common offset would make equal
    phi.centre.copy_(share * phi.select_parts(raw[real]).mean(dim=0))
    return real


@torch.no_grad()
def set_from_classes(
    leo: LatentEmbeddingOptimization, raw: Tensor, counts: Tensor, shrinkage: float, centring: float = 0.0
) -> None:
    """Compute phi's centre, the encoder and the decoder from the backbone's features [C,D,W] of C training classes.

    And the cosine between encoded photos of two of them, the config's `unrelated_cosine`.

    The encoder maps features x to P^(1/2) B'x, [L]. B holds the L directions in which the features vary most. P is the
    inverse of their covariance within classes in these directions. A share `shrinkage` of the covariance is replaced by
    one with the same variance in all directions, as in regularised discriminant analysis (Friedman, 1989). The decoder
    is the transpose of the encoder.
    """
    phi, decoder, encoder = leo.classifier.phi, leo.decoder, leo.encoder
    real = set_centre(leo, raw, counts, centring)
    features = phi.postprocess(raw)  # [C, D, F]
    weights = real.unsqueeze(-1).to(features.dtype)
    means = (features * weights).sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True)  # [C, 1, F]
    deviations = (features - means)[real]  # [M, F]
    within = deviations.T @ deviations / (len(deviations) - len(counts))  # [F, F]
    covariance = features[real].T @ features[real] / len(deviations)
    basis = torch.linalg.eigh(covariance).eigenvectors[:, -leo.config.latent_dim :]  # [F, L]
    even = within.trace() / len(within) * torch.eye(basis.shape[1], device=raw.device)
    variance, axes = torch.linalg.eigh((1 - shrinkage) * basis.T @ within @ basis + shrinkage * even)
    encoder.to_code.weight.copy_((axes * (variance.mean() / variance).sqrt()).T @ basis.T)  # [L, F]
    decoder.start_as_transpose_of(encoder)
    classes = torch.arange(len(counts), device=raw.device).unsqueeze(1).expand_as(real)[real]  # [M]
    encoded = encoder.encode_examples(features[real])  # [M, L]
    cosine = cosine_between_classes(encoded.unsqueeze(0), functional.one_hot(classes).to(encoded.dtype).unsqueeze(0))
    leo.config = leo.config.model_copy(update={"unrelated_cosine": round(float(cosine), 4)})
