"""Where Ray's HTTP proxies send a request. They import this module, so it loads nothing heavy."""

import pickle
from typing import Any

from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter
from ray.serve.request_router import PendingRequest, RunningReplica

from app.on_ray.affinity import Candidate, Places, task_of

MOST_TRIED = 3


class TaskRouter(ConsistentHashRouter):
    """A task's calls to its own replica, or to the next of two others while that one is full; all else anywhere.

    What is Ray's own here: that a request waits for one of its replicas; not which ones these are.
    """

    def _rebuild_ring(self, new_snapshot: frozenset[Any]) -> None:
        self._ids = {replica_id.unique_id: replica_id for replica_id in new_snapshot}
        self._places = Places(
            Candidate(name, **self._replicas[replica_id].replica_metadata) for name, replica_id in self._ids.items()
        )
        self._replica_set_snapshot = new_snapshot

    def _lookup_ranked_replicas(self, routing_key: str) -> list[Any]:
        return [self._ids[name] for name in self._places.ranked(routing_key, MOST_TRIED)]

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Ray looks up a session's id, which here is the task's, whatever header a client has sent."""
        if pending_request is not None:
            # What Ray's HTTP proxy sends to a replica: the request without its body.
            path = pickle.loads(pending_request.args[0]).asgi_scope["path"]  # noqa: S301  # nosec B301
            pending_request.metadata.session_id = task_of(path) or ""
        ranked: list[list[RunningReplica]] = await super().choose_replicas(candidate_replicas, pending_request)
        return ranked
