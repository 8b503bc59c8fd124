"""The server that hostile callers meet: two workers, keys, and event loops that are timed."""

import socket
from collections import Counter
from pathlib import Path

import httpx

from app.cli.load import FORM, multipart
from app.http.keys import Key, KeyFile, new_key, write_keys
from bench.requests import NAMES, picture
from tests.helpers.server import Server

WORKERS = 2


class Target:
    """A server with two keys, one of polite clients and one of the hostile ones, and a task of each."""

    def __init__(self, folder: Path) -> None:
        made = {name: new_key(name, name, ["read", "write", "metrics"]) for name in ("polite", "hostile", "removed")}
        self.stored: dict[str, Key] = {name: stored for name, (stored, _) in made.items()}
        self.keys = {name: presented for name, (_, presented) in made.items()}
        self.keys_file, self.delays = folder / "keys.json", folder / "delays"
        self.write_keys(*self.stored)
        self.server = Server(
            folder / "data",
            module="tests.helpers.heartbeat",
            LEO_WORKERS=str(WORKERS),
            LEO_KEYS_FILE=str(self.keys_file),
            LEO_LOG_FORMAT="json",
            LEO_TEST_DELAYS=str(self.delays),
        )
        self.answers: Counter[int] = Counter()  # statuses that the hostile callers saw; 0: no answer

    def write_keys(self, *names: str) -> None:
        """Let the key file hold these keys only."""
        write_keys(self.keys_file, KeyFile(keys=[self.stored[name] for name in names]))

    def header(self, owner: str = "hostile") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[owner]}"}

    def client(self, owner: str = "hostile") -> httpx.Client:
        """A client with an owner's key."""
        return httpx.Client(base_url=self.server.url, headers=self.header(owner), timeout=30)

    def created(self, owner: str) -> str:
        """The id of a new 5-way 1-shot task."""
        form = multipart([picture(name, 0) for name in NAMES], NAMES)
        with self.client(owner) as client:
            answer = client.post("/tasks", content=form, headers={"Content-Type": FORM}).raise_for_status()
        return str(answer.json()["task_id"])

    def send(self, method: str, path: str, content: bytes, content_type: str, **headers: str) -> httpx.Response | None:
        """One call over a connection of its own. Counts its status; `None` where none came."""
        try:
            with self.client() as client:
                answer = client.request(method, path, content=content, headers={"Content-Type": content_type} | headers)
        except httpx.TransportError:
            self.answers[0] += 1
            return None
        self.answers[answer.status_code] += 1
        return answer

    def connect(self, head: str, body: bytes = b"") -> socket.socket:
        """A connection over which a request has begun."""
        connection = socket.create_connection(("127.0.0.1", self.server.port), timeout=30)
        lines = [head, "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in self.header().items()), "", ""]
        connection.sendall("\r\n".join(lines).encode() + body)
        return connection
