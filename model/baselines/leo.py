"""LEO as one of the methods, with any number of inner steps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.baselines.extractors import LeoExtractor, extractor_of
from model.functional import apply_head
from model.leo import LatentEmbeddingOptimization
from model.serving.adapt import Adapter


@dataclass(frozen=True)
class LeoState:
    """T tasks that a LEO has adapted to."""

    codes: Tensor  # [T, N, L], after the inner loop
    heads: Tensor  # [T, N, F+1], decoded from the codes; the bias is last
    membership: Tensor  # [T, S, N]


class LeoMethod:
    """A LEO with its weights as they are now, and `steps` inner steps (those of its config by default).

    It shares `extractor` with other methods where that gives all that this LEO needs. Make another one after the LEO
    has been trained further.
    """

    def __init__(
        self, leo: LatentEmbeddingOptimization, steps: int | None = None, extractor: LeoExtractor | None = None
    ) -> None:
        self.leo, self.adapter = leo, Adapter(leo)
        self.steps = leo.config.inner_steps if steps is None else steps
        self.name = f"LEO {self.steps} steps"
        needed = extractor_of(leo)
        self.extractor = needed if extractor is None or type(extractor) is not type(needed) else extractor

    @torch.no_grad()
    def adapt(self, support: Tensor, membership: Tensor) -> LeoState:
        of_views = self.leo.config.views_in_loss > 1
        features = support if of_views else self.support_features(support)
        encoder_features = support[..., -self.leo.config.feature_dim :]
        codes, heads, *_ = self.adapter.adapt_stacked(features, encoder_features, membership, self.steps)
        return LeoState(codes, heads, membership)

    @torch.no_grad()
    def logits(self, state: LeoState, queries: Tensor) -> Tensor:
        return apply_head(state.heads, self.classifier_features(queries), state.membership)

    def classifier_features(self, extracted: Tensor) -> Tensor:
        """The classifier's features of queries, among all that were extracted: [...,F or 2F or V,F] -> [...,F]."""
        return self.leo.of_pictures(extracted)[..., : self.leo.config.feature_dim]

    def support_features(self, extracted: Tensor) -> Tensor:
        """What reports on a support take of all that was extracted: [...,F or 2F or V,F] -> [...,F].

        Of a drawing this is the mean over its views, of a photo its features as it is.
        """
        if self.leo.config.views_in_loss > 1 or self.leo.config.support_views == 1:
            return self.classifier_features(extracted)
        return extracted[..., -self.leo.config.feature_dim :]
