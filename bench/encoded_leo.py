"""A LEO for photos on photos that are encoded once: what `LeoMethod` computes, for a fraction of the time.

An encoder is linear, and a task's examples are many times as many as the photos that they are sampled from. So the
photos are encoded before tasks are sampled, and the inner loop works on encoded examples. The decoder must be the
encoder's transpose, and its perceptron zero, as the presets for photos leave them.
"""

import torch
from torch import Tensor

from model.backbones import Backbone
from model.baselines.extractors import LeoExtractor
from model.baselines.method import without_absent
from model.data.photo_features import backbone_features
from model.data.photos import Photos
from model.evaluation.accuracy import ClassifiedTasks
from model.evaluation.reliability import reliability
from model.leo import LatentEmbeddingOptimization
from model.networks.curvature import Curvature
from model.networks.likeness import draw_together


class EncodedExtractor(LeoExtractor):
    """Encoded features of photos in all views, [C,D,V,L]."""

    def _of_backbone(self, photos: Photos, backbone: Backbone) -> Tensor:
        return backbone_features(photos, backbone, self.leo.config.support_views)

    @torch.no_grad()
    def _from_backbone(self, features: Tensor) -> Tensor:
        encoded: Tensor = self.leo.encoder.encode_examples(super()._from_backbone(features))
        return encoded


class EncodedLeo:
    """A method of comparison: a LEO with its weights as they are now, and so many inner steps."""

    def __init__(self, leo: LatentEmbeddingOptimization, steps: int, extractor: EncodedExtractor) -> None:
        if not leo.config.decoder_tied or bool(leo.decoder.fc3.weight.any()) or leo.config.inner_ridge is None:
            raise ValueError("this LEO's heads are not its codes alone, or its steps are plain: use LeoMethod")
        self.leo, self.steps, self.extractor = leo, steps, extractor
        self.name, self.scale = f"LEO {steps} steps", float(leo.decoder.log_scale.detach().exp())

    @torch.no_grad()
    def adapt(self, support: Tensor, membership: Tensor) -> tuple[Tensor, Tensor]:
        """Adapt to encoded examples in their views [T,S,V,L] -> codes [T,N,L], and the membership [T,S,N]."""
        config, pictures = self.leo.config, support[:, :, 0]
        codes = self.leo.encoder.aggregate_by_class(pictures, membership)  # [T, N, L]
        seen, wanted = support.flatten(1, 2), membership.repeat_interleave(support.shape[2], dim=1)
        real = wanted.sum(dim=-1, keepdim=True)
        curvature = Curvature.of(seen, wanted, config.inner_ridge or 1.0)
        for step in range(self.steps):
            logits = without_absent(self.scale * seen @ codes.mT, wanted)  # [T, SV, N]
            error = ((logits / config.inner_temperature).softmax(dim=-1) - wanted) * real / real.sum(1, keepdim=True)
            gradient = self.scale * error.mT @ seen  # times the inner temperature
            codes = codes - self.leo.step_size(step) * curvature.divide(gradient)
        if config.unrelated_cosine is not None:
            codes = draw_together(codes, pictures, membership, config.unrelated_cosine)
        return codes, membership

    @torch.no_grad()
    def logits(self, state: tuple[Tensor, Tensor], queries: Tensor) -> Tensor:
        """Classify encoded queries [T,Q,V,L], seen once -> [T,Q,N]."""
        codes, membership = state
        return without_absent(self.scale * queries[:, :, 0] @ codes.mT, membership)

    def expected_calibration_error(self, parts: list[ClassifiedTasks]) -> float:
        """The ECE of the probabilities of classified tasks."""
        confidences, right = [], []
        for part in parts:
            shots, ways = part.tasks.mean_shots[0], part.logits.shape[-1]
            p = (part.logits / self.leo.config.temperature_at(shots, ways)).softmax(dim=-1)
            confidences.append(p.amax(dim=-1).flatten())
            right.append((p.argmax(dim=-1) == part.labels).flatten())
        return reliability(torch.cat(confidences), torch.cat(right)).ece
