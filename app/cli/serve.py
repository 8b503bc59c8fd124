"""`leo serve`: run the service until a signal stops it."""

import importlib.util
import os
import signal
from typing import Annotated

import typer

from app.cli.common import app, fail


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="LEO_HOST or 127.0.0.1")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.", show_default="LEO_PORT or 8000")] = None,
) -> None:
    """Serve a model over HTTP.

    Settings come from the environment: LEO_HOST, LEO_PORT, LEO_DATA_DIR, LEO_WEIGHTS, LEO_DEVICE
    and more; docs/settings.md lists them. A flag wins over its variable.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it loads the models anew; until there are any, it would end this
    from pydantic import ValidationError

    from app.problems import describe_validation_errors
    from app.settings import Settings

    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") and importlib.util.find_spec("opentelemetry.exporter") is None:
        fail(
            "OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, which need: "
            "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
        )
    given = {key: value for key, value in {"host": host, "port": port}.items() if value is not None}
    try:
        settings = Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        errors = [each | {"loc": [f"LEO_{part}".upper() for part in each["loc"]]} for each in error.errors()]
        fail(f"a setting is wrong: {describe_validation_errors(errors)}")
    from app.process.serve import CannotServe  # not before: it imports PyTorch, and a wrong setting is told at once
    from app.process.serve import serve as serve_until_stopped

    try:
        status = serve_until_stopped(settings)
    except CannotServe as error:
        fail(error)
    raise typer.Exit(status)
