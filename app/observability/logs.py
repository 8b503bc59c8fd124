"""Configures logging: lines for people or as JSON, with the request's id on each line logged during a request."""

import json
import logging
import sys
import time
import traceback
from datetime import UTC, datetime
from typing import Literal, TextIO

import structlog


def _without_colours(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Leave out uvicorn's second form of its messages, which holds colour codes."""
    event.pop("color_message", None)
    return event


SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    _without_colours,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]

# Limits of a traceback: frames of each exception, and characters of a line. Local variables are never printed: they
# hold request data, including keys, and printing them would block the service for seconds.
MAX_FRAMES, MAX_LINE_LENGTH = 40, 500

log = logging.getLogger("app.requests")
REQUEST_FIELDS = ("method", "milliseconds", "request_id", "route", "status")
#: What the records of all requests have in common.
RECORD_OF_REQUEST = vars(log.makeRecord(log.name, logging.INFO, __file__, 0, "request", (), None))


def log_request(method: str, route: str, status: int, request_id: str, milliseconds: float) -> None:
    """Write the one line of a request."""
    if log.isEnabledFor(logging.INFO):
        # Neither `log.info`, which looks up the calling line, nor `makeRecord`, which takes three times as long.
        record = logging.LogRecord.__new__(logging.LogRecord)
        now = time.time()
        record.__dict__ = {
            **RECORD_OF_REQUEST,
            "created": now,
            "msecs": now % 1 * 1000,
            "method": method,
            "milliseconds": round(milliseconds, 1),
            "request_id": request_id,
            "route": route,
            "status": status,
        }
        log.handle(record)


def bounded_traceback(error: BaseException) -> str:
    """Format a traceback without local variables: the last `MAX_FRAMES` frames of each exception, in short lines."""
    formatted = traceback.TracebackException.from_exception(error, limit=-MAX_FRAMES).format()
    lines = "".join(formatted).rstrip().splitlines()
    return "\n".join(line if len(line) <= MAX_LINE_LENGTH else line[:MAX_LINE_LENGTH] + "..." for line in lines)


def _write_traceback(stream: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    stream.write("\n" + bounded_traceback(exc_info[1]))


class LineFormatter(structlog.stdlib.ProcessorFormatter):
    """structlog's formatter, except for the line of each request, which it formats directly in the same form."""

    # measured: a prediction takes 8 % more CPU time if its line is logged by `log.info` and structlog, on 2 cores

    def __init__(self, form: Literal["text", "json"]) -> None:
        """`form`: lines for people, or JSON."""
        processors: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
        if form == "json":
            as_text = structlog.processors.ExceptionRenderer(lambda exc_info: bounded_traceback(exc_info[1]))
            processors += [as_text, structlog.processors.JSONRenderer(ensure_ascii=False)]
        else:
            # structlog's own traceback formatter prints local variables if rich is installed.
            processors += [
                structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write_traceback)
            ]
        super().__init__(processors=processors, foreign_pre_chain=SHARED)
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        """The line of a log record."""
        if record.name != log.name:
            return super().format(record)
        fields = {name: record.__dict__[name] for name in REQUEST_FIELDS}
        timestamp = datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z")
        if self._form == "json":
            return json.dumps(
                {"event": "request", "level": "info", "logger": log.name, **fields, "timestamp": timestamp}
            )
        pairs = " ".join([f"{name}={value}" for name, value in fields.items()])
        return f"{timestamp} [info     ] request                        [{log.name}] {pairs}"


def configure(form: Literal["text", "json"]) -> None:
    """Write all logs, also those of libraries, to standard error in one form."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter(form))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # no line shows these
