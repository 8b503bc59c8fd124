"""Assembly: settings -> models, batcher, store -> tasks -> routes and middleware."""

import asyncio
import contextlib
import logging
import math
import os
import time
from collections.abc import AsyncIterator
from functools import partial

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline

from app import __version__, problems
from app.http.bodies import AddExamples, CreateTask, Feedback, LabelledImages, PredictImages, RelabelExample
from app.http.door import Door
from app.http.fetching import Fetcher
from app.http.keys import Keys
from app.http.middleware.admission import Admission
from app.http.middleware.body import Bodies
from app.http.middleware.failures import Failures
from app.http.middleware.head import HeadAsGet
from app.http.middleware.headers import SecurityHeaders
from app.http.middleware.keys import KeyCheck
from app.http.middleware.log import RequestLog
from app.http.middleware.other_pages import OtherPages, OwnNames
from app.http.middleware.pacing import Pacing
from app.http.middleware.path_prefix import AddRootPath, StripPathPrefix
from app.http.openapi import TAGS, complete_openapi
from app.http.rates import Rates
from app.http.routes import asking, examples, files, negatives, page, service
from app.http.routes import tasks as task_routes
from app.http.routes.deps import ANONYMOUS, Context
from app.http.schemas import ProblemDocument
from app.http.turns import Turns
from app.inference.batcher import INLINE_SECONDS, INLINE_SECONDS_BESIDE_WORKERS, Batcher
from app.inference.models import Models, engine_elsewhere, engine_here
from app.inference.readiness import Readiness
from app.inference.reload import Reload, publish
from app.inference.remote.board import Board
from app.inference.remote.device_queue import DeviceQueue
from app.inference.remote.slots import LEAST_SLOTS_BYTES
from app.inference.timed_batches import timed_batches
from app.inference.warm_up import warm_up
from app.inference.watchdog import Watchdog
from app.inference.work import WorkQueue
from app.observability import metrics
from app.observability.scrapes import Scrapes
from app.problems import Problem
from app.settings import Settings
from app.shared_state import SharedState
from app.store import TaskStore
from app.store.errors import RecordOfOtherVersion, StoreLost, StoreUnavailable, UnreadableRecord
from app.store.redis import RedisStore
from app.store.sqlite import SQLiteStore
from app.tasks.options import UpdateTask
from app.tasks.service import Tasks

log = logging.getLogger(__name__)

DESCRIPTION = """
Send a few labelled drawings to `POST /tasks`, get a classifier back within milliseconds,
and send everything else to `POST /tasks/{task_id}/predict`.
"""


def create_app(
    settings: Settings | None = None, shared_state: SharedState | None = None, board: Board | None = None
) -> FastAPI:
    """The service with its models loaded; it opens its store when it starts. Workers have one `shared_state`.

    With a `board` device processes compute; without one this process does.

    Raises `CheckpointError`, `KeyFileError` or `ValueError` (no such device or host name), and on starting
    `StoreUnavailable`, each saying why.
    """
    settings, shared_state = settings or Settings(), shared_state or SharedState()
    # FastAPI's own /docs loads its scripts from elsewhere; this one brings them along.
    app = FastAPIOffline(
        title="LEO",
        description=DESCRIPTION,
        version=__version__,
        openapi_tags=TAGS,
        generate_unique_id_function=lambda route: route.name,  # so generated clients have methods with short names
        lifespan=_lifespan,
        # Spans go where OTEL_EXPORTER_OTLP_ENDPOINT says. No logs: they would hold what callers sent.
        telemetry={"auto_configure": True, "operation_spans": False, "metrics": False, "logs": False},
    )
    app.state.settings, app.state.shared_state = settings, shared_state
    app.state.board = board
    app.state.fetcher = Fetcher(settings)
    here = partial(engine_here, cores_are_free=shared_state.is_idle)
    app.state.models = Models.load(settings, engine_elsewhere if board else here)
    rates = Rates(shared_state.rate_owners, shared_state.rate_states)
    app.state.keys = Keys(settings.keys_file, rates) if settings.keys_file else None
    turns = Turns(settings.queue_requests, settings.request_timeout, shared_state)
    app.state.door = Door(turns, app.state.keys)
    # The middleware added last is the first that a request passes.
    prefix = settings.root_path.rstrip("/")
    if prefix:
        app.add_middleware(AddRootPath, prefix=prefix)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Admission, bodies=Bodies(settings.max_body_bytes, settings.queue_bytes), turns=turns)
    if app.state.keys:
        app.add_middleware(KeyCheck, keys=app.state.keys)
    else:
        app.add_middleware(OtherPages, own=OwnNames(settings.host, settings.allowed_hosts))
    app.add_middleware(Failures)
    app.add_middleware(SecurityHeaders)
    if prefix:
        app.add_middleware(StripPathPrefix, prefix=prefix)
    app.add_middleware(Pacing)
    app.add_middleware(RequestLog)
    problems.install(app)
    # Most requests are predictions, and routes are tried one after the other.
    app.router.routes.insert(0, asking.PREDICT)
    for each in (asking, task_routes, files, examples, negatives):
        app.include_router(each.router)
    app.include_router(service.router)
    page.install(app, app.state.models, app.state.keys, settings.max_images)
    own = {getattr(route, "path", "").strip("/").partition("/")[0] for route in app.routes} - {""}
    if prefix.strip("/").partition("/")[0] in own:  # nothing would tell whether the gateway has stripped it
        raise ValueError(f"LEO_ROOT_PATH={prefix} begins as paths of the service itself do; choose another, as /leo")

    report_store_at = -math.inf

    @app.exception_handler(StoreUnavailable)
    async def store_unavailable(_: Request, error: StoreUnavailable) -> JSONResponse:
        nonlocal report_store_at
        if time.monotonic() >= report_store_at:  # a second: every request may fail, and each has a line of its own
            report_store_at = time.monotonic() + 1
            log.error("the task store failed a request: %s", error)
        if isinstance(error, StoreLost):
            return Problem(503, str(error), retry_after=60).response()
        return Problem(503, f"{error}; nothing acknowledged is lost, try again", retry_after=1).response()

    @app.exception_handler(UnreadableRecord)
    async def unreadable_record(_: Request, error: UnreadableRecord) -> JSONResponse:
        log.error("%s", error)
        return Problem(409 if isinstance(error, RecordOfOtherVersion) else 500, str(error)).response()

    bodies = (CreateTask, AddExamples, LabelledImages, PredictImages, UpdateTask, RelabelExample, Feedback)
    complete_openapi(app, *bodies, ProblemDocument)
    return app


async def open_store(settings: Settings, shared_state: SharedState) -> TaskStore:
    """The task store that the settings name, the same file for all workers. Raises `StoreUnavailable`."""
    if settings.store_url:
        return await RedisStore.open(settings.store_url)
    return await SQLiteStore.open(
        settings.data_dir / "tasks.sqlite3", shared_state.store_files, is_open_elsewhere=shared_state.others_are_ready
    )


async def _metrics(tasks: Tasks, keys: Keys | None) -> bytes:
    """A page of metrics, with the number of all owners' tasks in it."""
    metrics.tasks_alive.set(await tasks.count(keys.owners if keys else {ANONYMOUS}))
    return metrics.page()


def _queue(settings: Settings, models: Models, shared_state: SharedState, board: Board | None) -> WorkQueue:
    """The queue before the device processes, or before the device of this process."""
    if board is not None:
        return DeviceQueue(
            board,
            models.config_of,
            max_images=settings.queue_images,
            timeout=settings.request_timeout,
            slots_bytes=max(LEAST_SLOTS_BYTES, 2 * settings.max_images * models.image_bytes),
        )
    return Batcher(
        shared_state.while_computing(timed_batches(models.run)),
        max_images=settings.queue_images,
        timeout=settings.request_timeout,
        batch_images=lambda: models.batch_images,
        seconds=models.seconds,
        inline_seconds=INLINE_SECONDS if shared_state.workers == 1 else INLINE_SECONDS_BESIDE_WORKERS,
    )


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    models: Models = app.state.models
    shared_state: SharedState = app.state.shared_state
    store = await open_store(settings, shared_state)
    queue = _queue(settings, models, shared_state, app.state.board)
    queue.start()
    if isinstance(queue, DeviceQueue):
        await queue.wait_until_ready()
    readiness = Readiness(queue, lambda: models.default.version_and_shape, settings.device_deadline, _exit_soon)
    await warm_up(models, queue)
    await readiness.test()
    app.state.readiness = readiness
    tasks = Tasks(settings, models, queue, store, shared_state)
    scrapes = Scrapes(partial(_metrics, tasks, app.state.keys))
    app.state.context = Context(tasks, models, readiness, settings, shared_state, scrapes)
    metrics.register_gauge(metrics.queue_images, lambda: queue.waiting_images)
    metrics.register_gauge(metrics.workers_ready, lambda: shared_state.ready_workers)
    publish(models)
    Reload(settings, models).listen()
    watchdog = Watchdog(settings.device_deadline)
    watchdog.start()

    def beat() -> None:
        watchdog.beat()
        shared_state.beat()
        metrics.update_gauges()

    watching = asyncio.create_task(readiness.watch(beat))
    try:
        yield
    finally:
        watchdog.stop()
        watching.cancel()
        await asyncio.to_thread(queue.close, settings.stop_seconds)
        tasks.close()
        app.state.fetcher.close()
        await store.close()


def _exit_soon(_: str) -> None:
    """End the process with status 1, once those who wait have had their answers.

    Not by an exception, which would wait for the thread that hangs.
    """
    asyncio.get_running_loop().call_later(0.5, os._exit, 1)
