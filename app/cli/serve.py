"""`leo serve`."""

import asyncio
import gc
import importlib.util
import ipaddress
import logging
import math
import os
import sys
import tempfile
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.common import app, fail

if TYPE_CHECKING:
    import socket

    from fastapi import FastAPI

    from app.settings import Settings
    from app.shared_state import SharedState


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="LEO_HOST or 127.0.0.1")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.", show_default="LEO_PORT or 8000")] = None,
) -> None:
    """Serve a model over HTTP.

    Settings come from the environment: LEO_HOST, LEO_PORT, LEO_DATA_DIR, LEO_WEIGHTS, LEO_DEVICE
    and more; the README lists them. A flag wins over its variable.
    """
    from pydantic import ValidationError

    from app.problems import describe_validation_errors
    from app.settings import Settings
    from app.shared_state import SharedState, worker_count
    from model.allocator import keep_freed_memory

    keep_freed_memory()
    # The device's thread needs the interpreter for moments between long calls; it shall not wait 5 ms for each.
    sys.setswitchinterval(0.0005)
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") and importlib.util.find_spec("opentelemetry.exporter") is None:
        fail("OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, which need: pip install 'leo-service[traces]'")
    given = {key: value for key, value in {"host": host, "port": port}.items() if value is not None}
    try:
        settings = Settings(**given)  # type: ignore[arg-type]
        workers = worker_count(settings)
    except ValidationError as error:
        fail(f"a setting (LEO_...) is wrong: {describe_validation_errors(error.errors())}")
    except ValueError as error:
        fail(error)
    if workers > 1:
        with tempfile.TemporaryDirectory(prefix="leo-metrics-") as folder:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # before anything counts
            try:
                raise typer.Exit(_serve_together(settings, workers))
            finally:
                del os.environ["PROMETHEUS_MULTIPROC_DIR"]
    _configure_logs(settings)
    service = _loaded(settings, SharedState())
    (sockets,) = _listening(settings)
    _settle()
    _run(settings, service, sockets)


def _serve_together(settings: "Settings", workers: int) -> int:
    """Several processes; the exit status of them all."""
    from app import main  # noqa: F401 - once for all of them
    from app.process.workers import Workers
    from app.shared_state import SharedState

    _configure_logs(settings)
    shared_state, sockets = SharedState(workers), _listening(settings, workers)

    def work(number: int, is_ready: Callable[[], None]) -> None:
        for each in chain(*sockets[:number], *sockets[number + 1 :]):
            each.close()
        try:
            service = _loaded(settings, shared_state)
        except typer.Exit as end:
            sys.exit(end.exit_code)
        _settle()
        _run(settings, service, sockets[number], is_ready)

    _settle()
    return Workers(shared_state, work, list(chain(*sockets)), settings.drain_seconds + settings.stop_seconds).run()


def _configure_logs(settings: "Settings") -> None:
    from app.observability import logs  # which counts, and so comes after the decision where

    logs.configure(settings.log_format)


def _loaded(settings: "Settings", shared_state: "SharedState") -> "FastAPI":
    """The service with its models; or one line that says why that cannot be."""
    from app.main import create_app

    try:
        return create_app(settings, shared_state)
    except ValueError as error:
        fail(error)


def _listening(settings: "Settings", workers: int = 1) -> "list[list[socket.socket]]":
    """Sockets for each worker, once there is a store to serve from."""
    from app.process.listening import listening
    from app.store import StoreUnavailable

    try:
        asyncio.run(_check_store(settings))
    except StoreUnavailable as error:
        fail(error)
    log = logging.getLogger("app")
    if settings.keys_file is None and not _is_loopback(settings.host):
        log.warning(
            "NO KEYS: everyone who reaches %s:%d may use, read and delete every task. "
            "Make one with `leo keys add NAME` and set LEO_KEYS_FILE",
            settings.host,
            settings.port,
        )
    try:
        sockets = listening(settings.host, settings.port, workers)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        fail(f"cannot listen on {where}: {error.strerror}; choose another with LEO_HOST and LEO_PORT")
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    log.info("listening on http://%s:%d", shown, sockets[0][0].getsockname()[1])
    return sockets


def _settle() -> None:
    """What is loaded by now stays. To look through all of it for garbage again and again would hold every request up,
    each time for a sixth of a second; and write to memory that processes share as long as nobody does."""
    gc.collect()
    gc.freeze()


def _run(
    settings: "Settings",
    service: "FastAPI",
    sockets: "list[socket.socket]",
    is_ready: Callable[[], None] = lambda: None,
) -> None:
    import uvicorn

    from app.process.answers import WholeAnswers
    from app.process.draining import DrainingServer

    config = uvicorn.Config(
        service,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_keep_alive=75,  # longer than gateways keep idle connections, so that they never meet a closed one
        timeout_graceful_shutdown=math.ceil(settings.stop_seconds),
        http=WholeAnswers,
    )
    DrainingServer(config, service, settings.drain_seconds, is_ready).run(sockets)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _check_store(settings: "Settings") -> None:
    """Open and close the store, so that one that cannot be used is one line and not a traceback."""
    from app.main import open_store

    await (await open_store(settings)).close()
