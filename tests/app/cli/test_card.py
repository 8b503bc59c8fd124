"""Tests of `leo card`, and of the cards that are shipped."""

import json
import shutil
from pathlib import Path

import pytest

from model.checkpoint import read_info
from tests.helpers.command import leo_output
from tests.helpers.drawn import write_omniglot
from tests.helpers.models import WEIGHTS


@pytest.mark.parametrize("name", ["omniglot", "omniglot-105"])  # the second was made before some of the settings
def test_the_same_figures_are_measured_again(data: Path, tmp_path: Path, name: str) -> None:
    write_omniglot(data, ["Alpha", "Beta", "Tagalog", "Sanskrit"], 20)
    folder = tmp_path / name
    shutil.copytree(WEIGHTS / name, folder)
    before = read_info(folder)
    output = leo_output("card", "--data", data, "--model", folder, "--episodes", 20)
    assert "5 steps add" in output
    assert leo_output("card", "--data", data, "--model", folder, "--episodes", 20, "--write") == output
    after = read_info(folder)
    card = after.card
    assert (after.version, after.config) == (before.version, before.config)  # tasks stay as they are
    assert card["validation"]["episodes"] == 20
    assert f"{100 * card['validation']['rows'][1]['accuracy']:.2f}" in (folder / "README.md").read_text()


def test_settings_that_no_weight_depends_on_are_changed_after_training(data: Path, tmp_path: Path) -> None:
    write_omniglot(data, ["Alpha", "Beta", "Tagalog", "Sanskrit"], 20)
    folder = tmp_path / "omniglot"
    shutil.copytree(WEIGHTS / "omniglot", folder)
    before = json.loads((folder / "config.json").read_text())
    changes = ("--set", "support_views=2", "--set", "inner_temperature=1.5")
    leo_output("card", "--data", data, "--model", folder, "--episodes", 20, "--write", *changes)
    after = json.loads((folder / "config.json").read_text())
    assert (after["config"]["support_views"], after["config"]["inner_temperature"]) == (2, 1.5)
    assert after["sha256"] == before["sha256"]  # the weights are the same
    assert after["version"] != before["version"]
    assert after["config"]["temperature"] != before["config"]["temperature"]
    page = (folder / "README.md").read_text()
    assert "`leo card --set support_views=2 --set inner_temperature=1.5" in page
    assert f"**Taught afterwards**: {after['card']['taught_afterwards']}" in page


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("widths=3", "give one of support_views"),
        ("support_views=many", "'many' is no number"),
        ("support_views=0", "support_views"),
        ("inner_temperature=-1", "inner_temperature"),
        ("inner_ridge=0", "inner_ridge"),
        ("inner_lr=0", "inner_lr"),
        ("support_views=1.5", "support_views"),
    ],
)
def test_a_setting_that_cannot_be_changed_is_refused_in_a_line(data: Path, option: str, says: str) -> None:
    write_omniglot(data, ["Alpha", "Tagalog"], 3)
    error = leo_output("card", "--data", data, "--set", option, status=1)
    assert says in error
    assert "Traceback" not in error


@pytest.mark.parametrize("name", ["omniglot", "omniglot-105"])
def test_a_shipped_readme_has_the_figures_of_its_config(name: str) -> None:
    described = json.loads((WEIGHTS / name / "config.json").read_text())
    readme = (WEIGHTS / name / "README.md").read_text()
    assert described["version"] in readme
    assert len(described["card"]["validation"]["rows"]) == 14
    for row in described["card"]["validation"]["rows"]:
        assert f"{100 * row['accuracy']:.2f} ± {100 * row['ci95']:.2f}" in readme
