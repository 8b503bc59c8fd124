"""deploy/ray, checked without Ray: its files agree and are valid. tests/ray runs it (make test-ray)."""

import importlib.util
import subprocess
import tomllib
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.settings import PROJECT

RAY = PROJECT / "deploy" / "ray"


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


def test_kuberays_pods_have_the_environment(service: dict[str, Any]) -> None:
    command = ["sh", "-c", ". deploy/ray/environment && env -0"]
    printed = subprocess.run(
        command, cwd=PROJECT, env={"PATH": "/usr/bin:/bin"}, check=True, capture_output=True
    ).stdout
    expected = dict(line.split("=", 1) for line in printed.decode().split("\0") if line.startswith("RAY_"))
    cluster = service["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        for container in group["template"]["spec"]["containers"]:
            given = {one["name"]: one["value"] for one in container["env"]}
            assert {name: value for name, value in given.items() if name.startswith("RAY_")} == expected
            assert given["LEO_STORE_URL"].startswith("redis://")


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
