"""A data set's drawings, resident on the device, and batches of them turned, mirrored and bent."""

import torch
from torch import Tensor
from torch.nn import functional as F

from model.data.omniglot import Drawings
from model.images.resize import to_side
from model.training.augmentation import augment, working_side

#: Quarter turns, each of which makes a class of its own of every character.
ROTATIONS = 4


class DeviceDrawings:
    """Drawings at the side where they are bent for phi's `resolution`.

    A batch of B is named by which class, which of its drawings, and how turned: three times [B] int64.
    """

    def __init__(self, drawings: Drawings, resolution: int, device: torch.device) -> None:
        self.resolution, self.device = resolution, device
        self.images = to_side(drawings.images, working_side(resolution)).to(device)  # [C, D, W, W] uint8

    def plain(self, classes: Tensor, slots: Tensor, turns: Tensor) -> Tensor:
        """As they were drawn: [B,1,R,R] in 0..1."""
        shown = self._turned(classes, slots, turns)
        return F.avg_pool2d(shown, shown.shape[-1] // self.resolution)

    def augmented_batch(
        self,
        classes: Tensor,
        slots: Tensor,
        turns: Tensor,
        generator: torch.Generator,
        elastic: float = 0.0,
    ) -> Tensor:
        """As another hand would draw them, see `model.training.augmentation.augment`: [B,1,R,R] in 0..1."""
        shown = self._turned(classes, slots, turns)
        return augment(shown, self.resolution, generator, elastic)

    def _turned(self, classes: Tensor, slots: Tensor, turns: Tensor) -> Tensor:
        """[B] three times -> [B,1,W,W] in 0..1."""
        return turn(self.images[classes.to(self.device), slots.to(self.device)].unsqueeze(1).float() / 255, turns)


def turn(images: Tensor, turns: Tensor) -> Tensor:
    """Images [B,1,W,W], each turned by its own number of quarter circles [B]; mirrored too from 4 on."""
    turned = images.clone()
    for symmetry in range(1, 2 * ROTATIONS):
        mine = (turns == symmetry).to(images.device)
        if bool(mine.any()):
            some = torch.rot90(images[mine], symmetry % ROTATIONS, dims=(-2, -1))
            turned[mine] = some if symmetry < ROTATIONS else some.flip(-1)
    return turned
