"""The models that one service runs, on one device, behind one queue."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from app.inference.batcher import BATCH_IMAGES
from app.inference.engine import Engine
from app.inference.work import Result, Work
from app.problems import Problem
from app.settings import PROJECT, Settings
from app.store import TaskRecord
from model.backbones import BackboneError
from model.checkpoint import read_info
from model.serving.phi import always_free

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.05


class Models:
    """Engines by their model's name; the first is the default. Behind each, after a reload, the version before."""

    def __init__(self, engines: list[Engine], cores_are_free: Callable[[], bool] = always_free) -> None:
        """Raises `ValueError` where two models have one name."""
        self._cores_are_free = cores_are_free
        self._engines = {engine.info.name: engine for engine in engines}
        if len(self._engines) < len(engines):
            raise ValueError(
                f"two models of the same name in {', '.join(engine.info.name for engine in engines)}: "
                "tasks name their model, so each needs its own"
            )
        self.default = engines[0]
        self._earlier: dict[str, Engine] = {}
        self._by_version = {engine.info.version: engine for engine in engines}

    @classmethod
    def load(cls, settings: Settings, cores_are_free: Callable[[], bool] = always_free) -> "Models":
        """Those the settings name. Raises `CheckpointError`, or `ValueError` for a device that is not there."""
        return cls(_engines(settings, {}, cores_are_free), cores_are_free)

    def reload(self, settings: Settings) -> list[Engine]:
        """Load again what has changed in the folders, and return it. Raises as `load` does; then all is as before.

        Tasks of the version before keep predicting, until the next change of the same model or the process's end.
        """
        engines = _engines(settings, {engine.info.version: engine for engine in self}, self._cores_are_free)
        fresh = Models(engines)
        gone = {name: engine for name, engine in self._engines.items() if engine not in engines}
        changed = [engine for engine in engines if engine not in self]
        # Whole dictionaries, so that the device's thread sees the old one or the new one.
        self._earlier = self._earlier | gone
        self._engines, self.default = fresh._engines, fresh.default
        self._by_version = {each.info.version: each for each in (*self._earlier.values(), *self._engines.values())}
        return changed

    def __iter__(self) -> Iterator[Engine]:
        return iter(self._engines.values())

    @property
    def batch_images(self) -> int:
        """Images that the slowest model does in `BATCH_SECONDS`; all that fit the device where it was not timed."""
        timed = [engine.seconds_an_image for engine in self]
        return min([BATCH_IMAGES, *(max(1, int(BATCH_SECONDS / seconds)) for seconds in timed if seconds)])

    def seconds(self, work: Work) -> float:
        """About how long a piece of work takes; see `Engine.seconds`."""
        return self._by_version.get(work.model_version, self.default).seconds(work)

    def by_name(self, name: str | None) -> Engine:
        """A loaded model; the default for None. Raises `Problem` 422."""
        engine = self.default if name is None else self._engines.get(name)
        if engine is None:
            raise Problem(422, f"no model called {name!r} is loaded; there is {', '.join(map(repr, self._engines))}")
        return engine

    def for_kind(self, *, drawings: bool) -> Engine:
        """For drawings or for photos: the first that is loaded, or the default where none is."""
        return next((engine for engine in self if engine.takes_drawings == drawings), self.default)

    @property
    def take_drawings_and_photos(self) -> bool:
        """Whether there are models for drawings and for photos, so that somebody has to choose."""
        return len({engine.takes_drawings for engine in self}) > 1

    def for_task(self, record: TaskRecord) -> Engine:
        """The model that can decode a task. Raises `Problem` 409, naming both versions."""
        for engine in (self._engines.get(record.model), self._earlier.get(record.model)):
            if engine is not None and engine.info.version == record.model_version:
                return engine
        running = ", ".join(f"{each.info.name} {each.info.version}" for each in self)
        raise Problem(
            409,
            f"the task was made with {record.model} {record.model_version}, this service runs "
            f"{running}: its codes mean nothing there. Create the task again",
        )

    def run(self, batch: list[Work]) -> list[Result]:
        """A batch of work for any of the models: each does its part in one go."""
        if len(self._engines) == 1 and not self._earlier:
            return self.default.run(batch)
        parts: dict[str, list[int]] = {}
        for position, work in enumerate(batch):
            parts.setdefault(work.model_version or self.default.info.version, []).append(position)
        results: dict[int, Result] = {}
        for version, positions in parts.items():
            done = self._by_version[version].run([batch[position] for position in positions])
            results.update(zip(positions, done, strict=True))
        return [results[position] for position in range(len(batch))]


def _engines(settings: Settings, held: dict[str, Engine], cores_are_free: Callable[[], bool]) -> list[Engine]:
    """One for each folder that the settings name; those whose version is held already are not loaded again."""
    engines: list[Engine] = []
    for folder in _folders(settings):
        try:
            known = held.get(read_info(folder).version)
            engines.append(known or Engine(folder, settings.device, cores_are_free))
        except BackboneError as error:
            if not engines:
                raise
            log.warning("%s is left out: %s", folder.name, error)  # the others need not wait for it
    return engines


def _folders(settings: Settings) -> list[Path]:
    named = [name.strip() for name in settings.models.split(",") if name.strip()]
    return list(dict.fromkeys([settings.weights, *(_folder(name) for name in named)]))


def _folder(name: str) -> Path:
    """A folder beside the shipped models, or any path."""
    shipped = PROJECT / "weights" / name
    return shipped if shipped.is_dir() else Path(name)
