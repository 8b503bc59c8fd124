"""One line a request, for people or as JSON, and a request id on everything that is logged meanwhile."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Literal, TextIO

import structlog

SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]

# A traceback says where the code was and why, in bounded text. Never the values of local variables: they hold what
# callers sent, their keys among it, and to print them takes seconds in which nobody is served.
MOST_FRAMES, LONGEST_REASON = 40, 500  # frames of each exception, and characters of its message

log = logging.getLogger("app.requests")
IN_REQUEST_LINE = ("method", "milliseconds", "request_id", "route", "status")


def bounded_traceback(error: BaseException) -> str:
    """A traceback without local variables: at most `MOST_FRAMES` frames and a short message for each exception."""
    told = traceback.TracebackException.from_exception(error, limit=-MOST_FRAMES)
    lines = "".join(told.format()).rstrip().splitlines()
    return "\n".join(line if len(line) <= LONGEST_REASON else line[:LONGEST_REASON] + "..." for line in lines)


def _write_traceback(stream: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    stream.write("\n" + bounded_traceback(exc_info[1]))


class Lines(structlog.stdlib.ProcessorFormatter):
    """structlog's, with a short way for the line that every request writes, which looks the same."""

    def __init__(self, form: Literal["text", "json"]) -> None:
        last: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
        if form == "json":
            as_text = structlog.processors.ExceptionRenderer(lambda exc_info: bounded_traceback(exc_info[1]))
            last += [as_text, structlog.processors.JSONRenderer(ensure_ascii=False)]
        else:
            # structlog's own way, where rich is installed, prints the local variables of every frame.
            last += [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write_traceback)]
        super().__init__(processors=last, foreign_pre_chain=SHARED)
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        if record.name != log.name:
            return super().format(record)
        said = {name: record.__dict__[name] for name in IN_REQUEST_LINE}
        at = datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z")
        if self._form == "json":
            return json.dumps({"event": "request", "level": "info", "logger": log.name, **said, "timestamp": at})
        pairs = " ".join([f"{name}={value}" for name, value in said.items()])
        return f"{at} [info     ] request                        [{log.name}] {pairs}"


def configure(form: Literal["text", "json"]) -> None:
    """Send everything that is logged, ours and the libraries', to standard error in one form."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines(form))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # which no line tells
