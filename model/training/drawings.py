"""Meta-training of a LEO on drawings, in up to three stages, which can be killed at any moment.

A run that is started again resumes, and ends with the same weights.

1. `pretrain`: supervised pretraining of phi and the encoder's linear map, see `model.training.pretraining`.
2. `episodes`: the whole model is trained through the inner loop, on tasks of mixed ways and shots.
3. `views`: phi learns its own mean over several views of a drawing, see `model.training.view_teaching`.

Every step samples its data with a generator seeded by (seed, stage, step). So a resumed run samples what the
uninterrupted one would have sampled.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from model import parallel
from model.checkpoint import save_model, write_whole
from model.data.episodes import fit_to_data, sample_episodes, split_support_and_queries
from model.data.omniglot import Drawings, fingerprint
from model.devices import bf16_is_fast
from model.evaluation.accuracy import measure_accuracy
from model.evaluation.extracted_features import extract_leo_features
from model.leo import LatentEmbeddingOptimization
from model.training.config import DrawingTrainConfig
from model.training.drawing_batches import ROTATIONS, DrawingBatches
from model.training.history import Progress, Stage, append_to_log, cut_log
from model.training.pretraining import Pretraining, process_generator
from model.training.schedule import one_cycle, random_choice, step_generator
from model.training.view_teaching import ViewTeaching


class DrawingTrainer:
    """A training run in a folder, which gets `run.json`, `log.csv`, `state.pt` to resume from, and `model` so far.

    `state.pt` holds only tensors and plain values and is read with `weights_only=True`.
    """

    def __init__(
        self,
        config: DrawingTrainConfig,
        training: Drawings,
        validation: Drawings,
        folder: Path,
        device: torch.device,
        teacher: LatentEmbeddingOptimization | None = None,
        start: LatentEmbeddingOptimization | None = None,
    ) -> None:
        """Begin a run, or resume the one in `folder`.

        Pretraining learns to agree with `teacher` if the config's `distill` is above 0. The new LEO begins with phi and
        the encoder's linear map of `start`, if given.

        Raises `ValueError` if `distill` needs a teacher and there is none, if `start` has another shape, or if the
        folder holds a run with other settings or data.
        """
        if config.distill > 0 and teacher is None:
            raise ValueError("distill > 0 needs a teacher: give a trained LEO, or set distill to 0")
        self.config, self.folder, self.device = config, folder, device
        self.validation = validation
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.seed)
        self.leo = LatentEmbeddingOptimization(config=config.leo)
        nn.init.orthogonal_(self.leo.encoder.to_code.weight)
        self.leo.decoder.start_as_transpose_of(self.leo.encoder)
        if start is not None:
            self._copy_weights(start)
        self.leo.to(device).to(memory_format=torch.channels_last)
        self.leo.bf16 = bf16_is_fast(device)
        self.batches = DrawingBatches(training, config.leo.resolution, device)
        self.counts = training.counts
        names = {name: index for index, name in enumerate(dict.fromkeys(training.alphabets))}
        self.alphabets = torch.tensor([names[name] for name in training.alphabets])  # [C]
        self.pretraining = Pretraining(config, self.leo, training, self.batches, teacher)
        if start is not None and config.pretrain_steps:
            self.pretraining.prototypes_from_codes()
        self.view_teaching: ViewTeaching | None = None
        self.steps_of: dict[Stage, int] = {
            "pretrain": config.pretrain_steps,
            "episodes": config.episode_steps,
            "views": config.view_steps,
        }
        self.stage: Stage = "pretrain" if config.pretrain_steps else "episodes"
        self.step = 0
        self.seconds = 0.0
        self.optimizer = self._make_optimizer()
        described = config.model_dump(mode="json") | {"data": fingerprint(training)}
        self.identity = json.dumps(described, sort_keys=True)
        self._resume()

    # -- the run -----------------------------------------------------------------------------

    def run(self) -> Iterator[Progress]:
        """Train to the end and yield after every step. Every `checkpoint_every` steps and each validation save it.

        Raises `model.leo.TrainingDiverged` if 20 steps in a row are not finite.
        """
        while True:
            steps = self.steps_of[self.stage]
            while self.step < steps:
                began = time.perf_counter()
                for group in self.optimizer.param_groups:
                    group["lr"] = group["peak"] * one_cycle(self.step / steps)
                images, watch = self._run_step()
                self.step += 1
                took = time.perf_counter() - began
                self.seconds += took
                progress = Progress(self.stage, self.step, steps, watch.pop("loss"), images / took, None, watch)
                validates = self.step % self.config.validate_every == 0 or self.step == steps
                if validates or self.step % self.config.checkpoint_every == 0:
                    parallel.average_statistics(self.leo)
                    if validates:
                        progress.validation = self._validate()
                    if parallel.is_first():
                        self._save(progress)
                yield progress
            if self.stage == "pretrain":
                self._align_with_phi()
                self._begin("episodes")
            elif self.stage == "episodes" and self.steps_of["views"]:
                self._begin("views")
            else:
                return

    def _run_step(self) -> tuple[int, dict[str, float]]:
        """Run one step of the current stage; return its number of images, and its loss and other figures by name."""
        seed, step = 2 * self.config.seed, self.step
        if self.stage == "pretrain":
            return self.pretraining.run_step(step, step_generator(seed, step), self.optimizer)
        if self.view_teaching is None:
            return self._run_episode_step(step_generator(seed + 1, step))
        return self.view_teaching.run_step(step_generator(seed + 1, self.config.episode_steps + step), self.optimizer)

    def _run_episode_step(self, generator: torch.Generator) -> tuple[int, dict[str, float]]:
        config = self.config
        way, shot, query = random_choice(config.ways, generator), random_choice(config.shots, generator), config.query
        tasks = max(parallel.size(), config.tasks_per_step(way, shot))  # at least one for each process
        symmetries = 2 * ROTATIONS if config.mirrored else ROTATIONS
        counts = self.counts.repeat_interleave(symmetries)
        groups = None
        if config.within_alphabet and float(torch.rand((), generator=generator)) < config.within_alphabet:
            # A rotated or mirrored alphabet counts as an alphabet of its own.
            groups = (self.alphabets.unsqueeze(1) * symmetries + torch.arange(symmetries)).flatten()
            way, shot, query = fit_to_data(counts[groups == groups.bincount().argmax()], way, shot, query)
        way, shot, query = fit_to_data(counts, way, shot, query)
        episodes = sample_episodes(counts, tasks, way, shot, query, generator, groups)
        classes, drawings = parallel.share(episodes.classes), parallel.share(episodes.drawings)
        augmentation = process_generator(generator)
        images = self.batches.augmented_tasks(classes, drawings, symmetries, augmentation, config.elastic)
        support, labels, queries, query_labels = split_support_and_queries(images, shot)
        watch = self.leo.meta_train_step_with_metrics(support, labels, queries, query_labels)
        return drawings.numel(), watch

    def _validate(self) -> float:
        """Measure 5-way 1-shot accuracy on 400 fixed validation tasks; in pretraining, without inner steps.

        In small data sets the tasks have fewer ways and queries.
        """
        leo = self.leo.eval()
        if self.stage == "pretrain":
            self._align_with_phi()
        steps = 0 if self.stage == "pretrain" else None
        features = extract_leo_features(leo, self.validation)
        task = fit_to_data(features.counts, 5, 1, 15)
        return measure_accuracy(leo, features, *task, episodes=400, seed=1, inner_steps=steps).accuracy

    # -- between the stages ------------------------------------------------------------------

    def _copy_weights(self, start: LatentEmbeddingOptimization) -> None:
        try:
            self.leo.classifier.phi.load_state_dict(start.classifier.phi.state_dict())
            self.leo.encoder.to_code.load_state_dict(start.encoder.to_code.state_dict())
        except RuntimeError as error:
            raise ValueError(f"the model to start from has another shape: {error}") from None
        self.leo.decoder.start_as_transpose_of(self.leo.encoder)

    def _align_with_phi(self) -> None:
        """Derive from phi and the encoder's linear map what pretraining does not train.

        The decoder becomes the transpose of the encoder; an encoder with its own blocks gets a copy of phi's.
        """
        if self.leo.encoder.features is not None:
            self.leo.encoder.features.load_state_dict(self.leo.classifier.phi.state_dict())
        self.leo.decoder.start_as_transpose_of(self.leo.encoder)

    def _begin(self, stage: Stage) -> None:
        self.stage, self.step = stage, 0
        self.optimizer = self._make_optimizer()

    def _make_optimizer(self) -> torch.optim.Optimizer:
        """Return the optimizer of the current stage; `run` scales the `peak` of each group by the schedule.

        The stage `views` begins here: phi as it is now becomes its teacher.
        """
        if self.stage == "pretrain":
            optimizer, peak = self.pretraining.make_optimizer(), self.config.pretrain_lr
        elif self.stage == "episodes":
            optimizer, peak = self.leo.optimizer, self.config.leo.outer_lr
        else:
            self.view_teaching = ViewTeaching(self.config, self.leo, self.batches, self.counts)
            optimizer, peak = self.view_teaching.make_optimizer(), self.config.view_lr
        for group in optimizer.param_groups:
            group["peak"] = peak
        return optimizer

    # -- checkpoints -------------------------------------------------------------------------

    def _save(self, progress: Progress) -> None:
        """Write a checkpoint; after a validation, also a line of the log and the model so far."""
        if progress.validation is not None:
            append_to_log(self.folder / "log.csv", progress, self.seconds)
            save_model(self.leo, self.folder / "model", self.folder.name)
        state = {
            "identity": self.identity,
            "stage": self.stage,
            "step": self.step,
            "seconds": self.seconds,
            "skipped": self.leo.skipped_steps,
            "model": self.leo.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.stage == "pretrain":
            state["prototypes"] = self.pretraining.prototypes.detach()
        if self.view_teaching is not None:
            state["teacher"] = self.view_teaching.teacher.state_dict()
        fresh = self.folder / "state.pt.new"
        torch.save(state, fresh)
        fresh.replace(self.folder / "state.pt")

    def _resume(self) -> None:
        """Restore the run in the folder, as it was at its last checkpoint. If there is none, begin it."""
        path = self.folder / "state.pt"
        state: dict[str, Any] = {}
        if path.exists():
            state = torch.load(path, map_location=self.device, weights_only=True)
            if state["identity"] != self.identity:
                raise ValueError(
                    f"{path} belongs to a run with other settings or data; choose another folder or delete this one"
                )
            self.stage, self.step, self.seconds = state["stage"], state["step"], state["seconds"]
            self.leo.load_state_dict(state["model"])
            self.leo.skipped_steps = state["skipped"]
            if self.stage == "pretrain":
                with torch.no_grad():
                    self.pretraining.prototypes.copy_(state["prototypes"])
            self.optimizer = self._make_optimizer()
            self.optimizer.load_state_dict(state["optimizer"])
            if self.view_teaching is not None:
                self.view_teaching.teacher.load_state_dict(state["teacher"])
        if parallel.is_first():
            write_whole(self.folder / "run.json", (self.config.model_dump_json(indent=2) + "\n").encode())
            cut_log(self.folder / "log.csv", self.stage, self.step)
            for half_written in self.folder.rglob(".*.new"):
                half_written.unlink()
