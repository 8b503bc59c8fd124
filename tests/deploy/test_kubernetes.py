"""deploy/kubernetes is valid for Kubernetes, and fits the service that it runs."""

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from fastapi import FastAPI
from prometheus_client import generate_latest

from app.http.routes import service, tasks
from app.observability import metrics
from app.settings import PROJECT, Settings
from tests.helpers.kustomize import Manifest, identity, rendered, rendered_by_kubectl

VERSIONS = ["1.31", "1.37"]
FOLDERS = ["base", "overlays/gpu", "overlays/keys"]
#: Kinds that refer to other manifests.
REFERRING = {"Service", "Deployment", "StatefulSet", "PodDisruptionBudget", "Ingress", "NetworkPolicy"}


@pytest.fixture(scope="module")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of deploy/kubernetes, with a file of keys as its reader would make one."""
    copied = tmp_path_factory.mktemp("deploy") / "kubernetes"
    shutil.copytree(PROJECT / "deploy" / "kubernetes", copied)
    (copied / "overlays" / "keys" / "keys.json").write_text('{"keys": []}')
    return copied


@pytest.fixture(scope="module", params=FOLDERS)
def manifests(request: pytest.FixtureRequest, kubernetes: Path) -> dict[tuple[str, str], Manifest]:
    """What each folder renders to, by kind and name."""
    return {identity(one): one for one in rendered(kubernetes / request.param)}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid(manifests: dict[tuple[str, str], Manifest], version: str) -> None:
    for manifest in manifests.values():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_wrong_manifest_is_not_valid(manifests: dict[tuple[str, str], Manifest]) -> None:
    wrong = copy.deepcopy(manifests["Deployment", "leo"])
    container(wrong)["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readinesProbe"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def plain(value: Any) -> Any:
    """Leave out the hash in a secret's name, and sort lists: their order may differ."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return sorted((plain(one) for one in value), key=lambda one: json.dumps(one, sort_keys=True))
    return re.sub(r"^leo-keys-[a-z0-9]{10}$", "leo-keys", value) if isinstance(value, str) else value


def by_name(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    return {identity(one): one for one in plain(manifests)}


@pytest.mark.parametrize("folder", FOLDERS)
def test_kubectl_renders_the_same(kubernetes: Path, folder: str) -> None:
    assert by_name(rendered_by_kubectl(kubernetes / folder)) == by_name(rendered(kubernetes / folder))


def test_everything_has_the_recommended_labels(manifests: dict[tuple[str, str], Manifest]) -> None:
    """As Kubernetes' documentation recommends, so that tools show what belongs together."""
    for (kind, name), manifest in manifests.items():
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "leo", (kind, name)
        assert labels["app.kubernetes.io/managed-by"] == "kustomize"
        if kind != "Secret":
            assert {"app.kubernetes.io/name", "app.kubernetes.io/component"} <= labels.keys(), (kind, name)
        if kind in ("Deployment", "StatefulSet"):
            template = manifest["spec"]["template"]["metadata"]["labels"]
            assert {"app.kubernetes.io/name", "app.kubernetes.io/component"} <= template.keys()
            assert manifest["spec"]["selector"]["matchLabels"].keys() == {"app"}  # it cannot be changed later


EXAMPLE = {
    "base/kustomization.yaml": "resources: [deployment.yaml]",
    "base/deployment.yaml": """
apiVersion: apps/v1
kind: Deployment
metadata: {name: leo, labels: {app: leo}}
spec:
  template:
    spec:
      containers:
      - {name: leo, image: leo, args: [a, b], env: [{name: ONE, value: "1"}, {name: TWO, value: "2"}]}
""",
    "overlay/kustomization.yaml": """
labels: [{pairs: {team: vision}}]
resources: [../base]
patches: [{path: patch.yaml}]
secretGenerator: [{name: leo-keys, files: [keys.json]}]
""",
    "overlay/patch.yaml": """
apiVersion: apps/v1
kind: Deployment
metadata: {name: leo}
spec:
  replicas: 2
  template:
    spec:
      containers:
      - {name: leo, args: [c], env: [{name: TWO, value: "3"}, {name: FOUR, value: "4"}]}
""",
    "overlay/keys.json": "{}",
}


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """An overlay with all that deploy/kubernetes uses of kustomize."""
    for path, text in EXAMPLE.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path / "overlay"


def test_an_overlay_is_rendered_as_kustomize_documents_it(example: Path) -> None:
    """A patch merges mappings by key and lists of named things by name, and replaces other lists."""
    found = by_name(rendered(example))
    assert found["Secret", "leo-keys"]["data"] == {"keys.json": "e30="}
    deployment = found["Deployment", "leo"]
    assert deployment["metadata"]["labels"] == {"app": "leo", "team": "vision"}
    assert found["Secret", "leo-keys"]["metadata"]["labels"] == {"team": "vision"}
    assert deployment["spec"]["replicas"] == 2
    assert container(deployment) == {
        "name": "leo",
        "image": "leo",
        "args": ["c"],
        "env": [{"name": "FOUR", "value": "4"}, {"name": "ONE", "value": "1"}, {"name": "TWO", "value": "3"}],
    }


def test_kubectl_renders_the_example_the_same(example: Path) -> None:
    assert by_name(rendered_by_kubectl(example)) == by_name(rendered(example))


def container(deployment: Manifest) -> dict[str, Any]:
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = only
    return found


def test_manifests_refer_to_what_is_there(manifests: dict[tuple[str, str], Manifest]) -> None:
    pods = {
        name: one["spec"]["template"]["metadata"]["labels"]
        for (kind, name), one in manifests.items()
        if kind in ("Deployment", "StatefulSet")
    }
    ports = {
        name: {port["name"] for port in container(one)["ports"]}
        for (kind, name), one in manifests.items()
        if kind in ("Deployment", "StatefulSet")
    }
    assert {kind for kind, _ in manifests} >= REFERRING
    for (kind, name), one in manifests.items():
        spec = one.get("spec", {})
        if kind == "Service":
            assert pods[name].items() >= spec["selector"].items()
            assert {port["targetPort"] for port in spec["ports"]} <= ports[name]
        elif kind in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            assert pods[name].items() >= spec["selector"]["matchLabels"].items()
        elif kind == "HorizontalPodAutoscaler":
            assert (spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]) in manifests
            assert "replicas" not in manifests["Deployment", spec["scaleTargetRef"]["name"]]["spec"]
        elif kind == "Ingress":
            for path in spec["rules"][0]["http"]["paths"]:
                backend = path["backend"]["service"]
                offered = manifests["Service", backend["name"]]["spec"]["ports"]
                assert backend["port"]["name"] in {port["name"] for port in offered}
        elif kind == "NetworkPolicy":
            allowed = spec["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
            assert pods["leo"].items() >= allowed.items()
            assert spec["ingress"][0]["ports"][0]["port"] in ports["redis"]


def test_the_deployment_fits_the_service(manifests: dict[tuple[str, str], Manifest]) -> None:
    deployment = manifests["Deployment", "leo"]
    leo, pod = container(deployment), deployment["spec"]["template"]["spec"]
    environment = {one["name"]: one["value"] for one in leo["env"]}
    settings = Settings.model_validate({name.removeprefix("LEO_").lower(): one for name, one in environment.items()})
    assert {name.removeprefix("LEO_").lower() for name in environment} <= Settings.model_fields.keys()
    assert pod["terminationGracePeriodSeconds"] >= settings.drain_seconds + settings.stop_seconds
    assert manifests["Service", settings.store_url.split("/")[2].split(":")[0]]
    if settings.keys_file:
        assert str(settings.keys_file.parent) in [one["mountPath"] for one in leo["volumeMounts"]]
    assert {one["name"] for one in leo["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
    secrets = [one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one]
    assert bool(secrets) == bool(settings.keys_file)
    assert all(("Secret", name) in manifests for name in secrets)

    app = FastAPI()
    app.include_router(service.router)
    app.include_router(tasks.router)
    served = app.openapi()["paths"].keys()
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert leo[probe]["httpGet"]["path"] in served
    dockerfile = (PROJECT / "Dockerfile").read_text()
    assert f"--uid {pod['securityContext']['runAsUser']} " in dockerfile
    assert f"EXPOSE {leo['ports'][0]['containerPort']}" in dockerfile


def test_the_autoscaler_asks_for_a_metric_that_exists(manifests: dict[tuple[str, str], Manifest]) -> None:
    (asked,) = [one["pods"] for one in manifests["HorizontalPodAutoscaler", "leo"]["spec"]["metrics"] if "pods" in one]
    name = asked["metric"]["name"]
    assert f"\n{name} " in generate_latest(metrics.REGISTRY).decode()
    adapter = yaml.safe_load((PROJECT / "deploy" / "kubernetes" / "prometheus-adapter.yaml").read_text())
    assert adapter["rules"]["custom"][0]["seriesQuery"].startswith(f"{name}{{")
