"""A typed Python client of the service, sync and async. Of the dependencies it needs httpx only.

    with Client("http://127.0.0.1:8000") as leo:
        task = leo.create({"alpha": [Path("alpha.png")], "beta": [Path("beta.png")]})
        print(leo.predict(task.task_id, [Path("what.png")])[0].label)

An image is a `pathlib.Path`, the `bytes` of a file, a file opened as binary, a `PIL.Image` or a numpy array.
"""

from leo_client.answers import Prediction, Score, Task, TaskPage
from leo_client.clients import AsyncClient, Client
from leo_client.errors import BadSettings, LeoError, ProblemError, Unreachable
from leo_client.images import Image

__all__ = [
    "AsyncClient",
    "BadSettings",
    "Client",
    "Image",
    "LeoError",
    "Prediction",
    "ProblemError",
    "Score",
    "Task",
    "TaskPage",
    "Unreachable",
]
