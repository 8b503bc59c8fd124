"""`Idempotency-Key`: a creation repeated under the same key is the same creation."""

import hashlib
from collections.abc import Sequence

from app.store import IdempotencyRecord
from app.tasks.options import TaskOptions


def idempotency_record(
    key: str, images: Sequence[bytes], labels: Sequence[str], options: TaskOptions
) -> IdempotencyRecord:
    """The key with a digest of what the request means, however it was encoded: a retry may choose another boundary."""
    digest = hashlib.sha256()
    for part in (*images, *(label.encode() for label in labels), options.model_dump_json().encode()):
        digest.update(len(part).to_bytes(8, "little"))  # or two parts' border could move unseen
        digest.update(part)
    return IdempotencyRecord(key, digest.digest())
