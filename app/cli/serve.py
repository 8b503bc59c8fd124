"""`leo serve`."""

import asyncio
import gc
import importlib.util
import ipaddress
import logging
import math
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.common import app, fail

if TYPE_CHECKING:
    from app.settings import Settings


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
    import uvicorn
    from pydantic import ValidationError

    from app import logs
    from app.draining import DrainingServer
    from app.listening import listening
    from app.main import create_app
    from app.problems import describe
    from app.settings import Settings
    from app.store import StoreUnavailable
    from model.memory import keep_freed_memory

    keep_freed_memory()
    # The device's thread needs the interpreter for moments between long calls; it shall not wait 5 ms for each.
    sys.setswitchinterval(0.0005)
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") and importlib.util.find_spec("opentelemetry.exporter") is None:
        fail("OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, which need: pip install 'leo-service[traces]'")
    given = {key: value for key, value in {"host": host, "port": port}.items() if value is not None}
    try:
        settings = Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        fail(f"a setting (LEO_...) is wrong: {describe(error.errors())}")
    logs.configure(settings.log_format)
    try:
        service = create_app(settings)
        asyncio.run(_check_store(settings))
    except (ValueError, StoreUnavailable) as error:
        fail(error)
    if settings.keys_file is None and not _is_loopback(settings.host):
        logging.getLogger("app").warning(
            "NO KEYS: everyone who reaches %s:%d may use, read and delete every task. "
            "Make one with `leo keys add NAME` and set LEO_KEYS_FILE",
            settings.host,
            settings.port,
        )
    try:
        sockets = listening(settings.host, settings.port)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        fail(f"cannot listen on {where}: {error.strerror}; choose another with LEO_HOST and LEO_PORT")
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    logging.getLogger("app").info("listening on http://%s:%d", shown, sockets[0].getsockname()[1])
    config = uvicorn.Config(
        service,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_keep_alive=75,  # longer than gateways keep idle connections, so that they never meet a closed one
        timeout_graceful_shutdown=math.ceil(settings.stop_seconds),
    )
    server = DrainingServer(config, service, settings.drain_seconds)
    # What is loaded by now stays. To look through all of it for garbage again and again would hold every request up,
    # each time for a sixth of a second.
    gc.collect()
    gc.freeze()
    server.run(sockets)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _check_store(settings: "Settings") -> None:
    """Open and close the store, so that one that cannot be used is one line and not a traceback."""
    from app.main import open_store

    await (await open_store(settings)).close()
