"""Meta-training in two stages, seeded, resumable to the same result.

1. `pretrain`: phi and the encoder's linear map learn to tell all training characters apart, each of
   the four rotations a class of its own, under a cosine classifier. Optionally they learn at the
   same time to agree with the codes of an already trained LEO, the teacher. Far cheaper an image
   than episodes.
2. `episodes`: everything end to end through the inner loop, on tasks of mixed ways and shots.

Every step draws its data from a generator seeded by (seed, stage, step), so a run that was killed
and resumed draws what the uninterrupted one would have.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from model import parallel
from model.checkpoint import save_model, write_whole
from model.config import LEOConfig
from model.data.episodes import sample_episodes
from model.data.omniglot import Drawings, fingerprint
from model.devices import bf16_is_fast
from model.evaluation.accuracy import evaluate, extract_features
from model.leo import LatentEmbeddingOptimization
from model.training.augmented_batches import ROTATIONS, DeviceDrawings
from model.training.history import Progress, Stage, append, one_cycle


class TrainConfig(BaseModel):
    """What a training run does. Together with data and seed it determines the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    leo: LEOConfig
    seed: int = 0
    # stage 1
    pretrain_steps: int = Field(6000, ge=0)
    pretrain_batch: int = Field(128, ge=2, description="images a step")
    pretrain_lr: float = Field(3e-3, gt=0, description="peak of a one-cycle schedule")
    pretrain_scale: float = Field(20.0, gt=0, description="factor on the cosines before softmax")
    distill: float = Field(0.0, ge=0, description="weight of agreeing with the teacher's codes")
    # stage 2
    episode_steps: int = Field(2000, ge=0)
    images_per_step: int = Field(400, ge=20, description="tasks a step are as many as fit into it, at least 1")
    ways: tuple[int, ...] = (5, 10, 20)
    shots: tuple[int, ...] = (1, 2, 5)
    query: int = Field(5, ge=1, description="queries a class")
    within_alphabet: float = Field(0.0, ge=0, le=1, description="share of steps whose tasks keep to one alphabet each")
    mirrored: bool = Field(False, description="mirror images are classes of their own, as turned ones are")
    elastic: float = Field(0.0, ge=0, le=0.2, description="strokes are bent by up to this share of the side")
    # bookkeeping
    validate_every: int = Field(250, ge=1, description="steps between validations and checkpoints")


class Trainer:
    """A training run in a folder: `state.pt` to resume from, `log.csv`, and the model so far.

    The resume state holds only tensors and plain values and is read with `weights_only=True`.
    """

    def __init__(
        self,
        config: TrainConfig,
        training: Drawings,
        validation: Drawings,
        folder: Path,
        device: torch.device,
        teacher: LatentEmbeddingOptimization | None = None,
        start: LatentEmbeddingOptimization | None = None,
    ) -> None:
        """`teacher` is agreed with in stage 1; `start` lends its phi and linear map to begin with.

        Raises `ValueError` where the config wants a teacher and there is none, where `start` has another
        shape, or where the folder holds another run.
        """
        if config.distill > 0 and teacher is None:
            raise ValueError("distill > 0 needs a teacher")
        self.config, self.folder, self.device, self.teacher = config, folder, device, teacher
        self.validation = validation
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.seed)
        self.leo = LatentEmbeddingOptimization(config=config.leo)
        nn.init.orthogonal_(self.leo.encoder.to_code.weight)
        self.leo.decoder.start_as_transpose_of(self.leo.encoder)
        if start is not None:
            self._take_over(start)
        self.leo.to(device).to(memory_format=torch.channels_last)
        self.leo.bf16 = bf16_is_fast(device)
        self.images = DeviceDrawings(training, config.leo.resolution, device)
        self.teacher_images = None if teacher is None else DeviceDrawings(training, teacher.config.resolution, device)
        self.counts = training.counts
        names = {name: index for index, name in enumerate(dict.fromkeys(training.alphabets))}
        self.alphabets = torch.tensor([names[name] for name in training.alphabets])  # [C]
        self.prototypes = nn.Parameter(  # of the cosine classifier: one row for each class and rotation
            F.normalize(torch.randn(len(training) * ROTATIONS, config.leo.latent_dim), dim=-1).to(device)
        )
        if start is not None and config.pretrain_steps:
            self._prototypes_as_means()
        self.stage: Stage = "pretrain" if config.pretrain_steps else "episodes"
        self.step = 0
        self.seconds = 0.0
        self.optimizer = self._make_optimizer()
        described = config.model_dump(mode="json") | {"data": fingerprint(training)}
        self.identity = json.dumps(described, sort_keys=True)
        self._resume()

    # -- the run -----------------------------------------------------------------------------

    def run(self) -> Iterator[Progress]:
        """Train to the end, yielding after every step; checkpoints at each validation."""
        while True:
            steps = self.config.pretrain_steps if self.stage == "pretrain" else self.config.episode_steps
            while self.step < steps:
                began = time.perf_counter()
                for group in self.optimizer.param_groups:
                    group["lr"] = group["peak"] * one_cycle(self.step / steps)
                generator = self._generator(self.stage, self.step)
                take_step = self._pretrain_step if self.stage == "pretrain" else self._episode_step
                images, watch = take_step(generator)
                self.step += 1
                took = time.perf_counter() - began
                self.seconds += took
                progress = Progress(self.stage, self.step, steps, watch.pop("loss"), images / took, None, watch)
                if self.step % self.config.validate_every == 0 or self.step == steps:
                    parallel.average_statistics(self.leo)
                    progress.validation = self._validate()
                    if parallel.is_first():
                        append(self.folder / "log.csv", progress, self.seconds)
                        self._checkpoint()
                yield progress
            if self.stage == "episodes":
                return
            self._begin_episodes()

    def _take_over(self, start: LatentEmbeddingOptimization) -> None:
        try:
            self.leo.classifier.phi.load_state_dict(start.classifier.phi.state_dict())
            self.leo.encoder.to_code.load_state_dict(start.encoder.to_code.state_dict())
        except RuntimeError as error:
            raise ValueError(f"the model to start from has another shape: {error}") from None
        self.leo.decoder.start_as_transpose_of(self.leo.encoder)

    def _prototypes_as_means(self) -> None:
        """Each class's row becomes the mean of its codes: random ones would undo what phi knows."""
        leo = self.leo.eval()
        slots = torch.arange(int(self.counts.max()))
        with torch.no_grad():
            for index in range(len(self.prototypes)):
                mine = slots[: int(self.counts[index // ROTATIONS])]
                classes, turns = (torch.full_like(mine, part) for part in divmod(index, ROTATIONS))
                shown = self.images.plain(classes, mine, turns)
                codes = leo.encoder.to_code(leo.features(leo.classifier.phi, shown))  # [D, L]
                self.prototypes[index] = F.normalize(codes, dim=-1).mean(dim=0)

    def _align(self) -> None:
        """What stage 1 does not train starts from what it does: the decoder as the encoder's transpose,
        the encoder's own blocks as phi's."""
        if self.leo.encoder.features is not None:
            self.leo.encoder.features.load_state_dict(self.leo.classifier.phi.state_dict())
        self.leo.decoder.start_as_transpose_of(self.leo.encoder)

    def _begin_episodes(self) -> None:
        self._align()
        self.stage, self.step = "episodes", 0
        self.optimizer = self._make_optimizer()

    def _make_optimizer(self) -> torch.optim.Optimizer:
        if self.stage == "episodes":
            optimizer: torch.optim.Optimizer = self.leo.optimizer
            peak = self.config.leo.outer_lr
        else:
            learned = [*self.leo.classifier.phi.parameters(), *self.leo.encoder.to_code.parameters()]
            groups = [{"params": learned, "weight_decay": 1e-4}, {"params": [self.prototypes], "weight_decay": 0.0}]
            optimizer, peak = torch.optim.AdamW(groups), self.config.pretrain_lr
        for group in optimizer.param_groups:
            group["peak"] = peak
        return optimizer

    # -- stage 1 -----------------------------------------------------------------------------

    def _pretrain_step(self, generator: torch.Generator) -> tuple[int, dict[str, float]]:
        config, leo = self.config, self.leo
        picked = torch.randint(int(self.counts.sum()), (config.pretrain_batch,), generator=generator)
        ends = self.counts.cumsum(0)
        classes = torch.searchsorted(ends, picked, right=True)  # [B]
        slots = picked - (ends - self.counts)[classes]
        turns = torch.randint(ROTATIONS, (config.pretrain_batch,), generator=generator)
        seed = int(torch.randint(2**62, (1,), generator=generator))
        classes, slots, turns = parallel.share(classes), parallel.share(slots), parallel.share(turns)
        images = self.images.augmented_batch(classes, slots, turns, self._own_generator(seed))
        targets = (classes * ROTATIONS + turns).to(self.device)
        leo.train()
        if self.step == 0:
            with torch.no_grad():  # the middle of what an untrained phi gives: a fair start for the centre
                leo.classifier.phi.centre.copy_(leo.classifier.phi.blocks(images).float().mean(dim=0))
                parallel.average([leo.classifier.phi.centre.data])
        codes = leo.encoder.to_code(leo.features(leo.classifier.phi, images))  # [B, L]
        cosines = F.normalize(codes, dim=-1) @ F.normalize(self.prototypes, dim=-1).T  # [B, classes]
        loss = F.cross_entropy(config.pretrain_scale * cosines, targets, label_smoothing=0.05)
        watch = {"accuracy": float((cosines.argmax(-1) == targets).float().mean())}
        if self.teacher is not None and self.teacher_images is not None:
            with torch.no_grad():  # the teacher sees the same drawings, as they were drawn
                shown = self.teacher_images.plain(classes, slots, turns)
                wanted = self.teacher.encoder.to_code(self.teacher.features(self.teacher.classifier.phi, shown))
            agreement = F.cosine_similarity(codes, wanted, dim=-1).mean()
            loss = loss + config.distill * (1 - agreement)
            watch["agreement"] = float(agreement.detach())
        return config.pretrain_batch, watch | {"loss": leo.step_if_finite(loss, self.optimizer, images)}

    # -- stage 2 -----------------------------------------------------------------------------

    def _episode_step(self, generator: torch.Generator) -> tuple[int, dict[str, float]]:
        config = self.config
        way = pick(config.ways, generator)
        shot = pick(config.shots, generator)
        tasks = max(1, config.images_per_step // (way * (shot + config.query)))
        symmetries = 2 * ROTATIONS if config.mirrored else ROTATIONS
        counts = self.counts.repeat_interleave(symmetries)
        groups = None
        if config.within_alphabet and float(torch.rand((), generator=generator)) < config.within_alphabet:
            # An alphabet turned by a quarter circle is an alphabet too.
            groups = (self.alphabets.unsqueeze(1) * symmetries + torch.arange(symmetries)).flatten()
            way = min(way, int(groups.bincount().max()))
        tasks = max(parallel.size(), tasks)  # no process without one
        episodes = sample_episodes(counts, tasks, way, shot, config.query, generator, groups)
        chosen, drawings = parallel.share(episodes.classes), parallel.share(episodes.drawings)
        classes, turns = chosen // symmetries, chosen % symmetries  # [T, N]
        tasks, shape = len(chosen), drawings.shape  # [T, N, K+Q]
        seed = int(torch.randint(2**62, (1,), generator=generator))
        images = self.images.augmented_batch(
            classes.unsqueeze(-1).expand(shape).flatten(),
            drawings.flatten(),
            turns.unsqueeze(-1).expand(shape).flatten(),
            self._own_generator(seed),
            config.elastic,
        ).reshape(*shape, 1, config.leo.resolution, config.leo.resolution)
        labels = torch.arange(way, device=self.device).repeat(tasks, 1)
        watch = self.leo.meta_train_step_with_metrics(
            images[:, :, :shot].flatten(1, 2),
            labels.repeat_interleave(shot, dim=1),
            images[:, :, shot:].flatten(1, 2),
            labels.repeat_interleave(config.query, dim=1),
        )
        return shape.numel(), watch

    # -- state -------------------------------------------------------------------------------

    def _generator(self, stage: Stage, step: int) -> torch.Generator:
        part = 0 if stage == "pretrain" else 1
        return torch.Generator().manual_seed((self.config.seed * 2 + part) * 10_000_019 + step)

    def _own_generator(self, seed: int) -> torch.Generator:
        """Each process of several bends its share by numbers of its own."""
        return torch.Generator().manual_seed((seed + parallel.rank()) % 2**63)

    def _validate(self) -> float:
        """5-way 1-shot accuracy over 400 fixed validation tasks. In stage 1 of the encoded class means."""
        leo = self.leo.eval()
        if self.stage == "pretrain":
            self._align()
        steps = 0 if self.stage == "pretrain" else None
        row = evaluate(leo, extract_features(leo, self.validation), 5, 1, 15, episodes=400, seed=1, inner_steps=steps)
        return row.accuracy

    def _checkpoint(self) -> None:
        state = {
            "identity": self.identity,
            "stage": self.stage,
            "step": self.step,
            "seconds": self.seconds,
            "skipped": self.leo.skipped_steps,
            "model": self.leo.state_dict(),
            "prototypes": self.prototypes.detach(),
            "optimizer": self.optimizer.state_dict(),
        }
        fresh = self.folder / "state.pt.new"
        torch.save(state, fresh)
        fresh.replace(self.folder / "state.pt")
        save_model(self.leo, self.folder / "model", self.folder.name)

    def _resume(self) -> None:
        path = self.folder / "state.pt"
        if not path.exists():
            if parallel.is_first():
                write_whole(self.folder / "run.json", (self.config.model_dump_json(indent=2) + "\n").encode())
            return
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        if state["identity"] != self.identity:
            raise ValueError(
                f"{path} belongs to a run with other settings or data; choose another folder or delete this one"
            )
        self.stage, self.step, self.seconds = state["stage"], state["step"], state["seconds"]
        self.leo.load_state_dict(state["model"])
        self.leo.skipped_steps = state["skipped"]
        with torch.no_grad():
            self.prototypes.copy_(state["prototypes"])
        self.optimizer = self._make_optimizer()
        self.optimizer.load_state_dict(state["optimizer"])


def pick(choices: tuple[int, ...], generator: torch.Generator) -> int:
    return choices[int(torch.randint(len(choices), (1,), generator=generator))]


def train_leo(
    num_classes: int,
    task_dataloader: "DataLoader[tuple[Tensor, Tensor, Tensor, Tensor]]",
    latent_dim: int = 64,
    inner_lr: float = 0.01,
    outer_lr: float = 0.001,
    inner_steps: int = 5,
    device: str | torch.device = "cpu",
) -> tuple[LatentEmbeddingOptimization, list[float]]:
    """Meta-train a LEO of the source document's shape on batches of tasks; returns it and its losses.

    The loader yields support [T,S,1,105,105], labels [T,S], query [T,Q,1,105,105], labels [T,Q].
    Raises `model.outer_loop.TrainingDiverged` when steps stay non-finite.
    """
    leo = LatentEmbeddingOptimization(num_classes, latent_dim, inner_lr, outer_lr, inner_steps).to(device)
    losses = [leo.meta_train_step(*(part.to(device) for part in batch)) for batch in task_dataloader]
    return leo, losses
