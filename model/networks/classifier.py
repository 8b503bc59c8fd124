"""The classifier: the shared feature extractor phi, and a linear head that each task brings."""

from torch import Tensor, nn
from torch.nn import functional as F

from model.config import LEOConfig
from model.networks.features import FeatureExtractor


class LEOClassifier(nn.Module):
    """The feature extractor phi, shared by all tasks, and a linear head that each task brings as `params`.

    Without `params` it uses its default head `fc`, for `num_classes` classes, which plain supervised training can fit.
    """

    def __init__(self, num_classes: int, config: LEOConfig) -> None:
        super().__init__()
        self.phi = FeatureExtractor(config)
        self.fc = nn.Linear(config.feature_dim, num_classes)

    def extract_features(self, images: Tensor) -> Tensor:
        """Extract features from images: [B,1,R,R], ink 1 on paper 0 -> [B,F]."""
        features: Tensor = self.phi(images)
        return features

    def forward(self, images: Tensor, params: dict[str, Tensor] | None = None) -> Tensor:
        """Classify images: [B,1,R,R] -> logits [B,N], by a head of `fc.weight` [N,F] and `fc.bias` [N]."""
        features = self.extract_features(images)
        if params is None:
            logits: Tensor = self.fc(features)
            return logits
        return F.linear(features, params["fc.weight"], params["fc.bias"])
