"""What can be said of deploy/ray without Ray; tests/ray runs it (make test-ray)."""

import importlib.util
import tomllib
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.on_ray.affinity import task_of
from app.settings import PROJECT

RAY = PROJECT / "deploy" / "ray"


@pytest.mark.parametrize(
    ("path", "task"),
    [
        ("/tasks/ab12", "ab12"),
        ("/tasks/ab12/predict", "ab12"),
        ("/tasks/ab12/export.onnx", "ab12"),
        ("/tasks", None),
        ("/tasks/", None),
        ("/tasks/import", None),
        ("/tasks/import/predict", "import"),
        ("/", None),
        ("/page/tasks/x", None),
    ],
)
def test_the_task_of_a_path(path: str, task: str | None) -> None:
    assert task_of(path) == task


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((RAY / "rayservice.yaml").read_text())
    return found


def test_kuberay_runs_the_application_that_runs_here(service: dict[str, Any]) -> None:
    here = yaml.safe_load((RAY / "serve.yaml").read_text())
    there = yaml.safe_load(service["spec"]["serveConfigV2"])
    assert there["applications"] == here["applications"]
    assert there["http_options"] == here["http_options"] | {"host": "0.0.0.0"}  # noqa: S104
    module, _, _ = here["applications"][0]["import_path"].partition(":")
    assert importlib.util.find_spec(module) is not None


def test_kuberays_pods_are_valid_and_of_the_version_in_use(service: dict[str, Any]) -> None:
    cluster = service["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        template = group["template"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"} | template["metadata"]}
        kubernetes_validate.validate(pod | {"spec": template["spec"]}, "1.37", strict=True)
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    version = cluster["rayVersion"]
    assert project["optional-dependencies"]["ray"] == [f"ray[serve]~={version}"]
    assert f"ray[serve]~={version}" in (RAY / "Dockerfile").read_text()
    assert f"\nray=={version}\n" in (PROJECT / "requirements.txt").read_text()
