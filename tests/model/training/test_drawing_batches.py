"""Tests of batches of drawings on the device."""

import pytest
import torch

from model.data.omniglot import Drawings
from model.training.drawing_batches import DrawingBatches, apply_symmetries

CPU = torch.device("cpu")


@pytest.fixture
def drawings() -> Drawings:
    """Three classes of four drawings, each a rectangle of its own height and width in the upper left."""
    images = torch.zeros(3, 4, 105, 105, dtype=torch.bool)
    for c in range(3):
        for d in range(4):
            images[c, d, : 15 * (c + 1), : 15 * (d + 1)] = True
    return Drawings(images, torch.full((3,), 4), ("a",) * 3, ("a/0", "a/1", "a/2"))


def test_symmetries_are_quarter_turns_and_their_mirror_images() -> None:
    images = torch.rand(4, 1, 5, 5)
    rotated = apply_symmetries(images, torch.arange(4))
    mirrored = apply_symmetries(images, torch.arange(4, 8))
    for quarter in range(4):
        assert torch.equal(rotated[quarter], torch.rot90(images[quarter], quarter, dims=(-2, -1)))
        assert torch.equal(mirrored[quarter], rotated[quarter].flip(-1))


def test_a_plain_batch_holds_the_drawings_that_the_indices_name(drawings: Drawings) -> None:
    batches = DrawingBatches(drawings, 105, CPU)
    batch = batches.plain_batch(torch.tensor([0, 2]), torch.tensor([3, 1]), torch.tensor([0, 1]))
    assert batch.shape == (2, 1, 105, 105)
    assert torch.equal(batch[0, 0] > 0, drawings.images[0, 3])
    assert torch.equal(batch[1, 0] > 0, torch.rot90(drawings.images[2, 1], 1))


def test_images_of_tasks_are_those_of_a_batch_with_the_symmetry_taken_out_of_the_class(drawings: Drawings) -> None:
    batches = DrawingBatches(drawings, 28, CPU)
    classes = torch.tensor([[2 * 8 + 5, 0]])  # class 2 in symmetry 5, class 0 as it is
    places = torch.tensor([[[0, 1, 2], [3, 2, 1]]])  # [T, N, K+Q]
    images = batches.augmented_tasks(classes, places, 8, torch.Generator().manual_seed(0), 0.04)
    assert images.shape == (1, 2, 3, 1, 28, 28)
    of_images, symmetries = torch.tensor([2, 2, 2, 0, 0, 0]), torch.tensor([5, 5, 5, 0, 0, 0])
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(
        images.flatten(0, 2), batches.augmented_batch(of_images, places.flatten(), symmetries, generator, 0.04)
    )
