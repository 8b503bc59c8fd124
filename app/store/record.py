"""Packs a task into bytes, the same in every store: one line of JSON, then the codes."""

import json
from dataclasses import fields

import numpy as np

from app.store import StoreUnavailable, TaskRecord

SCHEMA = 1  # version of the format; raise it with every change that older programs cannot read
JSON_FIELDS = [field.name for field in fields(TaskRecord) if field.name != "codes"]


def pack(record: TaskRecord) -> bytes:
    """Pack a task: the codes are float32, little-endian, [N,L]. A usual 5-way task takes under 2 KB."""
    head = {"schema": SCHEMA} | {name: getattr(record, name) for name in JSON_FIELDS}
    line = json.dumps(head, ensure_ascii=False, separators=(",", ":"))
    return line.encode() + b"\n" + record.codes.astype("<f4").tobytes()


def unpack(data: bytes) -> TaskRecord:
    """Unpack a task. Raises `StoreUnavailable` naming both versions if the record's schema is another."""
    line, _, codes = data.partition(b"\n")
    head = json.loads(line)
    if head["schema"] != SCHEMA:
        raise StoreUnavailable(
            f"task {head.get('task_id')} is a record of schema {head['schema']}, this program's is {SCHEMA}: "
            "run the same version everywhere"
        )
    per_class = np.frombuffer(codes, dtype="<f4").reshape(len(head["shots"]), -1)
    # astype makes a copy, since frombuffer's array is read-only.
    return TaskRecord(codes=per_class.astype(np.float32), **{name: head[name] for name in JSON_FIELDS if name in head})
