"""Feature extractors that methods share: phi of a LEO, and the plain features of its pretrained backbone."""

import torch
from torch import Tensor
from torch.nn import functional as F

from model.backbones import Backbone
from model.data.photo_features import backbone_features
from model.data.photos import Photos
from model.data.sources import DataError
from model.leo import LatentEmbeddingOptimization


class LeoExtractor:
    """phi of a LEO's classifier: images [B,1 or 3,R,R] -> features [B,F]."""

    def __init__(self, leo: LatentEmbeddingOptimization) -> None:
        self.leo = leo

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        return self.leo.features(self.leo.classifier.phi, images)

    @torch.no_grad()
    def of_photos(self, photos: Photos) -> Tensor:
        """Extract the features of every photo [C,D,...,F], from the backbone's cached features where they are on disk.

        Raises `DataError` if the model takes drawings, and what `backbone_features` raises.
        """
        backbone = self.leo.config.pretrained
        if backbone is None:
            raise DataError("this model takes drawings: give data in Omniglot's layout, ALPHABET/CHARACTER/IMAGE.png")
        return self._from_backbone(self._of_backbone(photos, backbone).to(self.leo.alpha.device))

    def _of_backbone(self, photos: Photos, backbone: Backbone) -> Tensor:
        """All that the backbone gives of each photo, [C,D,...,W]."""
        return backbone_features(photos, backbone)[:, :, 0]

    def _from_backbone(self, features: Tensor) -> Tensor:
        """Turn all that the backbone gives, [...,W], into this extractor's features, [...,F]."""
        return self.leo.classifier.phi.postprocess(features)


class BackboneExtractor(LeoExtractor):
    """The backbone's last layer, averaged over all positions and normalised: [B,3,R,R] -> [B,F].

    These are the features that people commonly use. On kinds of pictures that no part of the model was trained on,
    prototypes are often more accurate with them than with LEO's.
    """

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        return self._from_backbone(self.leo.classifier.phi.blocks(images))

    def _from_backbone(self, features: Tensor) -> Tensor:
        backbone = self.leo.config.pretrained
        assert backbone is not None  # noqa: S101, only models with a backbone have this extractor
        # Of joined backbones, each one's features are scaled to the same length.
        means = [features[..., mean.first : mean.first + mean.width] for mean in backbone.parts["mean"]]
        return F.normalize(torch.cat([F.normalize(mean, dim=-1) for mean in means], dim=-1), dim=-1)


class PhotoViewsExtractor(LeoExtractor):
    """phi of a LEO with several `support_views` of photos: [B,3,R,R] -> [B,V,F], first those of the photo as it is."""

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        return self.leo.support_features(images)

    def _of_backbone(self, photos: Photos, backbone: Backbone) -> Tensor:
        return backbone_features(photos, backbone, self.leo.config.support_views)


class ViewsExtractor(LeoExtractor):
    """phi of a LEO with several `support_views`: [B,1,R,R] -> [B,2F], features as a query and then as support."""

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        return torch.cat([super().__call__(images), self.leo.support_features(images)], dim=-1)


class OwnEncoderExtractor(LeoExtractor):
    """phi of a LEO whose encoder has a phi of its own: [B,1,R,R] -> [B,2F], the classifier's features first."""

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        encoder_features = self.leo.features(self.leo.encoder_phi, images)
        return torch.cat([super().__call__(images), encoder_features], dim=-1)


def extractor_of(leo: LatentEmbeddingOptimization) -> LeoExtractor:
    """Return the extractor of all that a LEO needs of an image, as support or query."""
    if leo.encoder.features is not None:
        return OwnEncoderExtractor(leo)
    if leo.config.views_in_loss > 1:
        return PhotoViewsExtractor(leo)
    return ViewsExtractor(leo) if leo.config.support_views > 1 else LeoExtractor(leo)
