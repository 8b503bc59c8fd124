"""Digests of requests with an `Idempotency-Key`, by which a repeated request is recognised."""

import hashlib
from collections.abc import Sequence

from app.store import IdempotencyRecord
from app.tasks.options import TaskOptions


def idempotency_record(
    key: str, images: Sequence[bytes], labels: Sequence[str], options: TaskOptions, negatives: Sequence[bytes] = ()
) -> IdempotencyRecord:
    """The key and a digest of the request's content, so that a retry may encode it with another multipart boundary."""
    new = set() if options.keep_images else {"keep_images"}  # which earlier versions did not have
    digest = hashlib.sha256()
    described = options.model_dump_json(exclude=new).encode()
    for part in (*images, *(label.encode() for label in labels), described, *negatives):
        digest.update(
            len(part).to_bytes(8, "little")
        )  # so that two requests that only split their bytes differently do not get the same digest
        digest.update(part)
    return IdempotencyRecord(key, digest.digest())
