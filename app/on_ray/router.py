"""Where Ray's HTTP proxies send a request. They import this module, so it loads nothing heavy."""

import pickle

from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter
from ray.serve.request_router import PendingRequest, RunningReplica

from app.on_ray.affinity import task_of


class TaskRouter(ConsistentHashRouter):
    """A task's calls to its own replica, or to the next of two others while that one is full; all else anywhere."""

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Ray hashes a session's id, which here is the task's, whatever header a client has sent."""
        if pending_request is not None:
            # What Ray's HTTP proxy sends to a replica: the request without its body.
            path = pickle.loads(pending_request.args[0]).asgi_scope["path"]  # noqa: S301  # nosec B301
            pending_request.metadata.session_id = task_of(path) or ""
        ranked: list[list[RunningReplica]] = await super().choose_replicas(candidate_replicas, pending_request)
        return ranked
