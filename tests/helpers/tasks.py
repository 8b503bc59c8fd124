"""Create tasks of drawings and ask them, over HTTP."""

from collections.abc import Sequence
from typing import Any

import httpx

from tests.helpers.drawn import CHARACTERS, png

#: Names of five characters, the classes of most tasks in these tests.
FIVE = list(CHARACTERS)[:5]
#: Those of five others.
OTHERS = list(CHARACTERS)[5:]


def files(images: Sequence[bytes]) -> list[tuple[str, tuple[str, bytes, str]]]:
    """Images as the parts of a multipart form."""
    return [("images", (f"{n}.png", data, "image/png")) for n, data in enumerate(images)]


def create(client: httpx.Client, names: Sequence[str] = FIVE, shots: int = 1, **options: Any) -> httpx.Response:
    """Create a task with `shots` drawings of each character."""
    pairs = [(name, png(name, seed)) for name in names for seed in range(shots)]
    return create_from(client, pairs, **options)


def create_from(client: httpx.Client, pairs: Sequence[tuple[str, bytes]], **options: Any) -> httpx.Response:
    """Create a task from pairs of label and image."""
    data = {"labels": [label for label, _ in pairs], **options}
    return client.post("/tasks", data=data, files=files([image for _, image in pairs]))


def add(client: httpx.Client, task_id: str, pairs: Sequence[tuple[str, bytes]]) -> httpx.Response:
    """Add pairs of label and image to a task's support set."""
    data = {"labels": [label for label, _ in pairs]}
    return client.post(f"/tasks/{task_id}/support", data=data, files=files([image for _, image in pairs]))


def predict(client: httpx.Client, task_id: str, images: Sequence[bytes], **params: Any) -> Any:
    """Return a task's predictions for images; the request must succeed."""
    response = client.post(f"/tasks/{task_id}/predict", files=files(images), params=params)
    assert response.status_code == 200, response.text
    return response.json()["predictions"]
