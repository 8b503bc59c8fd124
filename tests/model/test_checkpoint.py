"""Model folders: saving, loading, and errors for missing or damaged files."""

import json
import os
import re
from pathlib import Path

import pytest
import torch

from model.checkpoint import CheckpointError, read_background, read_info, save_model
from model.leo import LatentEmbeddingOptimization
from tests.helpers.models import tiny

load = LatentEmbeddingOptimization.from_pretrained


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tiny(), tmp_path / "made", "tiny", {"seed": 3})
    return tmp_path / "made"


def test_a_model_comes_back_whole(folder: Path) -> None:
    made, back = tiny(), load(folder)
    assert not back.training
    kept = {key: value for key, value in made.state_dict().items() if not key.startswith("classifier.fc.")}
    assert any("running_mean" in key for key in kept)
    assert any(key.startswith("classifier.phi.blocks") for key in kept)
    for key, value in kept.items():
        torch.testing.assert_close(back.state_dict()[key], value)
    info = read_info(folder)
    assert (info.name, info.card) == ("tiny", {"seed": 3})
    assert re.fullmatch("[0-9a-f]{12}", info.version)


def test_the_version_follows_weights_and_config(tmp_path: Path) -> None:
    def version(leo: LatentEmbeddingOptimization) -> str:
        save_model(leo, tmp_path / "x", "x")
        return read_info(tmp_path / "x").version

    first, again, other_steps, other_weights = tiny(), tiny(), tiny(inner_steps=4), tiny()
    other_weights.alpha.data += 1
    assert version(first) == version(again)
    assert len({version(first), version(other_steps), version(other_weights)}) == 3


def test_no_pickle_anywhere(folder: Path) -> None:
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_what_is_missing_or_damaged_is_said(folder: Path, tmp_path: Path) -> None:
    weights, config = folder / "model.safetensors", folder / "config.json"
    good_weights, good_config = weights.read_bytes(), config.read_text()

    def complaint() -> str:
        with pytest.raises(CheckpointError) as error:
            load(folder)
        weights.write_bytes(good_weights)
        config.write_text(good_config)
        return str(error.value)

    flipped = bytearray(good_weights)
    flipped[-1] ^= 1
    weights.write_bytes(flipped)
    assert "model.safetensors is damaged" in complaint()
    weights.write_bytes(good_weights[:-100])
    assert "model.safetensors is damaged" in complaint()
    weights.unlink()
    assert "model.safetensors is missing" in complaint()
    config.unlink()
    assert "config.json is missing" in complaint()
    weights.unlink()
    os.mkfifo(weights)  # which would be read without end
    with pytest.raises(CheckpointError, match=r"model.safetensors is no regular file"):
        load(folder)
    weights.unlink()
    weights.write_bytes(good_weights)
    (folder / "known.safetensors").unlink(missing_ok=True)
    (folder / "known.safetensors").mkdir()
    with pytest.raises(CheckpointError, match=r"known.safetensors is no regular file"):
        read_background(folder, read_info(folder))
    (folder / "known.safetensors").rmdir()
    config.write_text("{")
    assert "config.json is damaged" in complaint()
    config.write_text("[]")
    assert "config.json is damaged" in complaint()
    config.write_text("{}")
    assert "format None" in complaint()
    changed = json.loads(good_config)
    changed["config"]["latent_dim"] = 48
    config.write_text(json.dumps(changed))
    assert "alpha is [32], config.json calls for [48]" in complaint()
    changed["config"]["latent_dim"] = -1
    config.write_text(json.dumps(changed))
    assert "does not describe a LEO" in complaint()
    with pytest.raises(CheckpointError, match="nowhere"):
        load(tmp_path / "nowhere")


def test_weights_of_another_shape_are_named(folder: Path) -> None:
    changed = json.loads((folder / "config.json").read_text())
    changed["config"]["own_encoder"] = True
    (folder / "config.json").write_text(json.dumps(changed))
    with pytest.raises(CheckpointError, match=r"lacks encoder\.features"):
        load(folder)
    changed["config"] |= {"own_encoder": False, "decoder_skip": True}
    (folder / "config.json").write_text(json.dumps(changed))
    with pytest.raises(CheckpointError, match=r"lacks decoder\.skip|holds encoder\.to_code\.bias"):
        load(folder)
