"""New weights without stopping: on SIGHUP the models' folders are read again."""

import asyncio
import contextlib
import logging
import signal

from app.inference.models import Models
from app.observability import metrics
from app.settings import Settings

log = logging.getLogger(__name__)

_published: set[tuple[str, str]] = set()  # names and versions that the metric has named


class Reload:
    """Reloads on the signal. A reload that fails leaves everything as it was, and logs why."""

    def __init__(self, settings: Settings, models: Models) -> None:
        self._settings, self._models = settings, models
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()

    def listen(self) -> None:
        """Listen where there is such a signal, and only in the main thread: elsewhere there is no reload."""
        with contextlib.suppress(AttributeError, NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._begin)

    def _begin(self) -> None:
        task = asyncio.create_task(self.reload())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def reload(self) -> None:
        """Load what has changed, beside what serves meanwhile; one reload at a time."""
        async with self._lock:
            try:
                changed = await asyncio.to_thread(self._models.reload, self._settings)
            except Exception as error:
                log.error("the models stay as they are: %s", error)
                return
            publish(self._models)
            loaded = ", ".join(f"{engine.info.name} {engine.info.version}" for engine in changed)
            log.info("reloaded: %s", loaded or "no model has changed")


def publish(models: Models) -> None:
    """Set the metric that says which models serve."""
    now = {(engine.info.name, engine.info.version) for engine in models}
    _published.update(now)  # old ones are set to 0: nothing can remove what other workers read of this one
    for labels in _published:
        metrics.model_info.labels(*labels).set(labels in now)
