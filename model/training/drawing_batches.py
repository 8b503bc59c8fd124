"""Batches of a data set's drawings, which stay on the device: plain or augmented, rotated and mirrored."""

import torch
from torch import Tensor
from torch.nn import functional as F

from model.data.omniglot import Drawings
from model.images.resize import to_side
from model.training.augmentation import augment, working_side

#: Rotations by a quarter turn. Training treats each rotation of a character as a class of its own.
ROTATIONS = 4


class DrawingBatches:
    """A data set's drawings on the device, in the size at which they are augmented for phi's `resolution` R.

    A batch of B images is given by three index tensors [B] int64: the class, the drawing within the class, and the
    symmetry, as `apply_symmetries` numbers them.
    """

    def __init__(self, drawings: Drawings, resolution: int, device: torch.device) -> None:
        self.resolution, self.device = resolution, device
        self.images = to_side(drawings.images, working_side(resolution)).to(device)  # [C, D, W, W] uint8

    def plain_batch(self, classes: Tensor, drawings: Tensor, symmetries: Tensor) -> Tensor:
        """Return the drawings without augmentation: [B,1,R,R] in 0..1."""
        images = self._batch(classes, drawings, symmetries)
        return F.avg_pool2d(images, images.shape[-1] // self.resolution)

    def augmented_batch(
        self,
        classes: Tensor,
        drawings: Tensor,
        symmetries: Tensor,
        generator: torch.Generator,
        elastic: float = 0.0,
    ) -> Tensor:
        """Return the drawings augmented by `model.training.augmentation.augment`: [B,1,R,R] in 0..1."""
        return augment(self._batch(classes, drawings, symmetries), self.resolution, generator, elastic)

    def augmented_tasks(
        self,
        classes: Tensor,
        drawings: Tensor,
        symmetries: int,
        generator: torch.Generator,
        elastic: float = 0.0,
    ) -> Tensor:
        """Return the augmented images of T tasks: classes [T,N] and drawings [T,N,K+Q] -> [T,N,K+Q,1,R,R].

        Each symmetry is a class of its own: the classes are numbered from 0 to C * `symmetries` - 1.
        """
        shape = drawings.shape
        of_images = classes.unsqueeze(-1).expand(shape).flatten()
        images = self.augmented_batch(
            of_images // symmetries, drawings.flatten(), of_images % symmetries, generator, elastic
        )
        return images.reshape(*shape, *images.shape[1:])

    def _batch(self, classes: Tensor, drawings: Tensor, symmetries: Tensor) -> Tensor:
        """Return the drawings at the working size: [B,1,W,W] in 0..1."""
        images = self.images[classes.to(self.device), drawings.to(self.device)].unsqueeze(1).float() / 255
        return apply_symmetries(images, symmetries)


def apply_symmetries(images: Tensor, symmetries: Tensor) -> Tensor:
    """Rotate and mirror each image [B,1,W,W] by its own symmetry [B].

    Symmetries 0 to 3 are rotations by so many quarter turns; 4 to 7 are the same, mirrored.
    """
    result = images.clone()
    for symmetry in range(1, 2 * ROTATIONS):
        chosen = (symmetries == symmetry).to(images.device)
        if bool(chosen.any()):
            rotated = torch.rot90(images[chosen], symmetry % ROTATIONS, dims=(-2, -1))
            result[chosen] = rotated if symmetry < ROTATIONS else rotated.flip(-1)
    return result
