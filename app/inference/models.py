"""The loaded models of the service, which share one device and one queue, and their reload."""

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

BATCH_SECONDS = 0.05  # the time that a batch of images should take at most


@dataclass(frozen=True)
class Loaded:
    """The engines loaded at one moment. A reload replaces it as a whole, so that no thread sees half of a reload."""

    current: dict[str, Engine]  # by name; the first is the default
    previous: dict[str, Engine]  # by name: the version before the last reload, whose tasks can still predict
    retired: dict[str, tuple[Engine, float]]  # by version, with the time of replacement: queued work may need them

    @property
    def by_version(self) -> dict[str, Engine]:
        """All engines by their model's version."""
        retired = {version: engine for version, (engine, _) in self.retired.items()}
        return retired | {each.info.version: each for each in (*self.previous.values(), *self.current.values())}


class Models:
    """The loaded engines by model name. After a reload the previous version keeps serving its tasks."""

    def __init__(self, engines: Iterable[Engine], cores_are_free: Callable[[], bool] = always_free) -> None:
        """The first engine is the default. Raises `ValueError` if two models have the same name."""
        self._cores_are_free = cores_are_free
        self._loaded = Loaded(_by_name(engines), {}, {})
        self._by_version = self._loaded.by_version

    @classmethod
    def load(cls, settings: Settings, cores_are_free: Callable[[], bool] = always_free) -> "Models":
        """Load the models that the settings name.

        Raises `CheckpointError` for a bad folder, `ValueError` if the device does not exist or two models share a name.
        """
        return cls(_load(settings, {}, cores_are_free), cores_are_free)

    def reload(self, settings: Settings) -> list[Engine]:
        """Load the models that have changed on disk, and return them. Raises as `load` does; then nothing changes.

        Tasks of the previous version can still predict until the same model changes again.
        """
        before = self._loaded
        held = {engine.info.version: engine for engine in before.current.values()}
        current = _by_name(_load(settings, held, self._cores_are_free))
        replaced = {name: engine for name, engine in before.current.items() if current.get(name) is not engine}
        now = time.monotonic()
        # Queued work names its version, and waits at most this long.
        retired = {
            version: (engine, since)
            for version, (engine, since) in before.retired.items()
            if now - since < settings.request_timeout + settings.device_deadline
        }
        outdated = [before.previous[name] for name in replaced.keys() & before.previous.keys()]
        retired |= {engine.info.version: (engine, now) for engine in outdated}
        after = Loaded(current, before.previous | replaced, retired)
        self._by_version = after.by_version  # first, so that no task gets a version that `run` does not know
        self._loaded = after
        return [engine for engine in current.values() if engine not in before.current.values()]

    def __iter__(self) -> Iterator[Engine]:
        return iter(self._loaded.current.values())

    @property
    def default(self) -> Engine:
        """The model of `LEO_WEIGHTS`."""
        return next(iter(self))

    @property
    def batch_images(self) -> int:
        """The number of images that the slowest model computes in `BATCH_SECONDS`, at most `BATCH_IMAGES`."""
        times = [engine.seconds_an_image for engine in self]
        return min([BATCH_IMAGES, *(max(1, int(BATCH_SECONDS / seconds)) for seconds in times if seconds)])

    def seconds(self, work: Work) -> float:
        """The estimated time of work; see `Engine.seconds`."""
        return self._by_version.get(work.model_version, self.default).seconds(work)

    def by_name(self, name: str | None) -> Engine:
        """The model with a name; the default for None. Raises `Problem` 422 if there is none with that name."""
        engine = self.default if name is None else self._loaded.current.get(name)
        if engine is None:
            names = ", ".join(map(repr, self._loaded.current))
            raise Problem(422, f"no model called {name!r} is loaded; loaded are: {names}")
        return engine

    def for_kind(self, *, drawings: bool) -> Engine:
        """The first model for drawings, or for photos; the default if there is none."""
        return next((engine for engine in self if engine.takes_drawings == drawings), self.default)

    @property
    def take_drawings_and_photos(self) -> bool:
        """Whether models for drawings and for photos are loaded, so that one has to be chosen."""
        return len({engine.takes_drawings for engine in self}) > 1

    def for_task(self, record: TaskRecord) -> Engine:
        """The model that a task was made with. Raises `Problem` 409 if that version is not loaded."""
        loaded = self._loaded
        for engine in (loaded.current.get(record.model), loaded.previous.get(record.model)):
            if engine is not None and engine.info.version == record.model_version:
                return engine
        loaded_versions = ", ".join(f"{each.info.name} {each.info.version}" for each in self)
        raise Problem(
            409,
            f"the task was made with {record.model} {record.model_version}, but this service runs {loaded_versions}, "
            "which cannot read its codes: create the task again",
        )

    def run(self, batch: list[Work]) -> list[Result | Problem]:
        """Run a batch of work, each model's part as one batch; results are in the order of the work."""
        by_version = self._by_version
        default = self.default.info.version
        parts: dict[str, list[int]] = {}  # positions in the batch, by version
        for position, work in enumerate(batch):
            parts.setdefault(work.model_version or default, []).append(position)
        if len(parts) == 1 and (only := by_version.get(next(iter(parts)))):
            return [*only.run(batch)]
        results: dict[int, Result | Problem] = {}
        for version, positions in parts.items():
            engine = by_version.get(version)
            if engine is None:
                unloaded = Problem(
                    409, f"model version {version} was unloaded while this request waited; send it again"
                )
                results.update(dict.fromkeys(positions, unloaded))
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
    """An engine for each folder that the settings name; those of `held`, by version, are not loaded again."""
    engines: list[Engine] = []
    for folder in _folders(settings):
        try:
            info = read_info(folder)
            known = held.get(info.version)
            if known:
                read_weights(folder, info)  # to notice a damaged file now instead of at the next start
            quantise = None if settings.phi_precision == "auto" else settings.phi_precision == "int8"
            engines.append(known or Engine(folder, settings.device, cores_are_free, quantise))
        except BackboneError as error:
            if not engines:
                raise
            log.warning("%s is left out: %s", folder.name, error)  # the other models can be served
    return engines


def _folders(settings: Settings) -> list[Path]:
    named = [name.strip() for name in settings.models.split(",") if name.strip()]
    return list(dict.fromkeys([settings.weights, *(_folder(name) for name in named)]))


def _folder(name: str) -> Path:
    """The folder of a shipped model with this name, else the name as a path."""
    shipped = PROJECT / "weights" / name
    return shipped if shipped.is_dir() else Path(name)
