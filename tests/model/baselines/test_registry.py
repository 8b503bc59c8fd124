"""Tests of the lists of methods, and of what all methods have in common."""

from pathlib import Path

import pytest
import torch

from model.baselines.gradient import KINDS
from model.baselines.method import Method
from model.baselines.registry import drawing_methods
from model.checkpoint import CheckpointError
from model.functional import one_hot
from tests.helpers.baselines import methods_of_a_tiny_model
from tests.helpers.models import tiny


@pytest.fixture
def methods(tmp_path: Path) -> list[Method]:
    return methods_of_a_tiny_model(tmp_path)


def test_without_trained_baselines_only_untrained_methods_are_listed(methods: list[Method], tmp_path: Path) -> None:
    untrained = ["LEO 5 steps", "LEO 0 steps", "cosine prototypes", "Euclidean prototypes"]
    assert [method.name for method in drawing_methods(tiny(), tmp_path, None)] == untrained
    assert [method.name for method in methods] == [*untrained, "logistic head", "MAML", "Meta-SGD", "ANIL"]


def test_baselines_whose_weights_are_missing_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"maml\.safetensors"):
        drawing_methods(tiny(), tmp_path / "empty", {"l2": 0.01, "steps": dict.fromkeys(KINDS, 1)})


def test_a_padded_task_has_the_logits_that_it_has_alone(methods: list[Method]) -> None:
    images = torch.rand(2, 5, 1, 8, 8)
    labels = torch.tensor([[0, 1, 2, 1, 0], [1, 0, 0, -1, -1]])  # the second has two classes and two rows of padding
    for method in methods:
        with torch.no_grad():
            support, queries = method.extractor(images.flatten(0, 1)), method.extractor(torch.rand(4, 1, 8, 8))
            support = support.reshape(2, 5, *support.shape[1:])
            both = method.logits(method.adapt(support, one_hot(labels)), torch.stack([queries, queries]))
            assert torch.isneginf(both[1, :, 2]).all(), method.name
            alone = method.logits(method.adapt(support[1:, :3], one_hot(labels[1:, :3])), queries[None])
        torch.testing.assert_close(both[1, :, :2], alone[0], atol=1e-4, rtol=1e-4, msg=method.name)


def test_the_order_of_classes_does_not_matter(methods: list[Method]) -> None:
    images, labels = torch.rand(6, 1, 8, 8), torch.tensor([[0, 1, 2, 0, 1, 2]])
    for method in methods:
        with torch.no_grad():
            extracted = method.extractor(images)[None]
            in_order = method.logits(method.adapt(extracted, one_hot(labels)), extracted)
            rotated = method.logits(method.adapt(extracted, one_hot((labels + 1) % 3)), extracted)
        torch.testing.assert_close(rotated.roll(-1, dims=-1), in_order, atol=1e-4, rtol=1e-4, msg=method.name)
