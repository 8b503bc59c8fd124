"""Arrays to a device and back in one copy each way."""

import numpy as np
import torch

from model.serving.transfer import to_device, to_host


def test_arrays_come_back_as_they_went_whatever_their_types_and_sizes() -> None:
    chance = np.random.default_rng(0)
    images = [chance.integers(0, 256, (n, 3, 5), dtype=np.uint8) for n in (2, 1, 0)]
    images[1].flags.writeable = False  # as an image that Pillow has decoded
    rows, halves = np.arange(7), chance.normal(size=(0, 4)).astype(np.float16)
    codes = chance.normal(size=(2, 3)).astype(np.float32)
    tensors = to_device([images, [rows], [halves], [codes, codes]], torch.device("cpu"))
    expected = [np.concatenate(images), rows, halves, np.concatenate([codes, codes])]
    for tensor, array in zip(tensors, expected, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), array)
    for found, array in zip(to_host(tensors)(), expected, strict=True):
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    assert to_host([])() == []


def test_flags_come_back_as_flags() -> None:
    (found,) = to_host([torch.tensor([True, False])])()
    assert found.tolist() == [True, False]
