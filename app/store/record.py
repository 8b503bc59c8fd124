"""Packs a task into bytes, the same in every store: one line of JSON, then the codes."""

import json
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import numpy as np

from app.store import StoredPage, TaskRecord
from app.store.errors import DamagedRecord, RecordOfOtherVersion, UnreadableRecord

SCHEMA = 1  # version of the format; raise it with every change that older programs cannot read
SCHEMA_WITH_NEGATIVES = 2  # whose codes follow those of the classes; only records that have negatives are of it
ARRAYS = ("codes", "negatives")
JSON_FIELDS = [field.name for field in fields(TaskRecord) if field.name not in ARRAYS]
# Fields that most tasks leave as they are; to write them would cost each task fifty bytes.
DEFAULTS = {
    name: getattr(TaskRecord, name)
    for name in ("keep_images", "judged", "judged_right", "cohesion", "own_score", "negative_numbers")
}


def pack(record: TaskRecord) -> bytes:
    """Pack a task: the codes are float32, little-endian, [N,L]. A usual 5-way task takes under 2 KB."""
    values = {name: getattr(record, name) for name in JSON_FIELDS}
    head: dict[str, Any] = {"schema": SCHEMA}
    if record.negatives is not None:
        head = {"schema": SCHEMA_WITH_NEGATIVES, "negatives": len(record.negatives)}
    head |= {name: value for name, value in values.items() if value != DEFAULTS.get(name, ...)}
    line = json.dumps(head, ensure_ascii=False, separators=(",", ":"))
    return line.encode() + b"\n" + record.all_codes.astype("<f4").tobytes()


def unpack(data: bytes, task_id: str) -> TaskRecord:
    """Unpack the task that is stored under this id.

    Raises `RecordOfOtherVersion` naming both versions, or `DamagedRecord`.
    """
    line, _, codes = data.partition(b"\n")
    try:
        head = json.loads(line)
        if head["schema"] not in (SCHEMA, SCHEMA_WITH_NEGATIVES):
            raise RecordOfOtherVersion(
                f"task {task_id} is a record of schema {head['schema']}, this program's is {SCHEMA_WITH_NEGATIVES}: "
                "run the same version everywhere"
            )
        ways, negatives = len(head["shots"]), head.get("negatives", 0)
        if type(negatives) is not int or not 0 <= negatives < 2**31:
            raise ValueError("a number of negatives that is none")
        # A copy, since frombuffer's array is read-only.
        every = np.frombuffer(codes, dtype="<f4").reshape(ways + negatives, -1).astype(np.float32)
        own = {name: head[name] for name in JSON_FIELDS if name in head}
        record = TaskRecord(codes=every[:ways], negatives=every[ways:] if negatives else None, **own)
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(task_id) from error
    if record.task_id != task_id or not np.isfinite(every).all() or len(record.numbers_of_negatives) != negatives + 1:
        raise _damaged(task_id)
    return record


def unpack_page(packed: Iterable[tuple[str, bytes]], next_cursor: str | None) -> StoredPage:
    """Unpack tasks by their ids; those that cannot be read are only named."""
    page = StoredPage([], {}, next_cursor)
    for task_id, data in packed:
        try:
            page.records.append(unpack(data, task_id))
        except UnreadableRecord as error:
            page.unreadable[task_id] = str(error)
    return page


def _damaged(task_id: str) -> DamagedRecord:
    return DamagedRecord(f"the stored record of task {task_id} is damaged: delete the task and create it again")
