"""Tests of the augmentation of drawings."""

import torch

from model.training.augmentation import augment, working_side

SQUARE = torch.zeros(1, 1, 56, 56)
SQUARE[..., 18:38, 18:38] = 1  # in the middle, large enough that no map moves it out of the image
IMAGES = SQUARE.repeat(50, 1, 1, 1)


def test_the_working_side_is_twice_the_resolution_if_drawings_are_that_large() -> None:
    assert working_side(28) == 56
    assert working_side(52) == 104
    assert working_side(105) == 105


def test_the_same_seed_gives_the_same_images() -> None:
    first = augment(IMAGES, 28, torch.Generator().manual_seed(1), elastic=0.04)
    assert first.shape == (50, 1, 28, 28)
    assert torch.equal(first, augment(IMAGES, 28, torch.Generator().manual_seed(1), elastic=0.04))
    assert not torch.equal(first, augment(IMAGES, 28, torch.Generator().manual_seed(2), elastic=0.04))


def test_every_image_is_changed_differently_but_keeps_most_of_its_ink() -> None:
    augmented = augment(IMAGES, 28, torch.Generator().manual_seed(1))
    assert augmented.min() >= 0
    assert augmented.max() <= 1
    assert not torch.equal(augmented[0], augmented[1])
    ink = augmented.mean(dim=(1, 2, 3)) / SQUARE.mean()
    # Scales of 0.8 to 1.15 along both axes change the area by 0.64 to 1.32, the pen's width by 10 % more.
    assert float(ink.min()) > 0.5
    assert float(ink.max()) < 1.6
    assert float(ink.std()) > 0.05


def test_elastic_bends_change_the_image() -> None:
    straight = augment(IMAGES, 28, torch.Generator().manual_seed(1))
    bent = augment(IMAGES, 28, torch.Generator().manual_seed(1), elastic=0.1)
    assert float((straight - bent).abs().amax(dim=(1, 2, 3)).min()) > 0.1
