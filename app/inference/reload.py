"""New weights without stopping: on SIGHUP the models' folders are read again."""

import asyncio
import contextlib
import logging
import signal

from app.inference.models import Models
from app.inference.readiness import Readiness
from app.observability import metrics
from app.settings import Settings

log = logging.getLogger(__name__)

_published: set[tuple[str, str]] = set()  # names and versions


class Reload:
    """Listens for the signal; a reload that fails leaves everything as it was, and says why in the log."""

    def __init__(self, settings: Settings, models: Models, readiness: Readiness) -> None:
        self._settings, self._models, self._readiness = settings, models, readiness
        self._one = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()

    def listen(self) -> None:
        """Where there is such a signal and this thread may have it: a service in another's thread is not reloaded."""
        with contextlib.suppress(AttributeError, NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._begin)

    def _begin(self) -> None:
        task = asyncio.create_task(self.reload())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def reload(self) -> None:
        """Load what has changed, beside what serves meanwhile."""
        async with self._one:
            try:
                changed = await asyncio.to_thread(self._models.reload, self._settings)
            except Exception as error:
                log.error("the models stay as they are: %s", error)
                return
            self._readiness.shape = self._models.default.shape
            publish(self._models)
            said = ", ".join(f"{engine.info.name} {engine.info.version}" for engine in changed)
            log.info("reloaded: %s", said or "no model has changed")


def publish(models: Models) -> None:
    """Which models serve, as a metric."""
    now = {(engine.info.name, engine.info.version) for engine in models}
    _published.update(now)  # not cleared: what other workers read of this one has no way to forget
    for labels in _published:
        metrics.model_info.labels(*labels).set(labels in now)
