"""Runs the service, in one process or in several worker processes that share a port."""

import asyncio
import contextlib
import errno
import gc
import ipaddress
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial

import uvicorn
from fastapi import FastAPI

from app.inference.models import Models, engine_on
from app.inference.remote.board import Board
from app.observability import logs
from app.process.connections import BoundedProtocol
from app.process.data_dir import claimed
from app.process.devices import DeviceProcesses, device_names
from app.process.draining import DrainingServer
from app.process.listening import Address, find_addresses, listen
from app.process.open_connections import OpenConnections, allow_open_files
from app.process.run_folder import run_folder
from app.process.workers import Workers, worker_count
from app.settings import Settings, misspelt
from app.shared_state import SharedState
from app.store.errors import StoreUnavailable
from model.allocator import keep_freed_memory

log = logging.getLogger("app")

# Python's switch interval between threads. The device's thread needs the interpreter for moments between long calls,
# and with the default would wait 5 ms for it each time.
SWITCH_INTERVAL = 0.0005  # seconds
# Python looks for garbage after it has made so many more objects than it has freed. With its default of 700 it does so
# several times while 16 requests are under way, and predictions take 3 % more processor time (measured on 2 cores).
GARBAGE_THRESHOLD = 5000
FEWEST_CONNECTIONS = 16  # of one process; with fewer than that a service is of no use


class CannotServe(Exception):
    """The service cannot start; the message says why and how to fix it."""


def serve(settings: Settings) -> int:
    """Run the service until a signal stops it; returns the exit status. Raises `CannotServe`."""
    for each in (signal.SIGUSR1, signal.SIGUSR2):  # some tools send them to have log files opened anew
        signal.signal(each, signal.SIG_IGN)
    keep_freed_memory()
    sys.setswitchinterval(SWITCH_INTERVAL)
    workers = worker_count(settings)
    try:
        devices = device_names(settings.device)
    except ValueError as error:
        raise CannotServe(str(error)) from error
    if allow_open_files() < FEWEST_CONNECTIONS:
        raise CannotServe("this user may open too few files at once: allow at least 1024 (`ulimit -n 1024`)")
    try:
        with contextlib.nullcontext() if settings.store_url else claimed(settings.data_dir):
            if workers == 1 and not devices:
                return serve_here(settings)
            return serve_with_workers(settings, workers, devices)
    except StoreUnavailable as error:
        raise CannotServe(str(error)) from error


def serve_here(settings: Settings) -> int:
    """Run the service in this process; returns the exit status. Raises `CannotServe`."""
    logs.configure(settings.log_format)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there are models to load anew
    shared_state = share(1)
    service = load(settings, shared_state)
    addresses = find_free_addresses(settings, shared_state)
    sockets = open_sockets(addresses, share=False)
    freeze_garbage()
    announce(settings, addresses)
    run(settings, service, sockets)
    return 0


def serve_with_workers(settings: Settings, workers: int, devices: list[str]) -> int:
    """Run the service in worker processes, and in one for each device; returns the exit status.

    Raises `CannotServe`.
    """
    with run_folder() as folder:
        # If this is set when prometheus_client is imported, it adds up the metrics of all processes.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        try:
            return supervise(settings, workers, Board(devices, folder) if devices else None)
        finally:
            del os.environ["PROMETHEUS_MULTIPROC_DIR"]


def supervise(settings: Settings, workers: int, board: Board | None) -> int:
    """Run worker processes, and one for each device of the `board`; returns the exit status. Raises `CannotServe`."""
    from app import main  # noqa: F401 - imported before the fork, so that the workers share its memory

    logs.configure(settings.log_format)
    shared_state = share(workers)
    addresses = find_free_addresses(settings, shared_state)

    def work(open_own_sockets: Callable[[], list[socket.socket]], ready: Callable[[], None]) -> None:
        try:
            check_store(settings, shared_state)
            service = load(settings, shared_state, board)
            sockets = open_own_sockets()
        except (CannotServe, OSError) as error:
            log.error("%s", error)
            sys.exit(1)
        freeze_garbage()
        run(settings, service, sockets, ready)

    freeze_garbage()
    stop_seconds = settings.drain_seconds + settings.stop_seconds
    devices = None
    if board is not None:
        devices = DeviceProcesses(board, partial(serve_device, settings, board), settings.device_deadline)
    deadline, open_all = settings.device_deadline, partial(open_sockets, addresses, share=True)
    serving = partial(announce, settings, addresses)
    return Workers(shared_state, work, open_all, serving, stop_seconds, deadline, devices).run()


def share(workers: int) -> SharedState:
    """What so many workers share. Raises `CannotServe`."""
    try:
        return SharedState(workers)
    except OSError as error:
        raise CannotServe(
            f"there is no memory that processes can share: {error}; let the service write to /dev/shm"
        ) from error


def serve_device(settings: Settings, board: Board, number: int) -> None:
    """Run a device process: load the models onto its device, and compute for all workers until it is ended."""
    from app.inference.remote.server import DeviceServer  # not at the top: it imports prometheus_client

    try:
        models = Models.load(settings, partial(engine_on, board.devices[number]))
    except ValueError as error:
        log.error("%s", error)
        return
    freeze_garbage()
    log.info("device process %d, pid %d, computes on %s", number, os.getpid(), board.devices[number])
    DeviceServer(board.listeners[number], models, partial(models.reload, settings), board, number).serve()


def load(settings: Settings, shared_state: SharedState, board: Board | None = None) -> FastAPI:
    """Create the app and load its models. Raises `CannotServe`."""
    from app.main import create_app  # not at the top: it imports prometheus_client, see PROMETHEUS_MULTIPROC_DIR

    try:
        return create_app(settings, shared_state, board)
    except ValueError as error:
        raise CannotServe(str(error)) from error


def find_free_addresses(settings: Settings, shared_state: SharedState) -> list[Address]:
    """The addresses to listen on, after a check that the store can be used. Raises `CannotServe`."""
    check_store(settings, shared_state)
    for given, meant in misspelt(os.environ).items():
        log.warning("%s is no setting and is ignored: was %s meant?", given, meant)
    if settings.keys_file is None and not _is_loopback(settings.host):
        log.warning(
            "NO KEYS: everyone who reaches %s:%d may use, read and delete every task. "
            "Make one with `leo keys add NAME` and set LEO_KEYS_FILE",
            settings.host,
            settings.port,
        )
    try:
        return find_addresses(settings.host, settings.port)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise CannotServe(
            f"cannot listen on {where}: {error.strerror}; choose another with LEO_HOST and LEO_PORT"
        ) from error


def announce(settings: Settings, addresses: list[Address]) -> None:
    """Log where the service listens, once nothing can keep it from starting any more."""
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    log.info("listening on http://%s:%d", shown, addresses[0].port)


def open_sockets(addresses: list[Address], *, share: bool) -> list[socket.socket]:
    """One process's listening sockets. Raises `CannotServe`."""
    try:
        return listen(addresses, share=share)
    except OSError as error:
        advice = (
            "; allow this user more open files (`ulimit -n`), or fewer LEO_WORKERS"
            if error.errno == errno.EMFILE
            else ""
        )
        raise CannotServe(f"cannot open sockets to listen on: {error.strerror}{advice}") from error


def check_store(settings: Settings, shared_state: SharedState) -> None:
    """Open and close the store, so that a bad one is reported in one line, not in uvicorn's tracebacks.

    Raises `CannotServe`.
    """
    from app.main import open_store

    async def open_and_close() -> None:
        await (await open_store(settings, shared_state)).close()

    try:
        asyncio.run(open_and_close())
    except StoreUnavailable as error:
        raise CannotServe(str(error)) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def freeze_garbage() -> None:
    """Exempt everything loaded so far from garbage collection, and collect the rest less often.

    A full collection would hold up every request for a sixth of a second. It would also write to memory that the
    worker processes share only while none of them writes to it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)


def run(
    settings: Settings, service: FastAPI, sockets: list[socket.socket], ready: Callable[[], None] = lambda: None
) -> None:
    """Serve on the sockets until a signal stops it; calls `ready` once the service answers requests."""
    config = uvicorn.Config(
        service,
        host=settings.host,
        port=settings.port,
        forwarded_allow_ips=settings.trusted_proxies,
        log_config=None,
        access_log=False,
        timeout_keep_alive=75,  # seconds; longer than gateways keep idle connections, which never find one closed then
        timeout_graceful_shutdown=math.ceil(settings.stop_seconds),
        # It makes protocols, as their class would.
        http=partial(  # type: ignore[arg-type]
            BoundedProtocol, OpenConnections(allow_open_files()), settings.max_body_bytes, service.state.door.refusal
        ),
        ws="none",
    )
    DrainingServer(config, service, settings.drain_seconds, ready).run(sockets)
