"""Supervised pretraining of phi: a cosine classifier learns all training characters, each rotation a class of its own.

It needs far less time for each image than episodes do. Optionally phi also learns to agree with the codes of an
already trained LEO, the teacher (distillation).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model import parallel
from model.data.omniglot import Drawings
from model.leo import LatentEmbeddingOptimization
from model.training.config import DrawingTrainConfig
from model.training.drawing_batches import ROTATIONS, DrawingBatches


class Pretraining:
    """The first stage of training a LEO on drawings: phi and the encoder's linear map, under a cosine classifier.

    `prototypes` [MC,L] are the classifier's weights: a row for each of C classes in each of M symmetries.
    """

    def __init__(
        self,
        config: DrawingTrainConfig,
        leo: LatentEmbeddingOptimization,
        training: Drawings,
        batches: DrawingBatches,
        teacher: LatentEmbeddingOptimization | None,
    ) -> None:
        self.config, self.leo, self.batches, self.teacher = config, leo, batches, teacher
        self.device, self.counts = batches.device, training.counts
        self.symmetries = 2 * ROTATIONS if config.pretrain_mirrored else ROTATIONS
        self.teacher_batches = (
            None if teacher is None else DrawingBatches(training, teacher.config.resolution, self.device)
        )
        prototypes = F.normalize(torch.randn(len(training) * self.symmetries, config.leo.latent_dim), dim=-1)
        self.prototypes = nn.Parameter(prototypes.to(self.device))

    def prototypes_from_codes(self) -> None:
        """Set each prototype to the mean code of its class. With random ones, training would undo what phi learned."""
        leo = self.leo.eval()
        drawings = torch.arange(int(self.counts.max()))
        with torch.no_grad():
            for index in range(len(self.prototypes)):
                of_class = drawings[: int(self.counts[index // self.symmetries])]
                classes, symmetries = (torch.full_like(of_class, part) for part in divmod(index, self.symmetries))
                images = self.batches.plain_batch(classes, of_class, symmetries)
                codes = leo.encoder.to_code(leo.features(leo.classifier.phi, images))  # [D, L]
                self.prototypes[index] = F.normalize(codes, dim=-1).mean(dim=0)

    def make_optimizer(self) -> torch.optim.Optimizer:
        """Return an optimizer of phi, the encoder's linear map and the prototypes."""
        learned = [*self.leo.classifier.phi.parameters(), *self.leo.encoder.to_code.parameters()]
        groups = [{"params": learned, "weight_decay": 1e-4}, {"params": [self.prototypes], "weight_decay": 0.0}]
        return torch.optim.AdamW(groups)

    def run_step(
        self, step: int, generator: torch.Generator, optimizer: torch.optim.Optimizer
    ) -> tuple[int, dict[str, float]]:
        """Train on one random batch; return its number of images, and its loss and other figures by name."""
        config, leo = self.config, self.leo
        classes, drawings, symmetries, augmentation = self._sample_batch(generator)
        images = self.batches.augmented_batch(classes, drawings, symmetries, augmentation, config.pretrain_elastic)
        targets = (classes * self.symmetries + symmetries).to(self.device)
        leo.train()
        if step == 0:
            with torch.no_grad():  # start phi's centre at the mean of what its untrained blocks give
                leo.classifier.phi.centre.copy_(leo.classifier.phi.blocks(images).float().mean(dim=0))
                parallel.average([leo.classifier.phi.centre.data])
        codes = leo.encoder.to_code(leo.features(leo.classifier.phi, images))  # [B, L]
        cosines = F.normalize(codes, dim=-1) @ F.normalize(self.prototypes, dim=-1).T  # [B, MC]
        loss = F.cross_entropy(config.pretrain_scale * cosines, targets, label_smoothing=0.05)
        watch = {"accuracy": float((cosines.argmax(-1) == targets).float().mean())}
        if self.teacher is not None and self.teacher_batches is not None:
            with torch.no_grad():  # the teacher gets the same drawings without augmentation
                plain = self.teacher_batches.plain_batch(classes, drawings, symmetries)
                wanted = self.teacher.encoder.to_code(self.teacher.features(self.teacher.classifier.phi, plain))
            agreement = F.cosine_similarity(codes, wanted, dim=-1).mean()
            loss = loss + config.distill * (1 - agreement)
            watch["agreement"] = float(agreement.detach())
        return config.pretrain_batch, watch | {"loss": leo.step_if_finite(loss, optimizer, images)}

    def _sample_batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, torch.Generator]:
        """Sample classes, drawings and symmetries, [B] each, and a generator for their augmentation.

        Every drawing is equally likely. Of several processes, each gets its share of the batch.
        """
        batch = self.config.pretrain_batch
        sampled = torch.randint(int(self.counts.sum()), (batch,), generator=generator)
        ends = self.counts.cumsum(0)
        classes = torch.searchsorted(ends, sampled, right=True)
        drawings = sampled - (ends - self.counts)[classes]
        symmetries = torch.randint(self.symmetries, (batch,), generator=generator)
        augmentation = process_generator(generator)
        return parallel.share(classes), parallel.share(drawings), parallel.share(symmetries), augmentation


def process_generator(generator: torch.Generator) -> torch.Generator:
    """Return a generator seeded from `generator` and the rank: each process augments its share differently."""
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return torch.Generator().manual_seed((seed + parallel.rank()) % 2**63)
