"""`leo bench`: measures how fast a server answers."""

import contextlib
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
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.common import app, console, fail, numbers, print_table
from app.cli.load import FORM, PATIENCE, Load, closed_loop, form_request, multipart, percentiles

if TYPE_CHECKING:
    import httpx

HANDS = 20  # different drawings of each class that queries are taken from
TTL = 3600  # seconds; deletes the tasks of a run that was interrupted


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
            envvar="LEO_URL",
            help="Address of a running server; without it one is started.",
            show_default="none",
        ),
    ] = None,
    way: Annotated[int, typer.Option(min=2, max=100, help="Classes of a task.")] = 5,
    shot: Annotated[int, typer.Option(min=1, max=100, help="Examples of each class.")] = 1,
    images: Annotated[int, typer.Option(min=1, max=1000, help="Images in a prediction.")] = 1,
    clients: Annotated[str, typer.Option(help="How many clients at once; each number is measured.")] = "1,4,16",
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each measurement takes.")] = 5.0,
    model: Annotated[str | None, typer.Option(help="Which of the server's models.", show_default="its default")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Also write the figures to this JSON file.", show_default=False)
    ] = None,
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
    rows = [
        (
            each.call,
            str(each.clients),
            f"{each.per_second:.1f}",
            *(f"{took:.1f}" for took in (each.p50_ms, each.p90_ms, each.p99_ms)),
            "" if each.right is None else f"{100 * each.right:.1f}",
            str(each.failed),
        )
        for each in found
    ]
    columns = ("call", "clients", "requests/s", "p50 ms", "p90 ms", "p99 ms", "right, %", "failed")
    print_table(columns, rows, title=f"{served_by}, {way}-way {shot}-shot, {images} image(s) a prediction")
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
        command = [sys.executable, "-m", __package__, "serve", "--host", "127.0.0.1", "--port", str(port)]
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
