"""A whole task as a zip, to take away and to bring back: what it knows of its examples, and pictures if it keeps them.

manifest.json          what is in the zip, and what the task is, to be read by people and programs
head.safetensors       the head, as `app.tasks.head_file` writes it, or the codes alone
examples.safetensors   features of the examples, if they are kept
pictures/CLASS/N.png   the pictures, or N.jpg, if they are kept
"""

import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from app.inference.work import Head
from app.problems import Problem, describe_validation_errors
from app.settings import Settings
from app.store import TaskRecord
from app.store.errors import DamagedRecord
from app.tasks import head_file
from app.tasks.examples import Examples, unpack
from app.tasks.head_file import ExportedHead
from app.tasks.limits import most_header_bytes
from app.tasks.zip_files import open_zip, read_files
from model.config import LEOConfig
from model.data.sources import File
from model.data.unicode import compose

VERSION = 1  # of the format; raise it with every change that older programs cannot read
MANIFEST, HEAD, EXAMPLES = "manifest.json", "head.safetensors", "examples.safetensors"
AS_EXPORTED = "send what GET /tasks/{id}/export.zip gave, unchanged"
OLDEST_DATE = (1980, 1, 1, 0, 0, 0)  # of every file, so that the same task makes the same zip


class ManifestExample(BaseModel):
    """An example, and where its picture is."""

    index: int = Field(ge=0, lt=2**53)
    label: str
    image: str | None = None


class Manifest(BaseModel):
    """What `manifest.json` must hold; it may hold more."""

    format: Literal["leo-task"]
    version: int
    has_head: bool = True  # False where the model was not loaded when the task was exported: its codes stand alone
    name: str | None
    model: str
    model_version: str
    labels: list[str]
    keep_images: bool
    judged: int = Field(0, ge=0, lt=2**53)
    judged_right: int = Field(0, ge=0, lt=2**53)
    examples: list[ManifestExample]


@dataclass(frozen=True)
class WholeTask:
    """A task that was read from a zip; `examples` are not checked yet."""

    manifest: Manifest
    head: ExportedHead
    examples: bytes | None
    pictures: list[bytes]  # of all examples, in their order; empty unless each has one

    @property
    def labels(self) -> list[str]:
        """The label of each example."""
        return [example.label for example in self.manifest.examples]


def write(record: TaskRecord, head: Head | None, payload: bytes | None, pictures: Mapping[int, bytes]) -> bytes:
    """The zip of a task: its head, the stored examples, and pictures by the examples' numbers.

    `head` is None where the model that the task was made with is not loaded. The manifest then says so.
    """
    examples = unpack(payload, record) if payload is not None else None
    listed: list[dict[str, Any]] = []
    files = {HEAD: head_file.write(record, head)} | ({EXAMPLES: payload} if payload is not None else {})
    if examples is not None:
        for index, number in zip(examples.numbers.tolist(), examples.support.labels.tolist(), strict=True):
            picture = pictures.get(index)
            name = None if picture is None else _picture_name(index, number, record.labels[number], picture)
            if name is not None and picture is not None:
                files[name] = picture
            listed.append({"index": index, "label": record.labels[number], "image": name})
    manifest = {
        "format": "leo-task",
        "version": VERSION,
        "has_head": head is not None,
        "note": None if head else _note_on_codes(record),
        "name": record.name,
        "model": record.model,
        "model_version": record.model_version,
        "created_at": record.created_at,
        "labels": record.labels,
        "shots": list(record.shots.values()),
        "keep_images": record.keep_images,
        "judged": record.judged,
        "judged_right": record.judged_right,
        "negatives": record.negative_count,
        "examples": listed,
        "adaptation": record.adaptation,
        "quality": record.quality,
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        every = {MANIFEST: json.dumps(manifest, indent=1, ensure_ascii=False).encode()} | files
        for name, data in every.items():
            archive.writestr(zipfile.ZipInfo(name, OLDEST_DATE), data)
    return buffer.getvalue()


def _note_on_codes(record: TaskRecord) -> str:
    """What a reader of the manifest must know of a task whose model was not loaded."""
    remedy = "makes it anew from its pictures" if record.keep_images else "needs that version, since it has no pictures"
    return (
        f"codes and features are of {record.model} {record.model_version}, which was not loaded when the task was "
        f"exported, so the head could not be decoded; importing the task {remedy}"
    )


def _picture_name(index: int, number: int, label: str, picture: bytes) -> str:
    """Where a picture lies in the zip. Folders have numbers, since labels may hold what names of files may not."""
    spelled = re.sub(r"[^\w-]+", "_", compose(label))[:50]
    suffix = "png" if picture.startswith(b"\x89PNG") else "jpg"
    return f"pictures/{number:03d}-{spelled}/{index}.{suffix}"


def read(data: bytes, settings: Settings) -> WholeTask:
    """Read a zip that `write` made. Raises `Problem` 413, or 422 saying what is wrong with it.

    What a task may hold is checked elsewhere, and so are the examples and the pictures themselves.
    """
    with open_zip(data, settings) as source:
        return _read({file.name: file for file in source.files}, settings)


def _read(files: dict[str, File], settings: Settings) -> WholeTask:
    for name in (MANIFEST, HEAD):
        if name not in files:
            raise Problem(422, f"the zip has no {name}, so it is no exported task: {AS_EXPORTED}")
    most = most_header_bytes(settings) + settings.max_images * (14 * settings.max_label_length + 500)
    if files[MANIFEST].source.size_of(files[MANIFEST]) > most:
        raise Problem(422, f"{MANIFEST} is over {most} bytes: {AS_EXPORTED}")
    manifest = _manifest(read_files([files[MANIFEST]], settings)[0], settings)
    if manifest.examples and EXAMPLES not in files:
        raise Problem(422, f"the zip has no {EXAMPLES}, although {MANIFEST} lists examples: {AS_EXPORTED}")
    images = [example.image for example in manifest.examples]
    missing = next((name for name in images if name is not None and name not in files), None)
    if missing is not None:
        raise Problem(422, f"the zip has no {missing[:200]!r}, which {MANIFEST} names: {AS_EXPORTED}")
    named = [name for name in images if name is not None]
    names = [HEAD, *([EXAMPLES] if EXAMPLES in files else []), *(named if len(named) == len(images) else [])]
    found = read_files([files[name] for name in names], settings)
    head = head_file.read(found[0], most_header_bytes(settings), codes_alone=not manifest.has_head)
    if head.labels != manifest.labels or (head.model_version != manifest.model_version):
        raise Problem(422, f"{MANIFEST} and {HEAD} are of different tasks: {AS_EXPORTED}")
    has_examples = EXAMPLES in files
    return WholeTask(manifest, head, found[1] if has_examples else None, found[1 + has_examples :])


def _manifest(data: bytes, settings: Settings) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        described = describe_validation_errors(error.errors(include_url=False, include_input=False)[:5])
        raise Problem(422, f"{MANIFEST} is not what this service writes: {described}") from None
    if manifest.judged_right > manifest.judged:
        raise Problem(422, f"{MANIFEST} counts more right answers than judged ones: {AS_EXPORTED}")
    if manifest.version != VERSION:
        raise Problem(422, f"the zip is of format version {manifest.version}, and this service reads {VERSION}")
    if len(manifest.examples) > settings.max_images:
        raise Problem(422, f"{len(manifest.examples)} examples, but a task may have {settings.max_images}")
    return manifest


def read_examples(whole: WholeTask, record: TaskRecord, config: LEOConfig) -> Examples | None:
    """The examples of a zip, for the task that is made of it. Raises `Problem` 422 if they do not fit."""
    if whole.examples is None:
        return None
    try:
        examples = unpack(whole.examples, record)
    except DamagedRecord:
        raise Problem(422, f"{EXAMPLES} is damaged, or is another task's: {AS_EXPORTED}") from None
    support, shape = examples.support, (len(examples), *config.example_shape)
    tensors = [support.features, *([] if support.encoder_features is None else [support.encoder_features])]
    fits = len(tensors) == 1 + config.own_encoder
    if not fits or any(each.dtype != np.float16 or each.shape != shape for each in tensors):
        raise Problem(422, f"{EXAMPLES} must hold float16 features {list(shape)}: {AS_EXPORTED}")
    listed = [(example.index, example.label) for example in whole.manifest.examples]
    if listed != list(zip(examples.numbers.tolist(), examples.labels(whole.manifest.labels), strict=True)):
        raise Problem(422, f"{MANIFEST} and {EXAMPLES} list different examples: {AS_EXPORTED}")
    if not all(np.isfinite(each).all() for each in tensors):
        raise Problem(422, f"{EXAMPLES} holds numbers that are not finite: {AS_EXPORTED}")
    return examples
