"""The loaded models of the service, which share one device and one queue, and their reload."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.inference.batcher import BATCH_IMAGES
from app.inference.engine import Engine
from app.inference.work import Result, Work
from app.problems import Problem
from app.settings import Settings
from app.store import TaskRecord
from model.backbones import BackboneError
from model.checkpoint import read_info, read_weights
from model.config import LEOConfig
from model.serving.phi import always_free
from model.shipped import model_folder

log = logging.getLogger(__name__)

IN_PROCESS = "process:"  # before a device's name: it has a process of its own, whatever it is
BATCH_SECONDS = 0.05  # the time that a batch of images should take at most
AGAIN = "create the task again"  # the remedy for a task whose model is not loaded


MakeEngine = Callable[[Settings, Path], Engine]


def engine_here(settings: Settings, folder: Path, cores_are_free: Callable[[], bool] = always_free) -> Engine:
    """Load a model to compute in this process."""
    if settings.device.startswith(IN_PROCESS):
        return Engine(folder, settings.device.removeprefix(IN_PROCESS), quantise=_quantise(settings), stacked=True)
    return Engine(folder, settings.device, cores_are_free, _quantise(settings))


def engine_elsewhere(settings: Settings, folder: Path) -> Engine:
    """Load what there is to know of a model that a device process computes."""
    return Engine(folder, None, quantise=_quantise(settings))


def engine_on(device: str, settings: Settings, folder: Path) -> Engine:
    """Load a model into a device process, and make it ready for its first requests."""
    engine = Engine(folder, device, quantise=_quantise(settings), stacked=True)
    engine.warm_up()
    return engine


def _quantise(settings: Settings) -> bool | None:
    return None if settings.phi_precision == "auto" else settings.phi_precision == "int8"


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

    def __init__(
        self, engines: Iterable[Engine], make: MakeEngine = engine_here, left_out: Mapping[str, str] | None = None
    ) -> None:
        """The first engine is the default; a reload makes others by `make`. Raises `ValueError` for equal names."""
        self._make = make
        self.left_out = dict(left_out or {})  # models whose backbone is missing, by name: what to do
        self._loaded = Loaded(_by_name(engines), {}, {})
        self._by_version = self._loaded.by_version

    @classmethod
    def load(cls, settings: Settings, make: MakeEngine = engine_here) -> "Models":
        """Load the models that the settings name.

        Raises `CheckpointError` for a bad folder, `ValueError` if the device does not exist or two models share a name.
        """
        engines, left_out = _load(settings, {}, make)
        return cls(engines, make, left_out)

    def reload(self, settings: Settings) -> list[Engine]:
        """Load the models that have changed on disk, and return them. Raises as `load` does; then nothing changes.

        Tasks of the previous version can still predict until the same model changes again.
        """
        before = self._loaded
        held = {engine.info.version: engine for engine in before.current.values()}
        engines, left_out = _load(settings, held, self._make)
        current = _by_name(engines)
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
        self._loaded, self.left_out = after, left_out
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

    @property
    def image_bytes(self) -> int:
        """Bytes of the largest image that a loaded model takes."""
        return max(math.prod(engine.shape) for engine in self)

    def config_of(self, work: Work) -> LEOConfig:
        """The settings of the model that the work names."""
        return self._by_version.get(work.model_version, self.default).info.config

    def seconds(self, work: Work) -> float:
        """The estimated time of work; see `Engine.seconds`."""
        return (self._by_version.get(work.model_version) or self.default).seconds(work)

    def by_name(self, name: str | None) -> Engine:
        """The model with a name, or the first for `drawings` or `photos`; the default for None.

        Raises `Problem` 422 if there is none.
        """
        engine = self.default if name is None else self._loaded.current.get(name)
        if engine is None and name in ("drawings", "photos"):
            engine = next((each for each in self if each.takes_drawings == (name == "drawings")), None)
        if engine is None:
            names = ", ".join(map(repr, self._loaded.current))
            why = f" ({self.left_out[name]})" if name in self.left_out else ""
            raise Problem(422, f"no model called {str(name)[:100]!r} is loaded{why}; loaded are: {names}")
        return engine

    def for_kind(self, *, drawings: bool) -> Engine:
        """The first model for drawings, or for photos; the default if there is none."""
        return next((engine for engine in self if engine.takes_drawings == drawings), self.default)

    @property
    def take_drawings_and_photos(self) -> bool:
        """Whether models for drawings and for photos are loaded, so that one has to be chosen."""
        return len({engine.takes_drawings for engine in self}) > 1

    def of_version(self, name: str, version: str) -> Engine | None:
        """The model of this name and version, or None if that version is not loaded."""
        loaded = self._loaded
        engine = loaded.current.get(name)
        if engine is not None and engine.info.version == version:  # most tasks
            return engine
        named = (models[name] for models in (loaded.current, loaded.previous) if name in models)
        engines: list[Engine] = [*named, *self]  # a model may have been renamed
        return next((engine for engine in engines if engine.info.version == version), None)

    def for_task(self, record: TaskRecord) -> Engine:
        """The model that a task was made with. Raises `Problem` 409 if that version is not loaded."""
        engine = self.of_version(record.model, record.model_version)
        if engine is None:
            loaded_versions = ", ".join(f"{each.info.name} {each.info.version}" for each in self)
            remedy = "import its export.zip, which makes it anew from its pictures" if record.keep_images else AGAIN
            raise Problem(
                409,
                f"the task was made with {record.model} {record.model_version}, but this service runs "
                f"{loaded_versions}, which cannot read its codes: {remedy}",
            )
        return engine

    def run(self, batch: list[Work]) -> list[Result | Problem]:
        """Run a batch of work, each model's part as one batch; results are in the order of the work."""
        parts = self._by_engine(batch)
        if len(parts) == 1 and (only := parts[0][0]):
            return [*only.run(batch)]
        return _in_order(
            (positions, engine.run([batch[at] for at in positions]) if engine else _unloaded(batch[positions[0]]))
            for engine, positions in parts
        )

    def begin(self, batch: list[Work]) -> Callable[[], list[Result | Problem]]:
        """Start a batch as `run` would do it, and return a function that waits for its results."""
        started = [
            (positions, engine.begin([batch[at] for at in positions]) if engine else None)
            for engine, positions in self._by_engine(batch)
        ]
        return lambda: _in_order(
            (positions, results() if results else _unloaded(batch[positions[0]])) for positions, results in started
        )

    def knows(self, work: Work) -> bool:
        """Whether the model that the work names is loaded."""
        return not work.model_version or work.model_version in self._by_version

    def _by_engine(self, batch: list[Work]) -> list[tuple[Engine | None, list[int]]]:
        """Each engine, None for a version that is not loaded, with the positions of its work in the batch."""
        by_version = self._by_version
        default = self.default.info.version
        parts: dict[str, list[int]] = {}
        for position, work in enumerate(batch):
            parts.setdefault(work.model_version or default, []).append(position)
        return [(by_version.get(version), positions) for version, positions in parts.items()]


def _unloaded(work: Work) -> Problem:
    return Problem(409, f"model version {work.model_version} was unloaded while this request waited; send it again")


def _in_order(parts: Iterable[tuple[list[int], Sequence[Result] | Problem]]) -> list[Result | Problem]:
    """Results of parts of a batch, or one problem for a whole part, by their positions in the batch."""
    results: dict[int, Result | Problem] = {}
    for positions, found in parts:
        results.update(
            dict.fromkeys(positions, found) if isinstance(found, Problem) else zip(positions, found, strict=True)
        )
    return [results[position] for position in range(len(results))]


def _by_name(engines: Iterable[Engine]) -> dict[str, Engine]:
    several = list(engines)
    named = {engine.info.name: engine for engine in several}
    if len(named) < len(several):
        raise ValueError(
            f"two models of the same name in {', '.join(engine.info.name for engine in several)}: "
            "tasks name their model, so each needs its own"
        )
    return named


def _load(settings: Settings, held: dict[str, Engine], make: MakeEngine) -> tuple[list[Engine], dict[str, str]]:
    """An engine for each folder that the settings name; those of `held`, by version, are not loaded again.

    Models whose backbone is missing are left out, if there is another one: what to do about it, by name.
    """
    engines: list[Engine] = []
    left_out: dict[str, str] = {}
    for folder in _folders(settings):
        name = folder.name
        try:
            info = read_info(folder)
            name = info.name
            known = held.get(info.version)
            if known:
                read_weights(folder, info)  # to notice a damaged file now instead of at the next start
            engines.append(known or make(settings, folder))
        except BackboneError as error:
            if not engines:
                raise
            log.warning("%s is left out: %s", folder.name, error)  # the other models can be served
            left_out[name] = str(error)
    return engines, left_out


def _folders(settings: Settings) -> list[Path]:
    named = [name.strip() for name in settings.models.split(",") if name.strip()]
    return list(dict.fromkeys([settings.weights, *map(model_folder, named)]))
