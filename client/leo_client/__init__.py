"""A typed Python client of the service, sync and async. Of the dependencies it needs httpx only.

    with Client("http://127.0.0.1:8000") as leo:
        task = leo.create({"alpha": ["alpha.png"], "beta": ["beta.png"]})
        print(leo.predict(task.task_id, "what.png")[0].label)

An image is the path of a file, its `bytes`, a file opened as binary, a `PIL.Image` or a numpy array.
"""

from leo_client.answers import (
    Accuracy,
    Adaptation,
    ClassAnswers,
    ClassQuality,
    Confusion,
    Evaluation,
    Example,
    JudgedAnswers,
    Limits,
    Model,
    NearDuplicate,
    Prediction,
    Quality,
    Score,
    Suspect,
    Task,
    TaskPage,
    WrongAnswer,
)
from leo_client.calls import NOT_GIVEN, NotGiven
from leo_client.clients import AsyncClient, Client
from leo_client.errors import (
    BadRequest,
    BadSettings,
    Conflict,
    Forbidden,
    LeoError,
    NotFound,
    PreconditionFailed,
    ProblemError,
    ServerError,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unprocessable,
    Unreachable,
)
from leo_client.images import Image
from leo_client.version import __version__

__all__ = [
    "NOT_GIVEN",
    "Accuracy",
    "Adaptation",
    "AsyncClient",
    "BadRequest",
    "BadSettings",
    "ClassAnswers",
    "ClassQuality",
    "Client",
    "Conflict",
    "Confusion",
    "Evaluation",
    "Example",
    "Forbidden",
    "Image",
    "JudgedAnswers",
    "LeoError",
    "Limits",
    "Model",
    "NearDuplicate",
    "NotFound",
    "NotGiven",
    "PreconditionFailed",
    "Prediction",
    "ProblemError",
    "Quality",
    "Score",
    "ServerError",
    "Suspect",
    "Task",
    "TaskPage",
    "TooLarge",
    "TooManyRequests",
    "Unauthorized",
    "Unprocessable",
    "Unreachable",
    "WrongAnswer",
    "__version__",
]
