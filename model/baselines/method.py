"""The two calls that every few-shot method here answers to, batched over tasks."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from model.data.omniglot import DataError
from model.data.photos import Photos, features
from model.leo import LatentEmbeddingOptimization


class Method(Protocol):
    """A few-shot classifier. Tasks may be ragged, as everywhere: membership rows of 0 are padding."""

    @property
    def name(self) -> str:
        """What it is called in tables and results."""

    @property
    def extractor(self) -> Callable[[Tensor], Tensor]:
        """What it makes of each picture before any task: [B,1,R,R] -> [B,...].

        Methods that look through the same extractor have equal ones, so that pictures pass through it once.
        """

    def adapt(self, support: Tensor, membership: Tensor) -> Any:
        """What the extractor made of support pictures [T,S,...], membership [T,S,N] -> state of T tasks."""

    def logits(self, state: Any, queries: Tensor) -> Tensor:
        """Queries as the extractor saw them [T,Q,...] -> [T,Q,N]; -inf for classes a task does not have."""


class Phi:
    """The extractor of methods that work on a LEO's features: [B,1,R,R] -> [B,F]."""

    def __init__(self, leo: LatentEmbeddingOptimization) -> None:
        self.leo = leo

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        return self.leo.features(self.leo.classifier.phi, images)

    @torch.no_grad()
    def of_photos(self, photos: Photos) -> Tensor:
        """Every picture of a data set of photos, by way of the features kept on disk: [C,D,F]."""
        backbone = self.leo.config.pretrained
        if backbone is None:
            raise DataError("this model knows drawings: give data in Omniglot's layout, ALPHABET/CHARACTER/IMAGE.png")
        return self._finished(features(photos, backbone)[:, :, 0].to(self.leo.alpha.device))

    def _finished(self, of_backbone: Tensor) -> Tensor:
        """What phi makes of what its backbone gives, [...,F]."""
        return self.leo.classifier.phi.postprocess(of_backbone)


class Bare(Phi):
    """A backbone's last layer's mean over all positions at length 1, as people use it: [B,3,R,R] -> [B,F].

    On pictures of a kind that nobody trained on, prototypes are often better off with these.
    """

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        return self._finished(self.leo.classifier.phi.blocks(images))

    def _finished(self, of_backbone: Tensor) -> Tensor:
        backbone = self.leo.config.pretrained
        assert backbone is not None  # noqa: S101, as its `blocks` are one
        (plain,) = backbone.parts["mean"]
        return F.normalize(of_backbone[..., plain.first : plain.first + plain.width], dim=-1)


def class_means(features: Tensor, membership: Tensor) -> Tensor:
    """[T,S,F], [T,S,N] -> [T,N,F]; zeros for absent classes."""
    shots = membership.sum(dim=1).clamp(min=1)  # [T, N]
    return torch.einsum("tsn,tsf->tnf", membership, features) / shots.unsqueeze(-1)


def without_absent(logits: Tensor, membership: Tensor) -> Tensor:
    """-inf for classes that no example of the task [T,S,N] belongs to: [T,B,N] -> [T,B,N]."""
    return logits.masked_fill((membership.sum(dim=1) == 0).unsqueeze(1), -torch.inf)
