"""`leo bench`: how fast a running server is, or this machine would be."""

import contextlib
import http.client
import itertools
import json
import os
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.table import Table

from app.cli.common import app, console, fail, numbers

if TYPE_CHECKING:
    import httpx

BOUNDARY = "leo-bench"
HANDS = 20  # different drawings of each class that queries are taken from
TTL = 3600  # seconds; what a run that was broken off leaves behind ends by itself


@dataclass(frozen=True)
class Measured:
    """What so many clients saw in so many seconds."""

    call: str
    clients: int
    requests: int
    failed: int
    per_second: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    right: float | None  # share of the predictions


@dataclass(frozen=True)
class Request:
    """One call, ready to be sent, and the label that is right for it."""

    path: str
    body: bytes
    label: str | None = None


@app.command()
def bench(
    url: Annotated[
        str | None,
        typer.Option(
            envvar="LEO_URL", help="A running server; without it one is started here, and ended.", show_default="none"
        ),
    ] = None,
    way: Annotated[int, typer.Option(min=2, max=100, help="Classes of a task.")] = 5,
    shot: Annotated[int, typer.Option(min=1, max=100, help="Examples of each class.")] = 1,
    images: Annotated[int, typer.Option(min=1, max=1000, help="Images in a prediction.")] = 1,
    clients: Annotated[str, typer.Option(help="How many at once, one measurement each.")] = "1,4,16",
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement.")] = 5.0,
    model: Annotated[str | None, typer.Option(help="Which of the server's models.", show_default="its default")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON, too.", show_default=False)] = None,
) -> None:
    """Measure how fast tasks are made and images classified over HTTP, by clients that ask without a pause.

    The classes are random scrawls, each drawn by several hands. Tasks are deleted afterwards.

    Clients run in this process: on the server's own machine they take processor time from it.

    LEO_API_KEY is sent where it is set.
    """
    crowds = numbers([clients], "clients")
    if min(crowds) < 1:
        fail(f"--clients {clients}: give numbers from 1 on, as in --clients 1,4,16")
    with contextlib.ExitStack() as stack:
        where = url or stack.enter_context(own_server())
        with console.status(f"measuring {where}"):
            found, served_by = measure(where, way, shot, images, crowds, seconds, model)
    table = Table(title=f"{served_by}, {way}-way {shot}-shot, {images} image(s) a prediction")
    for column in ("call", "clients", "requests/s", "p50 ms", "p90 ms", "p99 ms", "right, %", "failed"):
        table.add_column(column, justify="left" if column == "call" else "right")
    for each in found:
        table.add_row(
            each.call,
            str(each.clients),
            f"{each.per_second:.1f}",
            *(f"{took:.1f}" for took in (each.p50_ms, each.p90_ms, each.p99_ms)),
            "" if each.right is None else f"{100 * each.right:.1f}",
            str(each.failed),
        )
    Console().print(table)
    if out:
        from model.evaluation.card import machine, today

        asked = {"way": way, "shot": shot, "images": images, "seconds": seconds}
        client = {"date": today(), "client": machine(), "server": "its own" if url is None else "another"}
        written = {"model": served_by, **client, **asked, "measured": [asdict(each) for each in found]}
        out.write_text(json.dumps(written, indent=2) + "\n")
    if any(each.failed for each in found):
        fail("some requests failed: is the server's limit for a key or an address lower than this?")


@contextlib.contextmanager
def own_server() -> Iterator[str]:
    """`leo serve` on a free port with a store of its own; its settings are the environment's."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+") as log:
        own = {"LEO_DATA_DIR": folder, "LEO_STORE_URL": "", "LEO_KEYS_FILE": "", "COLUMNS": "1000"}
        command = [sys.executable, "-m", "app.cli", "serve", "--host", "127.0.0.1", "--port", str(port)]
        environment = os.environ | own
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603  # nosec B603
        try:
            with console.status("starting a server"):
                while not answers("127.0.0.1", port):
                    if server.poll() is not None:
                        log.seek(0)
                        fail(f"the server did not start: {log.read().strip().splitlines()[-1]}")
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def answers(host: str, port: int) -> bool:
    """Whether a server there is ready."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    return False


def measure(
    url: str, way: int, shot: int, images: int, crowds: list[int], seconds: float, model: str | None
) -> tuple[list[Measured], str]:
    """Creations and predictions by crowds of different sizes, and the model's name and version."""
    import httpx

    key = os.environ.get("LEO_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    drawings = {f"class {n}": [scrawl(n, hand) for hand in range(shot + HANDS)] for n in range(way)}
    name = f"leo bench {secrets.token_hex(4)}"
    options = {"ttl_seconds": str(TTL), "name": name} | ({"model": model} if model else {})
    support = [(label, picture) for label, pictures in drawings.items() for picture in pictures[:shot]]
    creation = Request("/tasks", multipart([p for _, p in support], [label for label, _ in support], options))
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            task = created(client, creation)
            path = f"/tasks/{task['task_id']}/predict"
            queries = [
                Request(path, multipart([pictures[shot + hand]] * images, [], {}), label)
                for hand in range(HANDS)
                for label, pictures in drawings.items()
            ]
            found = []
            for call, requests in (("create a task", [creation]), ("predict", queries)):
                crowd(url, headers, requests, 1, min(1.0, seconds))  # until it is warm
                found += [crowd(url, headers, requests, size, seconds, call) for size in crowds]
            forget(client, name)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        fail(f"no answer from {url}: {error or type(error).__name__}")
    return found, f"{task['model']} {task['model_version']}"


def created(client: "httpx.Client", creation: Request) -> Any:
    """The task, or the server's refusal as one line."""
    content_type = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = client.post(creation.path, content=creation.body, headers=content_type)
    if answer.status_code != 201:
        try:
            fail(answer.json()["detail"])
        except (ValueError, KeyError):
            fail(f"{client.base_url} answers {answer.status_code}: is that LEO?")
    return answer.json()


def forget(client: "httpx.Client", name: str) -> None:
    """Delete the tasks that were made."""
    while True:
        page = client.get("/tasks", params={"name": name, "limit": 100}).raise_for_status().json()
        for task in page["tasks"]:
            client.delete(f"/tasks/{task['task_id']}")
        if page["next_cursor"] is None:
            return


def crowd(
    url: str, headers: dict[str, str], requests: list[Request], size: int, seconds: float, call: str = ""
) -> Measured:
    """So many clients, each with a connection of its own, one request after another."""
    until = time.perf_counter() + seconds
    with ThreadPoolExecutor(size) as pool:
        began = time.perf_counter()
        done = [
            pool.submit(one, url, headers, requests[n * len(requests) // size :] + requests, until) for n in range(size)
        ]
        seen = [each for client in done for each in client.result()]
        took = time.perf_counter() - began
    milliseconds = sorted(1000 * each for each, _, _ in seen)
    judged = [right for _, right, _ in seen if right is not None]
    p50, p90, p99 = (milliseconds[min(len(milliseconds) - 1, int(q * len(milliseconds)))] for q in (0.5, 0.9, 0.99))
    return Measured(
        call=call,
        clients=size,
        requests=len(seen),
        failed=sum(failed for _, _, failed in seen),
        per_second=round(len(seen) / took, 2),
        p50_ms=round(p50, 2),
        p90_ms=round(p90, 2),
        p99_ms=round(p99, 2),
        right=sum(judged) / len(judged) if judged else None,
    )


def one(
    url: str, headers: dict[str, str], requests: list[Request], until: float
) -> list[tuple[float, bool | None, bool]]:
    """Of each request: its seconds, whether its answer was right, and whether there was none."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=60)
    headers = headers | {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    seen: list[tuple[float, bool | None, bool]] = []
    with contextlib.closing(connection):
        for request in itertools.cycle(requests):
            began = time.perf_counter()
            if began > until and seen:
                break
            try:
                connection.request("POST", parts.path.rstrip("/") + request.path, request.body, headers)
                answer = connection.getresponse()
                content = answer.read()
                failed = answer.status not in (200, 201)
            except (OSError, http.client.HTTPException):
                connection.close()
                failed, content = True, b""
            took = time.perf_counter() - began
            right = None
            if request.label is not None and not failed:
                right = all(each["label"] == request.label for each in json.loads(content)["predictions"])
            seen.append((took, right, failed))
    return seen


def multipart(pictures: list[bytes], labels: list[str], options: dict[str, str]) -> bytes:
    """A form as curl and browsers send it."""
    parts = [
        f'Content-Disposition: form-data; name="images"; filename="{n}.png"\r\n\r\n'.encode() + picture
        for n, picture in enumerate(pictures)
    ]
    fields = [*(("labels", label) for label in labels), *options.items()]
    parts += [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in fields]
    start = f"--{BOUNDARY}\r\n".encode()
    return b"".join(start + part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()


def scrawl(sign: int, hand: int) -> bytes:
    """A random sign as a PNG of 105x105, drawn a little differently by each hand."""
    import io

    from PIL import Image, ImageDraw

    shape, tremble = random.Random(sign), random.Random(f"{sign} {hand}")  # noqa: S311  # nosec B311
    picture = Image.new("L", (105, 105), 255)
    draw = ImageDraw.Draw(picture)
    for _ in range(shape.randint(2, 3)):
        corners = [(shape.uniform(15, 90), shape.uniform(15, 90)) for _ in range(shape.randint(2, 4))]
        draw.line([(x + tremble.gauss(0, 2), y + tremble.gauss(0, 2)) for x, y in corners], 0, 4, "curve")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
