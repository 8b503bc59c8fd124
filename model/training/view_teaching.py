"""The last stage of training on drawings: from one view of a drawing, phi learns to give the mean over several views.

A task's support is seen in several views of each drawing, which would cost too much for a query. Part of what the mean
of the views is worth can be had from a phi that has learned it. Its teacher is the same phi, as it was when the stage
began.
"""

import copy

import torch
from torch import Tensor
from torch.nn import functional as F

from model import parallel
from model.leo import LatentEmbeddingOptimization
from model.networks.bent_copies import BentCopies
from model.training.config import DrawingTrainConfig
from model.training.drawing_batches import ROTATIONS, DrawingBatches


class ViewTeaching:
    """Trains phi alone: normalisation keeps its statistics, and the rest of the LEO stays as it is.

    `counts` [C] are the numbers of drawings of the classes in `batches`.
    """

    def __init__(
        self, config: DrawingTrainConfig, leo: LatentEmbeddingOptimization, batches: DrawingBatches, counts: Tensor
    ) -> None:
        self.config, self.leo, self.batches, self.counts = config, leo, batches, counts
        self.teacher = copy.deepcopy(leo.classifier.phi).requires_grad_(False).eval()
        self._copies = BentCopies(config.leo.model_copy(update={"support_views": config.taught_views}))
        self._copies.to(batches.device)

    def make_optimizer(self) -> torch.optim.Optimizer:
        """Return an optimizer of phi, the only part that learns from now on."""
        learned = [each for each in self.leo.classifier.phi.parameters() if each.requires_grad]
        self.leo.requires_grad_(False)
        return torch.optim.Adam([each.requires_grad_(True) for each in learned])

    def run_step(self, generator: torch.Generator, optimizer: torch.optim.Optimizer) -> tuple[int, dict[str, float]]:
        """Train on one random batch; return its number of images, and its loss and other figures by name.

        The loss is the cosine distance to the teacher's mean features, and the same of both as codes.
        """
        images = self._sample_batch(generator)
        wanted = self.teach(images)
        leo = self.leo.eval()
        found = F.normalize(leo.features(leo.classifier.phi, images).float(), dim=-1)  # [B, F]
        in_features = _distance(found, wanted)
        in_codes = _distance(leo.encoder.to_code(found), leo.encoder.to_code(wanted))
        watch = {"distance": float(in_features.detach())}
        return self.config.view_batch, watch | {"loss": leo.step_if_finite(in_features + in_codes, optimizer, images)}

    @torch.no_grad()
    def teach(self, images: Tensor) -> Tensor:
        """Return the means of the views' features, as the teacher sees them, of unit length: [B,1,R,R] -> [B,F]."""
        plain, of_copies = (self.leo.features(self.teacher, each).float() for each in (images, self._copies(images)))
        return F.normalize(self._copies.join(plain, of_copies), dim=-1)

    def _sample_batch(self, generator: torch.Generator) -> Tensor:
        """Return drawings without augmentation, rotated and mirrored: [B,1,R,R]. Of several processes, each its share.

        Every class is equally likely.
        """
        size = self.config.view_batch
        classes = torch.randint(len(self.counts), (size,), generator=generator)
        drawings = (torch.rand(size, generator=generator) * self.counts[classes]).long()
        symmetries = torch.randint(2 * ROTATIONS, (size,), generator=generator)
        return self.batches.plain_batch(*(parallel.share(each) for each in (classes, drawings, symmetries)))


def _distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean of 1 - cosine of pairs of vectors [B,F]."""
    return 1 - F.cosine_similarity(found, wanted, dim=-1).mean()
