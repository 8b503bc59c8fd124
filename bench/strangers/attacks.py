"""What hostile callers do. Each function makes one attempt, and is called again and again."""

import base64
import contextlib
import functools
import io
import json
import os
import random
import signal
import socket
import struct
import time
from collections.abc import Callable

import httpx
import numpy as np
from PIL import Image
from safetensors.numpy import save

from app.cli.load import FORM, form_request, multipart
from bench.load import closed_loop_apart
from bench.requests import NAMES, picture
from bench.strangers.target import WORKERS, Target
from tests.helpers.hostile_files import hostile_files
from tests.helpers.workers import worker_ids

ATTACKERS = 4


def leave_half_way(target: Target, task: str) -> None:
    """Declare 5,000 bytes, send a few of them, and leave."""
    for path in ("/tasks", f"/tasks/{task}/predict", f"/tasks/{task}/support", "/tasks/import"):
        head = f"POST {path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 5000"
        with contextlib.suppress(OSError), contextlib.closing(target.connect(head, b'{"support": [{"label":')):
            pass


def leave_large_creations(target: Target, _: str) -> None:
    """Send creations of 500 images whole, and leave at once."""
    form = multipart([picture(name, hand) for hand in range(100) for name in NAMES], NAMES * 100)
    head = f"POST /tasks HTTP/1.1\r\nContent-Type: {FORM}\r\nContent-Length: {len(form)}"
    with contextlib.suppress(OSError), contextlib.closing(target.connect(head, form)):
        pass


def import_nonsense(target: Target, task: str) -> None:
    """Import files of heads that no service wrote."""
    with target.client() as client:
        answer = client.get(f"/tasks/{task}/parameters")
    if answer.status_code != 200:
        target.answers[answer.status_code] += 1
        return
    size = int.from_bytes(answer.content[:8], "little")
    described = json.loads(answer.content[8 : 8 + size])["__metadata__"]

    def head(labels: list[str], **changes: str) -> bytes:
        ways = len(labels)
        tensors = {"fc.weight": np.zeros((ways, 64), np.float32), "fc.bias": np.zeros(ways, np.float32)}
        tensors["codes"] = np.zeros((ways, 64), np.float32)
        shots = json.dumps([1] * ways)
        return save(tensors, metadata=described | {"labels": json.dumps(labels), "shots": shots} | changes)

    many = 14_000
    losses = json.dumps(json.loads(described["adaptation"]) | {"losses": [1.0] * 100_000})
    for data in (
        head([f"class {n}" for n in range(many)]),
        head(["alone"]),
        head(["", "b"]),
        head(["a" * 20_000_000, "b"]),
        head(["a\0", "b\x1b[31m"]),
        head(["a", "b"], adaptation=losses),
        head(["\ud800", "b"]),
        struct.pack("<Q", 19) + b'{"__metadata__":null}'[:19],
        struct.pack("<Q", 32_000_000) + b'{"a":"' + b" " * 31_999_992 + b'"}',
    ):
        target.send("POST", "/tasks/import", data, "application/octet-stream")


def ask_for_long_answers(target: Target, task: str) -> None:
    """A thousand images, and all classes for each."""
    form = multipart([picture(NAMES[0], 0)] * 1000)
    target.send("POST", f"/tasks/{task}/predict?top_k=14000", form, FORM)


def trickle(target: Target, task: str) -> None:
    """128 bodies at about a byte a second each, for four seconds."""
    head = f"POST /tasks/{task}/predict HTTP/1.1\r\nContent-Type: {FORM}\r\nContent-Length: 5000"
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(128 // ATTACKERS):
            with contextlib.suppress(OSError):
                connections.append(stack.enter_context(contextlib.closing(target.connect(head))))
        for _ in range(4):
            time.sleep(1)
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.sendall(b"x")


def endless_header(target: Target, _: str) -> None:
    """A header of up to 100 MB, without a key."""
    block = b"X-Long: " + b"y" * 65_000 + b"\r\n"
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", target.server.port), 30) as connection:
        connection.sendall(b"GET /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        for _ in range(1600):
            connection.sendall(block)


def flood_of_lists(target: Target, _: str) -> None:
    """One of many clients that list a hundred tasks again and again."""
    head = f"GET /tasks?limit=100 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {target.keys['hostile']}\r\n\r\n"
    load, _ = closed_loop_apart(target.server.url, [head.encode()], 64 // ATTACKERS, 3.0)
    target.answers.update({int(status): count for status, count in load.statuses.items()})


def greed(target: Target, task: str) -> None:
    """One key's 200 connections, each of which predicts without a pause."""
    request = form_request(f"/tasks/{task}/predict", multipart([picture(NAMES[0], 0)]), headers=target.header())
    load, _ = closed_loop_apart(target.server.url, [request], 200 // ATTACKERS, 3.0)
    target.answers.update({int(status): count for status, count in load.statuses.items()})


def page_of_another_origin(target: Target, task: str) -> None:
    """What a web page elsewhere can make a browser send."""
    foreign = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    form = multipart([picture(name, 0) for name in NAMES], NAMES)
    target.send("POST", "/tasks", form, FORM, **foreign)
    target.send("GET", "/tasks", b"", "text/plain", Host="rebound.example:8000")
    target.send("DELETE", f"/tasks/{task}0", b"", "text/plain", **foreign)


@functools.cache
def pictures_to_refuse() -> list[bytes]:
    """Hostile files, and large pictures of unusual kinds."""
    rng = np.random.default_rng(0)
    made = [file.data for file in hostile_files().values()]
    sixteen = Image.fromarray((rng.random((1700, 1700)) * 65535).astype(np.uint16))
    noise = Image.fromarray(rng.integers(0, 255, (3000, 4000, 3), dtype=np.uint8))
    for image, kind in ((sixteen, "PNG"), (noise, "JPEG"), (noise, "WEBP"), (noise, "TIFF")):
        with io.BytesIO() as buffer:
            image.save(buffer, kind)
            made.append(buffer.getvalue())
    return made


def hostile_pictures(target: Target, task: str) -> None:
    """Files that are no pictures, or pictures of the costly kinds."""
    for data in pictures_to_refuse():
        if len(data) < 2**24:
            target.send("POST", f"/tasks/{task}/predict", multipart([data]), FORM)


def hostile_text(target: Target, task: str) -> None:
    """Labels and names that look like others, hide, or command terminals."""
    images = [picture(name, 0) for name in NAMES]
    for label in ("\0", "\x1b[2J", "\u202eevil", "\u200d", "ring ", "e\u0301", "a" * 100_000, "\ufffe"):
        target.send("POST", "/tasks", multipart(images, [label, *NAMES[1:]], {"name": label}), FORM)
        target.send("PATCH", f"/tasks/{task}", json.dumps({"name": label}).encode(), "application/json")
        target.send("POST", f"/tasks/{task}/support", multipart(images[:1], [label]), FORM)


def wrong_bodies(target: Target, task: str) -> None:
    """Bodies that are not what their headers say, or nest without end."""
    one = base64.b64encode(picture(NAMES[0], 0)).decode()
    for content, content_type in (
        (b"[" * 1_000_000, "application/json"),
        (json.dumps({"images": [f"data:image/png;base64,{one}"] * 100}).encode(), "application/json"),
        (json.dumps({"images": ["!" * 10_000_000]}).encode(), "application/json"),
        (b"\x1f\x8b" + b"\0" * 1_000_000, "application/json"),
        (b"--x\r\n" + b"Content-Disposition: form-data; name=images\r\n\r\nx\r\n--x--\r\n", "multipart/form-data"),
        (b"--x\r\n" * 200_000, "multipart/form-data; boundary=x"),
        (b"\xef\xbb\xbf{}", "application/json"),
        (b"", ""),
    ):
        target.send("POST", f"/tasks/{task}/predict", content, content_type)


def removed_keys(target: Target, _: str) -> None:
    """Take a key out of the file and put it back, with a reload after each change."""
    target.write_keys("polite", "hostile")
    target.server.send(signal.SIGHUP)
    time.sleep(1)
    target.write_keys(*target.stored)
    target.server.send(signal.SIGHUP)
    time.sleep(1)


def reloads_and_deaths(target: Target, _: str) -> None:
    """Kill a worker, and reload twice while the next one starts."""
    with contextlib.suppress(ProcessLookupError, IndexError):
        os.kill(random.Random(0).choice(worker_ids(target.server)), signal.SIGKILL)
    for _ in range(2):
        target.server.send(signal.SIGHUP)
        time.sleep(0.2)
    wait_until_whole(target)


def keys_file_that_cannot_be_read(target: Target, _: str) -> None:
    """Break the key file, kill a worker, and mend the file a moment later."""
    target.keys_file.write_text("{")
    with contextlib.suppress(ProcessLookupError, IndexError):
        os.kill(worker_ids(target.server)[0], signal.SIGKILL)
    time.sleep(2)
    target.write_keys(*target.stored)
    wait_until_whole(target)


def wait_until_whole(target: Target) -> None:
    """Wait until all workers serve."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{target.server.url}/readyz", timeout=5).json().get("workers_ready") == WORKERS:
                return
        time.sleep(0.1)
    raise RuntimeError("a worker did not come back within a minute")


#: Each with the number of callers that make it at once.
ATTACKS: dict[Callable[[Target, str], None], int] = {
    leave_half_way: ATTACKERS,
    leave_large_creations: ATTACKERS,
    import_nonsense: 1,
    ask_for_long_answers: ATTACKERS,
    trickle: ATTACKERS,
    endless_header: 1,
    flood_of_lists: ATTACKERS,
    greed: ATTACKERS,
    page_of_another_origin: ATTACKERS,
    hostile_pictures: ATTACKERS,
    hostile_text: ATTACKERS,
    wrong_bodies: ATTACKERS,
    removed_keys: 1,
    reloads_and_deaths: 1,
    keys_file_that_cannot_be_read: 1,
}
