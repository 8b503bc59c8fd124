"""What may go wrong with a task store: it is away, a record cannot be read, or a write is refused."""


class StoreUnavailable(Exception):
    """The store cannot be reached or used right now."""


class StoreLost(StoreUnavailable):
    """The store cannot be used until a person does something about it; the message says what."""


class UnreadableRecord(Exception):
    """One stored task cannot be read; all others can. The message says why."""


class RecordOfOtherVersion(UnreadableRecord):
    """Another version of this program wrote it."""


class DamagedRecord(UnreadableRecord):
    """Its bytes are not what was written."""


class IdempotencyConflict(Exception):
    """The same Idempotency-Key was used for a different request before."""


class TooManyTasks(Exception):
    """The owner already has the most live tasks that its key allows."""


class TooManyPictures(Exception):
    """The owner's pictures would take more bytes than are allowed together."""
