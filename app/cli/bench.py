"""`leo bench`: measures how fast a server answers, with the load generator that the benchmarks in bench/ share."""

import asyncio
import contextlib
import itertools
import json
import math
import os
import random
import secrets
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import httptools
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from app.cli.common import app, console, fail, numbers

if TYPE_CHECKING:
    import httpx

BOUNDARY = "leo-bench"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
HANDS = 20  # different drawings of each class that queries are taken from
TTL = 3600  # seconds; deletes the tasks of a run that was interrupted
PATIENCE = 60.0  # seconds that a request may take


@dataclass(frozen=True)
class Measured:
    """Throughput and latency of one call under a number of concurrent clients."""

    call: str
    clients: int
    requests: int
    failed: int
    per_second: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    right: float | None  # share of the predictions


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
        from model.evaluation.provenance import machine, today

        asked = {"way": way, "shot": shot, "images": images, "seconds": seconds}
        client = {"date": today(), "client": machine(), "server": "its own" if url is None else "another"}
        written = {"model": served_by, **client, **asked, "measured": [asdict(each) for each in found]}
        out.write_text(json.dumps(written, indent=2) + "\n")
    if any(each.failed for each in found):
        fail("some requests failed: is the server's limit for a key or an address lower than this?")


@contextlib.contextmanager
def own_server() -> Iterator[str]:
    """`leo serve` on a free port with a store of its own; its settings are the environment's."""
    import httpx

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+") as log:
        own = {"LEO_DATA_DIR": folder, "LEO_STORE_URL": "", "LEO_KEYS_FILE": "", "COLUMNS": "1000"}
        command = [sys.executable, "-m", "app.cli", "serve", "--host", "127.0.0.1", "--port", str(port)]
        environment = os.environ | own
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603  # nosec B603
        try:
            with console.status("starting a server"), httpx.Client(timeout=5) as client:
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        if client.get(f"{url}/readyz").status_code == 200:
                            break
                    if server.poll() is not None:
                        log.seek(0)
                        fail(f"the server did not start: {log.read().strip().splitlines()[-1]}")
                    time.sleep(0.1)
            yield url
        finally:
            server.terminate()
            server.wait()


def measure(
    url: str, way: int, shot: int, images: int, crowds: list[int], seconds: float, model: str | None
) -> tuple[list[Measured], str]:
    """Creations and predictions under each number of clients, and the model's name and version."""
    import httpx

    key = os.environ.get("LEO_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    drawings = {f"class {n}": [scrawl(n, hand) for hand in range(shot + HANDS)] for n in range(way)}
    name = f"leo bench {secrets.token_hex(4)}"
    options = {"ttl_seconds": str(TTL), "name": name} | ({"model": model} if model else {})
    support = [(label, picture) for label, pictures in drawings.items() for picture in pictures[:shot]]
    form = multipart([picture for _, picture in support], [label for label, _ in support], options)
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=PATIENCE) as client:
            task = created(client, form)
            path = f"/tasks/{task['task_id']}/predict"
            creation = form_request("/tasks", form, url, headers)
            label_of = {
                form_request(path, multipart([pictures[shot + hand]] * images), url, headers): label
                for hand in range(HANDS)
                for label, pictures in drawings.items()
            }
            found = []
            for call, requests in (("create a task", [creation]), ("predict", list(label_of))):
                closed_loop(url, itertools.cycle(requests), 1, min(1.0, seconds))  # warms up
                for clients in crowds:
                    load = closed_loop(url, itertools.cycle(requests), clients, seconds, keep=True)
                    found.append(summarised(call, clients, load, label_of))
            forget(client, name)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        fail(f"no answer from {url}: {error or type(error).__name__}")
    return found, f"{task['model']} {task['model_version']}"


def created(client: "httpx.Client", form: bytes) -> Any:
    """The task, or the server's refusal as one line."""
    answer = client.post("/tasks", content=form, headers={"Content-Type": FORM})
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


def summarised(call: str, clients: int, load: "Load", label_of: Mapping[bytes, str]) -> Measured:
    """A row of the table; `label_of` has the right label of each prediction's request."""
    right = [
        all(each["label"] == label_of[request] for each in json.loads(body)["predictions"])
        for request, body in load.answers
        if request in label_of
    ]
    times = [took for several in load.milliseconds.values() for took in several]
    of = percentiles(times)
    return Measured(
        call=call,
        clients=clients,
        requests=len(times),
        failed=len(times) - len(load.accepted),
        per_second=round(len(times) / load.seconds, 2),
        p50_ms=round(of["p50_ms"], 2),
        p90_ms=round(of["p90_ms"], 2),
        p99_ms=round(of["p99_ms"], 2),
        right=sum(right) / len(right) if right else None,
    )


@dataclass
class Load:
    """What came of a load."""

    seconds: float = 0.0
    milliseconds: dict[int, list[float]] = field(default_factory=dict)  # by status; 0 where no answer came
    answers: list[tuple[bytes, bytes]] = field(default_factory=list)  # accepted requests and their answers, where kept

    def add(self, status: int, began: float) -> None:
        """Count an answer that came now to a request that was sent, or due, at `began`."""
        self.milliseconds.setdefault(status, []).append(1000 * (time.perf_counter() - began))

    @property
    def statuses(self) -> dict[str, int]:
        """How often each status came."""
        return {str(status): len(times) for status, times in sorted(self.milliseconds.items())}

    @property
    def accepted(self) -> list[float]:
        """Milliseconds of each answer with a status of 2xx."""
        return [took for status, times in self.milliseconds.items() if 200 <= status < 300 for took in times]

    @property
    def per_second(self) -> float:
        """Accepted requests a second."""
        return len(self.accepted) / self.seconds

    def summary(self) -> dict[str, Any]:
        """Accepted requests a second, their percentiles, and all statuses."""
        return {"per_second": round(self.per_second, 1), **percentiles(self.accepted), "statuses": self.statuses}


def percentiles(times: list[float]) -> dict[str, float]:
    """p50, p90, p99 and the longest; empty without times."""
    if not times:
        return {}
    cuts = statistics.quantiles(times if len(times) > 1 else times * 2, n=100, method="inclusive")
    named = {"p50_ms": cuts[49], "p90_ms": cuts[89], "p99_ms": cuts[98], "max_ms": max(times)}
    return {name: round(value, 3) for name, value in named.items()}


class Connection(asyncio.Protocol):
    """An HTTP connection that carries one request at a time.

    It does far less than a client library, because clients share the machine with the server that they measure.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.transport: asyncio.Transport | None = None

    @classmethod
    async def to(cls, url: str) -> "Connection":
        """A new connection to a server. Raises `OSError` where there is none."""
        parts = urlsplit(url)
        context = ssl.create_default_context() if parts.scheme == "https" else None
        port = parts.port or (443 if context else 80)
        return (await asyncio.get_running_loop().create_connection(cls, parts.hostname or "", port, ssl=context))[1]

    @property
    def is_open(self) -> bool:
        """Whether it can carry another request."""
        return self.transport is not None and not self.transport.is_closing()

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer; status 0 where the connection ends before it."""
        self._body, self._answer = b"", asyncio.get_running_loop().create_future()
        if self.transport is None:
            return 0, b""
        self.transport.write(request)
        return await self._answer

    def close(self) -> None:
        """End it; a request under way gets status 0."""
        if self.transport:
            self.transport.abort()

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def connection_lost(self, _: Exception | None) -> None:
        self.transport = None
        self._finish(0, b"")

    # Called by the parser.

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self.transport and not self._parser.should_keep_alive():
            self.transport.close()
        self._finish(self._parser.get_status_code(), self._body)

    def _finish(self, status: int, body: bytes) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_result((status, body))


def closed_loop(url: str, requests: Iterator[bytes], clients: int, seconds: float, *, keep: bool = False) -> Load:
    """Concurrent clients, each of which sends the next request as soon as its last one is answered.

    They stop after `seconds`, or when there are no more requests. A client that cannot connect again leaves. With
    `keep` accepted answers are kept. Raises `OSError` where there is no server.
    """

    async def run() -> Load:
        load = Load()
        connections = [await Connection.to(url) for _ in range(clients)]

        async def client(connection: Connection) -> None:
            for request in requests:
                sent = time.perf_counter()
                try:
                    if not connection.is_open:
                        connection = await Connection.to(url)
                        connections.append(connection)
                    status, body = await connection.ask(request)
                except OSError:
                    load.add(0, sent)
                    return
                load.add(status, sent)
                if keep and 200 <= status < 300:
                    load.answers.append((request, body))
                if time.perf_counter() >= until:
                    return

        def give_up() -> None:
            for connection in connections:
                connection.close()

        began = time.perf_counter()
        until = began + seconds
        if math.isfinite(seconds):
            asyncio.get_running_loop().call_later(seconds + PATIENCE, give_up)
        await asyncio.gather(*map(client, list(connections)))
        load.seconds = time.perf_counter() - began
        give_up()
        return load

    return uvloop.run(run())


def form_request(
    path: str, form: bytes, url: str = "http://127.0.0.1", headers: Mapping[str, str] | None = None
) -> bytes:
    """A whole POST request of a form."""
    parts = urlsplit(url)
    own = {"Host": parts.netloc.rpartition("@")[2], "Content-Type": FORM, "Content-Length": str(len(form))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in (own | dict(headers or {})).items())
    return f"POST {parts.path.rstrip('/')}{path} HTTP/1.1\r\n{lines}\r\n".encode() + form


def multipart(pictures: list[bytes], labels: Sequence[str] = (), options: Mapping[str, str] | None = None) -> bytes:
    """A form as curl and browsers send it."""
    parts = [
        f'Content-Disposition: form-data; name="images"; filename="{n}.png"\r\n\r\n'.encode() + picture
        for n, picture in enumerate(pictures)
    ]
    fields = [*(("labels", label) for label in labels), *(options or {}).items()]
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
