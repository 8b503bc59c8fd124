"""Models in the layout of the Hugging Face Hub: written, read back, and found in the Hub's cache without a network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from app.settings import PROJECT
from model.checkpoint import CheckpointError, read_info
from model.leo import LatentEmbeddingOptimization
from tests.helpers.models import tiny

LOAD = (
    "import sys; from model.leo import LatentEmbeddingOptimization as L; print(L.from_pretrained(*sys.argv[1:]).config)"
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    made = tiny()
    made.save_pretrained(str(tmp_path / "signs"), card={"seed": 3})
    assert sorted(file.name for file in (tmp_path / "signs").iterdir()) == ["config.json", "model.safetensors"]
    info = read_info(tmp_path / "signs")
    assert (info.name, info.card) == ("signs", {"seed": 3})
    back = LatentEmbeddingOptimization.from_pretrained(str(tmp_path / "signs"))
    for key, value in back.state_dict().items():
        if not key.startswith("classifier.fc."):
            torch.testing.assert_close(value, made.state_dict()[key])
    back.save_pretrained(tmp_path / "again", name="signs", card={"seed": 3})
    assert read_info(tmp_path / "again") == info


def load(name: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Load a model in a process of its own, as `huggingface_hub` reads its settings once."""
    settings = os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-c", LOAD, name]
    return subprocess.run(command, cwd=PROJECT, env=settings, capture_output=True, text=True)


def test_a_model_of_the_hub_is_found_in_its_cache(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    repository = tmp_path / "hub" / "models--somebody--signs"
    commit = "0123456789abcdef0123456789abcdef01234567"
    tiny(inner_steps=4).save_pretrained(repository / "snapshots" / commit, name="signs")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    done = load("somebody/signs", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "inner_steps=4" in done.stdout
    assert "no model of this name" in load("somebody/other", tmp_path).stderr


def test_a_path_is_never_a_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask_nobody(*_: object, **__: object) -> Path:
        raise AssertionError("the Hub was asked")

    monkeypatch.setattr("model.leo.download", ask_nobody)
    monkeypatch.chdir(tmp_path)
    for name in (Path("somebody/signs"), "./somebody/signs", "/somebody/signs", "signs", "../somebody/signs", "a/b/c"):
        with pytest.raises(CheckpointError, match="is missing"):
            LatentEmbeddingOptimization.from_pretrained(name)


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=r"pip install huggingface_hub"):
        LatentEmbeddingOptimization.from_pretrained("somebody/signs")
