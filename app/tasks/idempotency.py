"""Digests of requests with an `Idempotency-Key`, by which a repeated request is recognised."""

import hashlib
from collections.abc import Iterable, Sequence

from app.store import IdempotencyRecord
from app.tasks.options import TaskOptions


def record_of_creation(
    key: str, images: Sequence[bytes], labels: Sequence[str], options: TaskOptions, negatives: Sequence[bytes] = ()
) -> IdempotencyRecord:
    """The key and a digest of the request's content, so that a retry may encode it with another multipart boundary."""
    new = set() if options.keep_images else {"keep_images"}  # which earlier versions did not have
    as_json = options.model_dump_json(exclude=new).encode()
    return IdempotencyRecord(key, _digest((*images, *(label.encode() for label in labels), as_json, *negatives)))


def record_of_call(key: str, call: str, *content: str | bytes) -> IdempotencyRecord:
    """The key and a digest of what another call than a creation does: its name, the task's id and what was sent."""
    parts = (part.encode() if isinstance(part, str) else part for part in (call, *content))
    return IdempotencyRecord(key, _digest(parts))


def _digest(parts: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        # With their lengths, so that requests that only split their bytes differently have other digests.
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()
