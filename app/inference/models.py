"""The models that one service runs, on one device, behind one queue."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from app.inference.batcher import BATCH_IMAGES
from app.inference.engine import Engine
from app.inference.work import Result, Work
from app.problems import Problem
from app.settings import PROJECT, Settings
from app.store import TaskRecord
from model.backbones import BackboneError
from model.checkpoint import read_info, read_weights
from model.serving.phi import always_free

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.05  # the longest that a batch of images should take


@dataclass(frozen=True)
class Loaded:
    """What is loaded at one moment. It is replaced whole, so that no thread ever sees half of a reload."""

    current: dict[str, Engine]  # by name; the first is the default
    previous: dict[str, Engine]  # by name: the version before, whose tasks still predict
    retired: dict[str, tuple[Engine, float]]  # by version, and when it was replaced: work under way may need it

    @property
    def by_version(self) -> dict[str, Engine]:
        retired = {version: engine for version, (engine, _) in self.retired.items()}
        return retired | {each.info.version: each for each in (*self.previous.values(), *self.current.values())}


class Models:
    """Engines by their model's name. After a reload the version before serves its tasks on."""

    def __init__(self, engines: Iterable[Engine], cores_are_free: Callable[[], bool] = always_free) -> None:
        """Raises `ValueError` where two models have one name."""
        self._cores_are_free = cores_are_free
        self._loaded = Loaded(_by_name(engines), {}, {})
        self._by_version = self._loaded.by_version

    @classmethod
    def load(cls, settings: Settings, cores_are_free: Callable[[], bool] = always_free) -> "Models":
        """Load the folders that the settings name. Raises `CheckpointError`, or `ValueError` for a device that is
        not there.
        """
        return cls(_load(settings, {}, cores_are_free), cores_are_free)

    def reload(self, settings: Settings) -> list[Engine]:
        """Load again what has changed in the folders, and return it. Raises as `load` does; then nothing changes.

        Tasks of the version before keep predicting until the next change of the same model.
        """
        before = self._loaded
        held = {engine.info.version: engine for engine in before.current.values()}
        current = _by_name(_load(settings, held, self._cores_are_free))
        replaced = {name: engine for name, engine in before.current.items() if current.get(name) is not engine}
        now = time.monotonic()
        # Work that waits names its version and waits no longer than this.
        retired = {
            version: (engine, since)
            for version, (engine, since) in before.retired.items()
            if now - since < settings.request_timeout + settings.device_deadline
        }
        overtaken = [before.previous[name] for name in replaced.keys() & before.previous.keys()]
        retired |= {engine.info.version: (engine, now) for engine in overtaken}
        after = Loaded(current, before.previous | replaced, retired)
        self._by_version = after.by_version  # first, so that no task is given a version that cannot be run
        self._loaded = after
        return [engine for engine in current.values() if engine not in before.current.values()]

    def __iter__(self) -> Iterator[Engine]:
        return iter(self._loaded.current.values())

    @property
    def default(self) -> Engine:
        return next(iter(self))

    @property
    def batch_images(self) -> int:
        """Images that the slowest model does in `BATCH_SECONDS`, at most `BATCH_IMAGES`."""
        timed = [engine.seconds_an_image for engine in self]
        return min([BATCH_IMAGES, *(max(1, int(BATCH_SECONDS / seconds)) for seconds in timed if seconds)])

    def seconds(self, work: Work) -> float:
        """About how long work takes; see `Engine.seconds`."""
        return self._by_version.get(work.model_version, self.default).seconds(work)

    def by_name(self, name: str | None) -> Engine:
        """A loaded model; the default for None. Raises `Problem` 422."""
        engine = self.default if name is None else self._loaded.current.get(name)
        if engine is None:
            there = ", ".join(map(repr, self._loaded.current))
            raise Problem(422, f"no model called {name!r} is loaded; there is {there}")
        return engine

    def for_kind(self, *, drawings: bool) -> Engine:
        """The first model for drawings, or for photos; the default where there is none."""
        return next((engine for engine in self if engine.takes_drawings == drawings), self.default)

    @property
    def take_drawings_and_photos(self) -> bool:
        """Whether there are models for both, so that somebody has to choose."""
        return len({engine.takes_drawings for engine in self}) > 1

    def for_task(self, record: TaskRecord) -> Engine:
        """The model that can decode a task. Raises `Problem` 409, naming both versions."""
        loaded = self._loaded
        for engine in (loaded.current.get(record.model), loaded.previous.get(record.model)):
            if engine is not None and engine.info.version == record.model_version:
                return engine
        running = ", ".join(f"{each.info.name} {each.info.version}" for each in self)
        raise Problem(
            409,
            f"the task was made with {record.model} {record.model_version}, but this service runs {running}, "
            "which cannot read its codes: create the task again",
        )

    def run(self, batch: list[Work]) -> list[Result | Problem]:
        """Run a batch of work for any of the models, each model's part in one pass."""
        by_version = self._by_version
        parts: dict[str, list[int]] = {}  # by version: positions in the batch
        for position, work in enumerate(batch):
            parts.setdefault(work.model_version or self.default.info.version, []).append(position)
        results: dict[int, Result | Problem] = {}
        for version, positions in parts.items():
            engine = by_version.get(version)
            if engine is None:
                gone = Problem(409, f"model version {version} was unloaded while this request waited; send it again")
                results.update(dict.fromkeys(positions, gone))
                continue
            results.update(zip(positions, engine.run([batch[position] for position in positions]), strict=True))
        return [results[position] for position in range(len(batch))]


def _by_name(engines: Iterable[Engine]) -> dict[str, Engine]:
    several = list(engines)
    named = {engine.info.name: engine for engine in several}
    if len(named) < len(several):
        raise ValueError(
            f"two models of the same name in {', '.join(engine.info.name for engine in several)}: "
            "tasks name their model, so each needs its own"
        )
    return named


def _load(settings: Settings, held: dict[str, Engine], cores_are_free: Callable[[], bool]) -> list[Engine]:
    """An engine for each folder that the settings name; a version that is `held` already is not loaded again."""
    engines: list[Engine] = []
    for folder in _folders(settings):
        try:
            info = read_info(folder)
            known = held.get(info.version)
            if known:
                read_weights(folder, info)  # or a damaged file would go unnoticed until the next start
            quantise = None if settings.phi_precision == "auto" else settings.phi_precision == "int8"
            engines.append(known or Engine(folder, settings.device, cores_are_free, quantise))
        except BackboneError as error:
            if not engines:
                raise
            log.warning("%s is left out: %s", folder.name, error)  # the other models serve without it
    return engines


def _folders(settings: Settings) -> list[Path]:
    named = [name.strip() for name in settings.models.split(",") if name.strip()]
    return list(dict.fromkeys([settings.weights, *(_folder(name) for name in named)]))


def _folder(name: str) -> Path:
    """A folder beside the shipped models, or any path."""
    shipped = PROJECT / "weights" / name
    return shipped if shipped.is_dir() else Path(name)
