"""The list of what is installed (`make sbom`) names the release, and every dependency with its version."""

import json
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app import __version__
from app.settings import PROJECT

SBOM = PROJECT / "dist" / "sbom.json"


def test_it_names_the_release_and_its_dependencies() -> None:
    if not SBOM.exists():
        pytest.skip(f"{SBOM} is not here: make sbom")
    document = json.loads(SBOM.read_text())
    assert document["bomFormat"] == "CycloneDX"
    described = document["metadata"]["component"]
    assert (described["name"], described["version"]) == ("leo-service", __version__)
    listed = {canonicalize_name(each["name"]): each["version"] for each in document["components"]}
    needed = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert all(listed[canonicalize_name(Requirement(each).name)] for each in needed)
    assert str(PROJECT) not in SBOM.read_text()
