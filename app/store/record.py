"""A task as bytes, the same in every store: one line of JSON, then the codes."""

import json
from dataclasses import fields

import numpy as np

from app.store import StoreUnavailable, TaskRecord

SCHEMA = 1  # of the bytes below; to be raised with every change that older programs cannot read
IN_HEAD = [field.name for field in fields(TaskRecord) if field.name != "codes"]


def pack(record: TaskRecord) -> bytes:
    """Under 2 KB for a usual 5-way task: 1,280 bytes are codes, float32 little-endian, [N,L]."""
    head = {"schema": SCHEMA} | {name: getattr(record, name) for name in IN_HEAD}
    line = json.dumps(head, ensure_ascii=False, separators=(",", ":"))
    return line.encode() + b"\n" + record.codes.astype("<f4").tobytes()


def unpack(data: bytes) -> TaskRecord:
    """Raises `StoreUnavailable` for a record of another program version's schema, naming both."""
    line, _, codes = data.partition(b"\n")
    head = json.loads(line)
    if head["schema"] != SCHEMA:
        raise StoreUnavailable(
            f"task {head.get('task_id')} is a record of schema {head['schema']}, this program's is {SCHEMA}: "
            "run the same version everywhere"
        )
    per_class = np.frombuffer(codes, dtype="<f4").reshape(len(head["shots"]), -1)
    # A copy: frombuffer's array is read-only.
    return TaskRecord(codes=per_class.astype(np.float32), **{name: head[name] for name in IN_HEAD if name in head})
