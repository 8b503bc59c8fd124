"""The part of kustomize that deploy/kubernetes uses: resources, strategic merge patches, secrets from files."""

import base64
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

Manifest = dict[str, Any]


def rendered(folder: Path) -> list[Manifest]:
    """Return what `kubectl apply -k` would send, without the hash that kustomize adds to a secret's name."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    kinds = {"apiVersion", "kind", "labels", "resources", "patches", "secretGenerator"}
    assert kustomization.keys() <= kinds, f"{folder}: only {kinds} are understood here"
    found: list[Manifest] = []
    for name in kustomization["resources"]:
        path = folder / name
        found += rendered(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    for patch in kustomization.get("patches", []):
        change = yaml.safe_load((folder / patch["path"]).read_text())
        (at,) = [n for n, one in enumerate(found) if identity(one) == identity(change)]
        found[at] = merged(found[at], change)
    for secret in kustomization.get("secretGenerator", []):
        data = {Path(file).name: base64.b64encode((folder / file).read_bytes()).decode() for file in secret["files"]}
        found.append(
            {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": secret["name"]}, "data": data}
        )
    for added in kustomization.get("labels", []):
        assert added.keys() == {"pairs"}, f"{folder}: labels of templates and selectors are not understood here"
        for manifest in found:
            manifest["metadata"]["labels"] = manifest["metadata"].get("labels", {}) | added["pairs"]
    return found


def identity(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def merged(old: Any, new: Any) -> Any:
    """Merge a patch: mappings by key, lists of named things by name. Everything else is replaced."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {key: merged(old[key], value) if key in old else value for key, value in new.items()}
    if isinstance(old, list) and all(isinstance(one, dict) and "name" in one for one in [*old, *new]):
        named = {one["name"]: one for one in old}
        return list((named | {one["name"]: merged(named.get(one["name"]), one) for one in new}).values())
    return new


def rendered_by_kubectl(folder: Path) -> list[Manifest]:
    """Return what kustomize itself renders. Skips the test where kubectl is not installed."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: nothing else can say what kustomize makes of these folders")
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))
