"""Where a one-image prediction's time goes inside the server: microseconds of processor time, by its parts."""

import asyncio
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from fastapi import FastAPI, Response
from pydantic_core import to_json

from app.http.multipart import parse
from app.http.routes.tasks import to_prediction
from app.inference.decoding import decode_one
from app.main import create_app
from app.observability.logs import Lines
from app.settings import Settings
from app.tasks.service import Tasks
from bench.engine.service import CLIENTS, ROOT
from bench.latency import BOUNDARY
from bench.pictures import NAMES, creation, picture, prediction

TIMES = 640


def path(model: str) -> dict[str, float]:
    """The loop's thread, and the whole process with the device's thread; the connection itself is left out."""
    with tempfile.TemporaryDirectory() as data, Path(os.devnull).open("w") as nowhere:
        quiet = logging.StreamHandler(nowhere)
        quiet.setFormatter(Lines("text"))
        logging.basicConfig(level=logging.INFO, handlers=[quiet], force=True)
        sys.setswitchinterval(0.0005)  # as `leo serve` has it
        settings = Settings(weights=ROOT / "weights" / model, data_dir=Path(data), device="cpu")
        return uvloop.run(_parts(create_app(settings)))


async def _parts(app: FastAPI) -> dict[str, float]:
    async with app.router.lifespan_context(app):
        tasks: Tasks = app.state.tasks
        task_id = json.loads(await _answer(app, creation(0)))["task_id"]
        requests = [prediction(task_id, n) for n in range(40)]
        body, image = requests[0].split(b"\r\n\r\n", 1)[1], picture(NAMES[0], 1000)
        read, kind = app.state.models.default.read, f"multipart/form-data; boundary={BOUNDARY}"
        answer = {
            "task_id": task_id,
            "model_version": "",
            "predictions": [to_prediction(NAMES, np.full(5, 0.2), 5, 0.0)],
        }
        found = {
            "parsing the form": _of(lambda: parse(body, kind, max_files=1, max_fields=1, max_field_bytes=100)),
            "decoding the image": _of(lambda: decode_one(image, 0, read, 10**8)),
            "writing the JSON": _of(lambda: Response(to_json(answer), media_type="application/json")),
        }

        async def alone() -> None:
            for n in range(TIMES):
                await _answer(app, requests[n % 40])

        async def together() -> None:
            for _ in range(TIMES // CLIENTS):
                await asyncio.gather(*[_answer(app, requests[n]) for n in range(CLIENTS)])

        await alone()
        found["one at a time: loop"], found["one at a time: process"] = await _of_all(alone)
        found["32 at once: loop"], found["32 at once: process"] = await _of_all(together)
        known = await tasks.get(task_id, ""), np.full((1, 5), 0.2, dtype=np.float32)

        async def answered_already(*_: Any) -> Any:
            return known

        tasks.predict = answered_already  # type: ignore[method-assign]
        found["all but decoding and the model"], _ = await _of_all(alone)
        return found


async def _answer(app: FastAPI, request: bytes) -> bytes:
    """As a server would call the application."""
    head, body = request.split(b"\r\n\r\n", 1)
    first, *lines = head.split(b"\r\n")
    where = first.split()[1]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": where.decode(),
        "raw_path": where,
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower(), value.strip()) for name, value in (line.split(b":", 1) for line in lines)],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    sent: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    await app(scope, receive, send)
    return b"".join(sent)


def _of(work: Callable[[], object]) -> float:
    """Microseconds a call."""
    began = time.thread_time()
    for _ in range(TIMES):
        work()
    return round(1e6 * (time.thread_time() - began) / TIMES, 1)


async def _of_all(work: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """Microseconds a request, of this thread and of all."""
    thread, process = time.thread_time(), time.process_time()
    await work()
    took = time.thread_time() - thread, time.process_time() - process
    return round(1e6 * took[0] / TIMES, 1), round(1e6 * took[1] / TIMES, 1)
