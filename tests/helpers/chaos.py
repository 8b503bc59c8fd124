"""Failures that production causes. Each function causes one in a cluster and returns what it counted."""

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.helpers.cluster import Cluster
from tests.helpers.drawn import CHARACTERS, png

FIVE = list(CHARACTERS)[:5]
SUPPORT = [("images", (name, png(name), "image/png")) for name in FIVE]
QUERY = [("images", ("q", png("ring", 70), "image/png"))]
PATIENCE = 180.0  # seconds after which a scenario that does not move is called stuck


def create(client: httpx.Client, key: str) -> httpx.Response:
    return client.post("/tasks", data={"labels": FIVE}, files=SUPPORT, headers={"Idempotency-Key": key})


def predict(client: httpx.Client, task_id: str) -> httpx.Response:
    return client.post(f"/tasks/{task_id}/predict", files=QUERY)


def is_right(answer: httpx.Response) -> bool:
    return answer.status_code == 200 and answer.json()["predictions"][0]["label"] == "ring"


def tasks_through(cluster: Cluster, number: int) -> list[str]:
    with httpx.Client(base_url=cluster.url, timeout=60) as client:
        return [create(client, f"{time.time_ns()}-{n}").json()["task_id"] for n in range(number)]


@dataclass
class Load:
    """What threads that repeat a call have done, and how it failed."""

    done: list[Any] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def until(self, more: int) -> None:
        """Wait until so many more have been done."""
        wanted, began = len(self.done) + more, time.monotonic()
        while len(self.done) < wanted:
            if time.monotonic() - began > PATIENCE:
                raise RuntimeError(f"stuck at {len(self.done)} of {wanted}; last failures {self.failed[-3:]}")
            self.stop.wait(0.02)


def kills(cluster: Cluster, number: int, clients: int = 4) -> dict[str, int]:
    """SIGKILL replicas and Redis in turn while tasks are created; then predict with every acknowledged one.

    A client whose creation fails sends it again under the same Idempotency-Key, as the API asks.
    """
    load, sent = Load(), 0

    def creating(client_number: int) -> None:
        nonlocal sent
        with httpx.Client(base_url=cluster.url, timeout=60) as client:
            creation = 0
            while not load.stop.is_set():
                key = f"{time.time_ns()}-{client_number}-{creation}"
                while not load.stop.is_set():
                    sent += 1
                    try:
                        response = create(client, key)
                    except httpx.TransportError as error:
                        load.failed.append(repr(error))
                        continue
                    if response.status_code == 201:
                        load.done.append(response.json()["task_id"])
                        break
                    load.failed.append(f"{response.status_code} {response.text}")
                    load.stop.wait(0.05)
                creation += 1

    with ThreadPoolExecutor(clients) as pool:
        working = [pool.submit(creating, n) for n in range(clients)]
        try:
            load.until(10)
            for kill in range(number):
                if kill % 4 == 1:
                    cluster.redis.kill()
                    load.stop.wait(0.3)
                    cluster.redis.start()
                else:
                    victim = cluster.replicas[kill % 3]
                    victim.stop(signal.SIGKILL)
                    load.until(5)  # the others go on
                    victim.start()
                load.until(5)
        finally:
            load.stop.set()
        for one in working:
            one.result()
    with httpx.Client(base_url=cluster.url, timeout=60) as client:
        lost = sum(not is_right(predict(client, task_id)) for task_id in load.done)
    return {
        "kills": number,
        "creations_sent": sent,
        "refused_or_broken_and_sent_again": len(load.failed),
        "acknowledged": len(load.done),
        "distinct": len(set(load.done)),
        "lost": lost,
    }


def pause(cluster: Cluster, seconds: float) -> dict[str, Any]:
    """Pause Redis (SIGSTOP): cached tasks go on and creations are refused. Then let it go on (SIGCONT)."""
    warm = tasks_through(cluster, 6)
    counts: dict[str, Any] = {"seconds": seconds, "warm_right": 0, "warm_failed": 0, "refused": 0, "not_refused": 0}
    slowest: dict[str, float] = {"warm": 0.0, "refused": 0.0}

    def timed(kind: str, call: Callable[[], httpx.Response]) -> httpx.Response:
        began = time.monotonic()
        answer = call()
        slowest[kind] = max(slowest[kind], time.monotonic() - began)
        return answer

    with httpx.Client(base_url=cluster.url, timeout=60) as client:
        for task_id in warm:
            if not is_right(predict(client, task_id)):
                raise RuntimeError("a task does not predict before anything is done")
        cluster.redis.send(signal.SIGSTOP)
        try:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                for task_id in warm:
                    right = is_right(timed("warm", lambda task_id=task_id: predict(client, task_id)))  # type: ignore[misc]
                    counts["warm_right" if right else "warm_failed"] += 1
                refused = timed("refused", lambda: create(client, f"paused-{time.time_ns()}"))
                counts["refused" if refused.status_code == 503 else "not_refused"] += 1
        finally:
            cluster.redis.send(signal.SIGCONT)
        after = create(client, f"after-{time.time_ns()}")
        began = time.monotonic()
        while after.status_code == 503 and time.monotonic() - began < PATIENCE:
            after = create(client, f"after-{time.time_ns()}")
        recovered = after.status_code == 201 and is_right(predict(client, after.json()["task_id"]))
    slow = {f"slowest_{kind}_seconds": round(took, 3) for kind, took in slowest.items()}
    return counts | {"recovered_without_restart": recovered} | slow


def failover(cluster: Cluster, clients: int = 20, between: int = 100) -> dict[str, Any]:
    """Count predictions that fail while one replica gets SIGKILL and another SIGTERM.

    Neither is started again.
    """
    tasks, load = tasks_through(cluster, 10), Load()

    def predicting(client_number: int) -> None:
        with httpx.Client(base_url=cluster.url, timeout=60) as client:
            n = client_number
            while not load.stop.is_set():
                try:
                    answer = predict(client, tasks[n % len(tasks)])
                except httpx.TransportError as error:
                    load.failed.append(repr(error))
                    continue
                if is_right(answer):
                    load.done.append(answer.status_code)
                else:
                    load.failed.append(f"{answer.status_code} {answer.text}")
                n += 1

    status: list[int] = []
    with ThreadPoolExecutor(clients) as pool:
        working = [pool.submit(predicting, n) for n in range(clients)]
        try:
            load.until(between)
            cluster.replicas[0].stop(signal.SIGKILL)
            load.until(between)
            status.append(cluster.replicas[1].stop(signal.SIGTERM))
            load.until(between)
        finally:
            load.stop.set()
        for one in working:
            one.result()
    return {
        "clients": clients,
        "predictions": len(load.done) + len(load.failed),
        "failed": len(load.failed),
        "failures": load.failed[:5],
        "status_after_sigterm": status[0],
    }
