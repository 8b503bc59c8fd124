"""Tests of trained baselines on disk."""

from pathlib import Path

import pytest
import torch

from model.baselines.folder import (
    load_gradient_based,
    read_description,
    save_description,
    save_gradient_based,
    tensors_file,
)
from model.baselines.gradient import GradientBased
from model.checkpoint import CheckpointError
from tests.helpers.models import tiny


def test_a_saved_method_is_loaded_ready_for_use(tmp_path: Path) -> None:
    saved = GradientBased(tiny(), "MAML")
    saved.weight.data.normal_()
    save_gradient_based(saved, tmp_path)
    loaded = load_gradient_based(tiny(), tmp_path, "MAML")
    for name, value in saved.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    assert not loaded.training
    assert not loaded.weight.requires_grad


def test_missing_and_damaged_weights_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"maml\.safetensors cannot be used.*--train-baselines"):
        load_gradient_based(tiny(), tmp_path, "MAML")
    (tmp_path / tensors_file("ANIL")).write_bytes(b"junk")
    with pytest.raises(CheckpointError, match=r"anil\.safetensors cannot be used"):
        load_gradient_based(tiny(), tmp_path, "ANIL")


def test_a_description_is_read_for_its_version_alone(tmp_path: Path) -> None:
    assert read_description(tmp_path, "v1") is None
    save_description(tmp_path, {"model_version": "v1", "l2": 0.5, "steps": {}})
    assert read_description(tmp_path, "v1") == {"model_version": "v1", "l2": 0.5, "steps": {}}
    with pytest.raises(CheckpointError, match="version v1 of the model, not v2; train again"):
        read_description(tmp_path, "v2")


@pytest.mark.parametrize("text", ["[]", "{", '{"model_version": "v1"}', '{"model_version": "v1", "l2": "much"}'])
def test_a_damaged_description_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "baselines.json").write_text(text)
    with pytest.raises(CheckpointError, match="damaged"):
        read_description(tmp_path, "v1")
