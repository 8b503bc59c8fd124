"""Each call of the service as a value: what to send, what the answer means, whether it may be sent twice."""

import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from app.client.answers import Prediction, Task, TaskPage
from app.client.errors import ProblemError
from app.client.images import Examples, Image, encoded, support

Answer = TypeVar("Answer")

BUSY = (429, 502, 503, 504)  # worth asking again


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One request; `again` says that sending it twice does what sending it once does."""

    method: str
    path: str
    read: Callable[[httpx.Response], Answer]
    again: bool = True
    params: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] | None = None
    files: list[tuple[str, tuple[str, bytes]]] | None = None
    json: dict[str, Any] | None = None
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def request(self) -> dict[str, Any]:
        """Keyword arguments of `httpx.Client.request`."""
        sent = {name: getattr(self, name) for name in ("data", "files", "json", "content", "headers")}
        return {
            "method": self.method,
            "url": self.path,
            "params": {key: value for key, value in self.params.items() if value is not None},
            **{key: value for key, value in sent.items() if value is not None},
        }

    def wait(self, tried: int, response: httpx.Response | None) -> float | None:
        """Seconds until this may be sent again after `tried` tries; None if it is not to be."""
        if not self.again or (response is not None and response.status_code not in BUSY):
            return None
        asked = response.headers.get("retry-after", "") if response is not None else ""
        if asked.isdigit():
            return min(float(asked), 30.0)
        return min(0.1 * 2.0**tried, 5.0) * random.uniform(0.5, 1)  # noqa: S311  # nosec B311

    def answer(self, response: httpx.Response) -> Answer:
        """Raises `ProblemError`."""
        if response.is_error:
            raise ProblemError.of(response)
        return self.read(response)


def create(
    examples: Examples,
    name: str | None,
    ttl_seconds: int | None,
    model: str | None,
    keep_support: bool,
    idempotency_key: str | None,
) -> Call[Task]:
    labels, files = support(examples)
    options = {"name": name, "ttl_seconds": ttl_seconds, "model": model} | (
        {} if keep_support else {"keep_support": "0"}
    )
    return Call(
        "POST",
        "/tasks",
        _task,
        data={"labels": labels} | {key: str(value) for key, value in options.items() if value is not None},
        files=_files(files),
        # The same on every try, so that however often it arrives one task is made.
        headers={"Idempotency-Key": idempotency_key or uuid.uuid4().hex},
    )


def predict(
    task_id: str, images: Sequence[Image], top_k: int | None, threshold: float | None
) -> Call[list[Prediction]]:
    def read(response: httpx.Response) -> list[Prediction]:
        return [Prediction.of(said) for said in response.json()["predictions"]]

    params = {"top_k": top_k, "threshold": threshold}
    files = _files([encoded(image) for image in images])
    return Call("POST", f"{_at(task_id)}/predict", read, params=params, files=files)


def get(task_id: str) -> Call[Task]:
    return Call("GET", _at(task_id), _task)


def page(limit: int | None, cursor: str | None, filters: dict[str, str | None]) -> Call[TaskPage]:
    def read(response: httpx.Response) -> TaskPage:
        said = response.json()
        return TaskPage([Task.of(task) for task in said["tasks"]], said["next_cursor"])

    return Call("GET", "/tasks", read, params={"limit": limit, "cursor": cursor} | filters)


def add_support(task_id: str, examples: Examples) -> Call[Task]:
    labels, files = support(examples)
    # Not again: the first may have arrived, and the second would add the same examples once more.
    return Call("POST", f"{_at(task_id)}/support", _task, again=False, data={"labels": labels}, files=_files(files))


def update(task_id: str, changes: dict[str, Any]) -> Call[Task]:
    return Call("PATCH", _at(task_id), _task, json=changes)


def import_head(data: bytes, name: str | None, ttl_seconds: int | None) -> Call[Task]:
    params = {"name": name, "ttl_seconds": ttl_seconds}
    headers = {"Content-Type": "application/octet-stream"}
    return Call("POST", "/tasks/import", _task, again=False, params=params, content=data, headers=headers)


def delete(task_id: str) -> Call[None]:
    return Call("DELETE", _at(task_id), lambda _: None)


def parameters(task_id: str) -> Call[bytes]:
    return Call("GET", f"{_at(task_id)}/parameters", lambda response: response.content)


def onnx(task_id: str) -> Call[bytes]:
    return Call("GET", f"{_at(task_id)}/export.onnx", lambda response: response.content)


def models() -> Call[list[dict[str, Any]]]:
    def read(response: httpx.Response) -> list[dict[str, Any]]:
        return list(response.json()["models"])

    return Call("GET", "/models", read)


def _at(task_id: str) -> str:
    return f"/tasks/{quote(task_id, safe='')}"


def _task(response: httpx.Response) -> Task:
    return Task.of(response.json())


def _files(images: list[bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", (f"{index}", image)) for index, image in enumerate(images)]
