"""Replicas behind the gateway lose nothing; the long versions of these are `make chaos`."""

from collections.abc import Iterator

import httpx
import pytest

from tests.helpers import chaos
from tests.helpers.cluster import Cluster, running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def test_redis_paused_warm_tasks_go_on_and_all_recovers(cluster: Cluster) -> None:
    counts = chaos.pause(cluster, seconds=2)
    print(counts)  # noqa: T201
    assert counts["warm_right"] > 0
    assert counts["refused"] > 0
    assert (counts["warm_failed"], counts["not_refused"]) == (0, 0)
    assert counts["recovered_without_restart"]


def test_no_acknowledged_task_is_lost_when_replicas_and_redis_are_killed(cluster: Cluster) -> None:
    counts = chaos.kills(cluster, 3)
    print(counts)  # noqa: T201
    assert counts["acknowledged"] >= 30
    assert counts["distinct"] == counts["acknowledged"]
    assert counts["lost"] == 0


def test_calls_about_one_task_go_to_one_replica(cluster: Cluster) -> None:
    tasks = chaos.tasks_through(cluster, 12)
    with httpx.Client(base_url=cluster.url, timeout=30) as client:
        for task_id in tasks:
            assert client.get(f"/tasks/{task_id}").status_code == 200
            assert chaos.is_right(chaos.predict(client, task_id))
    log = (cluster.replicas[0].log.parent.parent / "nginx.log").read_text().splitlines()
    used = [{line.split("upstream=")[1].split()[0] for line in log if f"/tasks/{task_id}" in line} for task_id in tasks]
    assert all(len(addresses) == 1 for addresses in used), used
    assert len(set.union(*used)) > 1  # and different tasks to different ones


def test_no_prediction_fails_while_replicas_are_killed_and_stopped(cluster: Cluster) -> None:
    # The last one: it leaves one replica.
    counts = chaos.failover(cluster)
    print(counts)  # noqa: T201
    assert counts["failed"] == 0, counts
    assert counts["predictions"] >= 300
    assert counts["status_after_sigterm"] == 0
