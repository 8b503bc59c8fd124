"""A new user's path with curl alone: draw, create a task, ask it."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.helpers.drawn import png
from tests.helpers.tasks import FIVE

#: The right labels of `predict_with_curl`.
EXPECTED = [name for name in FIVE for _ in range(2)]


def curl(*arguments: str) -> Any:
    """Run curl and return the JSON that it got; it must succeed."""
    command = ["curl", "--silent", "--show-error", "--fail-with-body", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def write_drawings(folder: Path) -> None:
    """Write three drawings of each of five characters: NAME0.png, NAME1.png, NAME2.png."""
    for name in FIVE:
        for hand in range(3):
            (folder / f"{name}{hand}.png").write_bytes(png(name, 60 + hand))


def create_with_curl(url: str, folder: Path) -> Any:
    """Create a task from the first drawing of each character."""
    support = [
        argument for name in FIVE for argument in ("-F", f"images=@{folder}/{name}0.png", "-F", f"labels={name}")
    ]
    return curl(*support, f"{url}/tasks")


def predict_with_curl(url: str, task_id: str, folder: Path) -> list[str]:
    """Return the labels that a task gives the other two drawings of each character."""
    queries = [
        argument for name in FIVE for hand in (1, 2) for argument in ("-F", f"images=@{folder}/{name}{hand}.png")
    ]
    answer = curl(*queries, f"{url}/tasks/{task_id}/predict")
    return [str(prediction["label"]) for prediction in answer["predictions"]]
