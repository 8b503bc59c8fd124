"""Metrics count what happens, and their page of documentation says what they are."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.observability import metrics
from app.observability.processes import Processes
from app.settings import PROJECT, Settings
from tests.helpers.drawn import png
from tests.helpers.serving import serving
from tests.helpers.tasks import create, predict


def value(client: httpx.Client, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels; 0 before anything was counted."""
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    return sum(
        sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


@pytest.fixture
def only(settings: Settings, tmp_path: Path) -> Iterator[httpx.Client]:
    """A service of this test's own: gauges tell of the service that began last in a process."""
    with serving(settings.model_copy(update={"data_dir": tmp_path})) as client:
        yield client


def test_metrics_count_what_happens(only: httpx.Client) -> None:
    client = only
    watched = {
        "tasks": ("leo_tasks_created_total", {"model": "omniglot"}),
        "created": ("leo_http_requests_total", {"method": "POST", "route": "/tasks", "status": "201"}),
        "predicted": ("leo_http_requests_total", {"route": "/tasks/{task_id}/predict", "status": "200"}),
        "missing": ("leo_http_requests_total", {"route": "/tasks/{task_id}", "status": "404"}),
        "timed": ("leo_http_request_duration_seconds_count", {"route": "/tasks"}),
        "decodes": ("leo_stage_duration_seconds_count", {"stage": "decode"}),
        "waits": ("leo_stage_duration_seconds_count", {"stage": "device"}),
        "stores": ("leo_stage_duration_seconds_count", {"stage": "store"}),
        "hits": ("leo_cache_lookups_total", {"result": "hit"}),
        "images": ("leo_batch_images_sum", {}),
        "passes": ("leo_batch_requests_count", {}),
        "worked": ("leo_batch_duration_seconds_count", {}),
        "losses": ("leo_adaptation_loss_count", {"when": "after"}),
        "gains": ("leo_adaptation_gain_count", {}),
        "confident": ("leo_confidence_count", {}),
        "unknown": ("leo_unknown_total", {}),
        "deleted": ("leo_tasks_deleted_total", {}),
    }
    before = {key: value(client, name, **labels) for key, (name, labels) in watched.items()}
    task_id = create(client).json()["task_id"]
    predict(client, task_id, [png("ring", 5), png("ex", 5)], threshold=1.0)
    unknown = sum(answer["unknown"] for answer in predict(client, task_id, [png("ring", 5), png("ex", 5)], threshold=1))
    for held in ("leo_cache_bytes", "leo_cache_tasks"):
        assert value(client, held) > 0
    assert value(client, "leo_tasks_alive") == 1
    client.delete(f"/tasks/{task_id}")
    assert value(client, "leo_tasks_alive") == 0
    assert client.get(f"/tasks/{task_id}").status_code == 404
    grown = {key: value(client, name, **labels) - before[key] for key, (name, labels) in watched.items()}
    assert grown["images"] >= 5 + 2 + 2  # and those of readiness tests
    for key in ("passes", "worked"):
        assert grown[key] >= 3
    exact = {key: grown[key] for key in grown if key not in ("images", "passes", "worked")}
    once = dict.fromkeys(("tasks", "created", "missing", "timed", "stores", "losses", "gains", "deleted"), 1)
    assert exact == once | {"predicted": 2, "hits": 2, "decodes": 3, "waits": 3, "confident": 4, "unknown": 2 * unknown}
    assert value(client, "leo_model_info", model="omniglot") == 1
    assert value(client, "leo_queue_images") == 0


def families() -> set[str]:
    return {family.name for registry in (metrics.REGISTRY, metrics.PROCESSES) for family in registry.collect()}


def test_every_metric_is_documented_and_every_documented_one_exists() -> None:
    rows = re.findall(r"^\| (`(?:leo|process)_.*?) \|", _read("docs/metrics.md"), flags=re.MULTILINE)
    documented = [name for row in rows for name in re.findall(r"`(\w+?)(?:_total)?(?:\{[^}]*\})?`", row)]
    assert len(documented) == len(set(documented))
    assert set(documented) == families()


def test_names_follow_prometheus_conventions() -> None:
    """A base unit ends the name, and nothing but a counter ends in _total."""
    for registry in (metrics.REGISTRY, metrics.PROCESSES):
        for family in registry.collect():
            assert not re.search(r"_(total|count|sum|bucket|milliseconds|percent)$", family.name), family.name
            if family.type == "histogram" and "seconds" in family.name:
                assert family.name.endswith("_duration_seconds")
            assert family.documentation


def test_processes_are_measured_together() -> None:
    def memory(*ids: int) -> float:
        found = {family.name: family.samples[0].value for family in Processes(lambda: list(ids)).collect()}
        return float(found["process_resident_memory_bytes"])

    assert memory(os.getpid(), os.getpid()) == pytest.approx(2 * memory(os.getpid()), rel=0.1)
    with subprocess.Popen(["true"]) as other:  # one that has ended is left out
        pass
    assert memory(os.getpid(), other.pid) == pytest.approx(memory(os.getpid()), rel=0.1)


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    dashboard = json.loads(_read("deploy/grafana/leo.json"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(asked) >= 10
    for expression in asked:
        names = re.findall(r"\b(?:leo|process)_\w+", expression)
        assert names, expression
        for name in names:
            assert re.sub(r"_(total|bucket|sum|count)$", "", name) in families(), expression


def _read(path: str) -> str:
    return Path(PROJECT / path).read_text()


def test_a_request_id_is_taken_over_or_made_anew(client: httpx.Client) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": "abc-123"}).headers["x-request-id"] == "abc-123"
    for odd in ("a b", "x" * 65, "{}"):
        answered = client.get("/healthz", headers={"X-Request-ID": odd}).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{32}", answered)
