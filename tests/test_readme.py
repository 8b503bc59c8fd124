"""The README is true: its figures are those of the results files, and its snippets run."""

import re

import pytest

from app.settings import PROJECT, Settings
from bench.readme import written

README = (PROJECT / "README.md").read_text()


def test_figures_are_those_of_the_results_files() -> None:
    assert written(README) == README, "run: python -m bench.readme"


def test_settings_are_described_as_in_the_code() -> None:
    described = {name.upper(): field.description for name, field in Settings.model_fields.items()}
    assert settings((PROJECT / "docs" / "settings.md").read_text()) == described
    chosen = settings(README)
    assert chosen
    assert chosen.items() <= described.items()


def settings(document: str) -> dict[str, str]:
    """The rows of a document's table of settings."""
    return dict(re.findall(r"^\| `LEO_([A-Z_]+)` \| [^|]+ \| (.*) \|$", document, flags=re.MULTILINE))


def test_python_snippets_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    snippets = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert snippets
    for snippet in snippets:
        names: dict[str, object] = {}
        exec(compile(snippet, "README.md", "exec"), names)  # noqa: S102
        assert names["logits"].shape == (3, 5)  # type: ignore[attr-defined]


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert targets
    for target in targets:
        if not target.startswith("https://"):
            assert (PROJECT / target).exists(), target


def test_make_targets_exist() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    targets = re.findall(r"make ([a-z-]+)", README)
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
