"""A task's head as a safetensors file, to take away and to bring back."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter
from safetensors import SafetensorError
from safetensors.numpy import load, save

from app.inference.work import Head
from app.problems import Problem
from app.store import TaskRecord
from app.tasks.options import AdaptationReport

MOST_NAME_CHARACTERS = 100  # of a model, which an answer may repeat
MOST_NUMBER = 1e6  # in codes and heads; with far larger ones probabilities would be no numbers
AS_EXPORTED = "send what GET /tasks/{id}/parameters or GET /tasks/{id}/export.zip gave, unchanged"
SCORE: TypeAdapter[float | None] = TypeAdapter(Annotated[float, Field(ge=-MOST_NUMBER, le=MOST_NUMBER)] | None)
NUMBERS: TypeAdapter[list[int] | None] = TypeAdapter(list[Annotated[int, Field(ge=0, lt=2**53)]] | None)
COHESION: TypeAdapter[float | None] = TypeAdapter(Annotated[float, Field(ge=-1, le=1)] | None)
# How other files begin that people send instead.
OTHER_FILES = {
    b"\x08": "an ONNX graph, which holds no task that could be asked again",
    b"{": "JSON",
    b"\x80": "a pickle of Python",
    b"PK": "an empty or incomplete zip",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"<": "a web page or XML",
}


@dataclass(frozen=True)
class ExportedHead:
    """What the file holds: `weight` [N,F], `bias` [N], and the `codes` [N,L] they were decoded from.

    And codes of the task's `negatives` [M,L], if it has any, and `negative_numbers` [M+1] if one was ever removed.
    `weight` and `bias` are None where the codes stand alone.
    """

    weight: NDArray[np.float32] | None
    bias: NDArray[np.float32] | None
    codes: NDArray[np.float32]
    negatives: NDArray[np.float32] | None
    negative_numbers: list[int] | None
    labels: list[str]
    shots: list[int]
    adaptation: dict[str, Any]
    cohesion: float | None
    own_score: float | None
    model: str
    model_version: str


def write(record: TaskRecord, head: Head | None) -> bytes:
    """The file of a task's head, of which the rows of its negatives are left out: their codes are there.

    Without a head, which only the model that the task was made with can decode, the file holds the codes alone.
    """
    described = {
        "task_id": record.task_id,
        "model": record.model,
        "model_version": record.model_version,
        "labels": json.dumps(record.labels),
        "shots": json.dumps(list(record.shots.values())),
        "adaptation": json.dumps(record.adaptation),
    }
    for name in ("cohesion", "own_score", "negative_numbers"):
        if (value := getattr(record, name)) is not None:
            described[name] = json.dumps(value)
    ways = len(record.codes)
    tensors = {"codes": record.codes}
    if head is not None:
        tensors |= {"fc.weight": head.weight[:ways], "fc.bias": head.bias[:ways]}
    if record.negatives is not None:
        tensors["negatives"] = record.negatives
    return save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, metadata=described)


def read(data: bytes, max_header_bytes: int, *, codes_alone: bool = False) -> ExportedHead:
    """Read what `write` made, with a head or, if `codes_alone`, without one.

    Raises `Problem` 422 saying what is wrong with the file; what a task may hold is checked elsewhere.
    """
    if not data:
        raise Problem(422, f"the body is empty: {AS_EXPORTED}")
    header_bytes = int.from_bytes(data[:8], "little")
    if header_bytes > max_header_bytes:
        if data[8:9] == b"{":
            reason = f"its header has {header_bytes} bytes, and no head's has over {max_header_bytes}"
        else:
            other = next((kind for beginning, kind in OTHER_FILES.items() if data.startswith(beginning)), None)
            reason = f"it looks like {other or 'a file of another kind'}"
        raise Problem(422, f"the body is not a safetensors file of a head: {reason}; {AS_EXPORTED}")
    try:
        # safetensors' numpy reader drops the metadata; its place in the file is part of the format.
        described = json.loads(data[8 : 8 + header_bytes]).get("__metadata__", {})
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Problem(422, f"the body is not a safetensors file ({type(error).__name__}): {AS_EXPORTED}") from None
    if not isinstance(described, dict):
        raise Problem(422, f"the file has no metadata: {AS_EXPORTED}")
    try:
        head = ExportedHead(
            weight=None if codes_alone else tensors["fc.weight"],
            bias=None if codes_alone else tensors["fc.bias"],
            codes=tensors["codes"],
            negatives=tensors.get("negatives"),
            negative_numbers=NUMBERS.validate_json(described.get("negative_numbers", "null")),
            labels=json.loads(described["labels"]),
            shots=json.loads(described["shots"]),
            adaptation=AdaptationReport.model_validate_json(described["adaptation"]).model_dump(),
            cohesion=COHESION.validate_json(described.get("cohesion", "null")),
            own_score=SCORE.validate_json(described.get("own_score", "null")),
            model=str(described["model"])[:MOST_NAME_CHARACTERS],
            model_version=str(described["model_version"])[:MOST_NAME_CHARACTERS],
        )
    except KeyError as error:
        raise Problem(422, f"the file lacks {error.args[0]}: {AS_EXPORTED}") from None
    except (ValueError, TypeError, RecursionError):
        raise Problem(
            422,
            "the file's labels, shots, adaptation, cohesion, own_score or negative_numbers are not what this service "
            "writes",
        ) from None
    _check(head)
    return head


def _check(head: ExportedHead) -> None:
    ways = len(head.labels) if isinstance(head.labels, list) else 0
    shots_are_counts = isinstance(head.shots, list) and all(
        isinstance(count, int) and not isinstance(count, bool) and 1 <= count < 10**6 for count in head.shots
    )
    if not ways or not all(isinstance(label, str) for label in head.labels) or not shots_are_counts:
        raise Problem(422, "the file's labels or shots are not what this service writes")
    if len(set(head.labels)) < ways or len(head.shots) != ways:
        raise Problem(422, "the file's labels must differ and have one shot count each")
    of_head = {"fc.weight": (head.weight, 2), "fc.bias": (head.bias, 1), "codes": (head.codes, 2)}
    tensors = {name: (tensor, dimensions) for name, (tensor, dimensions) in of_head.items() if tensor is not None}
    for name, (tensor, dimensions) in tensors.items():
        if tensor.dtype != np.float32 or tensor.ndim != dimensions or len(tensor) != ways:
            raise Problem(422, f"{name} is {tensor.dtype} {list(tensor.shape)}, not float32 with {ways} rows")
    negatives = head.negatives
    if negatives is not None and (negatives.dtype != np.float32 or negatives.ndim != 2 or not len(negatives)):
        raise Problem(422, f"negatives is {negatives.dtype} {list(negatives.shape)}, not float32 with rows")
    numbers, count = head.negative_numbers, 0 if negatives is None else len(negatives)
    if numbers is not None and (len(numbers) != count + 1 or sorted(set(numbers)) != numbers):
        raise Problem(422, f"negative_numbers must be {count + 1} numbers that grow, the last one of none")
    every = {name: tensor for name, (tensor, _) in tensors.items()}
    if negatives is not None:
        every["negatives"] = negatives
    for name, tensor in every.items():
        if not (np.abs(tensor) <= MOST_NUMBER).all():  # which no number that is not finite is, either
            raise Problem(422, f"{name} holds numbers that are not finite, or larger than any model makes")
