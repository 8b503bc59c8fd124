"""LEO itself as one of the methods, with any number of inner steps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.baselines.method import Phi
from model.functional import apply_head
from model.leo import LatentEmbeddingOptimization
from model.serving.adapt import Adapter


class BothPhi(Phi):
    """The extractor of a LEO whose encoder has blocks of its own: [B,1,R,R] -> [B,2F], the classifier's first."""

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        own = self.leo.features(self.leo.encoder_phi, images)
        return torch.cat([super().__call__(images), own], dim=-1)


@dataclass(frozen=True)
class Adapted:
    """Adapted codes [T,N,L], the heads they became [T,N,F+1] and the support set's membership [T,S,N]."""

    codes: Tensor
    rows: Tensor
    membership: Tensor


class Leo:
    """Codes, relation, `steps` gradient steps on the codes (the config's by default), decoded heads."""

    def __init__(
        self, leo: LatentEmbeddingOptimization, steps: int | None = None, extractor: Phi | None = None
    ) -> None:
        self.leo, self.adapter = leo, Adapter(leo)  # the weights of now: make another after training on
        self.steps = leo.config.inner_steps if steps is None else steps
        self.name = f"LEO {self.steps} steps"
        self.extractor: Phi = BothPhi(leo) if leo.encoder.features is not None else extractor or Phi(leo)

    @torch.no_grad()
    def adapt(self, support: Tensor, membership: Tensor) -> Adapted:
        features = self.for_classifier(support)
        of_encoder = support[..., -features.shape[-1] :]
        codes, rows, *_ = self.adapter.adapt_stacked(features, of_encoder, membership, self.steps)
        return Adapted(codes, rows, membership)

    @torch.no_grad()
    def logits(self, state: Adapted, queries: Tensor) -> Tensor:
        return apply_head(state.rows, self.for_classifier(queries), state.membership)

    def for_classifier(self, seen: Tensor) -> Tensor:
        """Without what the extractor saw for an encoder of its own: [...,F or 2F] -> [...,F]."""
        return seen[..., : self.leo.config.feature_dim]
