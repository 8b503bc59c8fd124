"""The networks of LEO. Every one works on T tasks at once; shapes are beside the lines."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.config import LEOConfig


class ConvBlocks(nn.Sequential):
    """Blocks of Conv 3x3, BatchNorm, ReLU, MaxPool 2, then flatten: [B,1,R,R] -> [B,F].

    Pooling goes before the ReLU: the maximum commutes with it, and a quarter is left to rectify.
    """

    def __init__(self, config: LEOConfig) -> None:
        layers: list[nn.Module] = []
        width_in, stride = 1, config.stem_stride
        for width in config.widths:
            size = 2 * stride + 1  # 3, or 5 where a strided stem would leave gaps
            layers += [
                nn.Conv2d(width_in, width, size, stride, padding=stride, bias=False),
                nn.BatchNorm2d(width),
                nn.MaxPool2d(2),
                nn.ReLU(inplace=True),
            ]
            width_in, stride = width, 1
        super().__init__(*layers, nn.Flatten())

    def folded(self) -> nn.Sequential:
        """The same function for inference, each BatchNorm folded into the convolution before it."""
        layers: list[nn.Module] = []
        for layer in self:
            if isinstance(layer, nn.BatchNorm2d) and isinstance(layers[-1], nn.Conv2d):
                layers[-1] = fuse_conv_bn_eval(layers[-1], layer)
            else:
                layers.append(layer)
        return nn.Sequential(*layers)


class FeatureExtractor(nn.Module):
    """phi: drawings -> features, [B,1,R,R] -> [B,F], of length 1 if the config normalises them."""

    def __init__(self, config: LEOConfig) -> None:
        super().__init__()
        self.normalise = config.normalise_features
        self.blocks: nn.Sequential = ConvBlocks(config)
        # Features after a ReLU all point into the same corner; taking out their mean spreads the
        # cosines. Learned from there on; supervised pre-training sets it to the mean it measured.
        self.centre = nn.Parameter(torch.zeros(config.feature_dim), requires_grad=config.normalise_features)

    def fold_batch_norm(self) -> None:
        """For inference only: the same features in fewer passes over memory. Raises `RuntimeError` in training."""
        if self.training:
            raise RuntimeError("fold_batch_norm would freeze the statistics that training updates; call eval() first")
        if isinstance(self.blocks, ConvBlocks):
            self.blocks = self.blocks.folded()

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.blocks(images).to(images.dtype)  # [B, F]; out of bf16 under autocast
        if self.normalise:
            return F.normalize(features - self.centre, dim=-1)
        return features


class LEOEncoder(nn.Module):
    """Support features -> one code a class: a linear map, then the mean over the class's examples.

    With `own_encoder` it has convolution blocks of its own and takes images' features from those.
    """

    def __init__(self, config: LEOConfig) -> None:
        super().__init__()
        self.features = FeatureExtractor(config) if config.own_encoder else None
        self.to_code = nn.Linear(config.feature_dim, config.latent_dim, bias=not config.decoder_skip)

    def forward(self, features: Tensor, membership: Tensor) -> Tensor:
        """[T,S,F], [T,S,N] (1 where example s is of class n) -> class codes [T,N,L]."""
        codes = self.to_code(features)  # [T, S, L]
        shots = membership.sum(dim=1).clamp(min=1)  # [T, N], ragged K; absent classes stay at 0
        return torch.einsum("tsn,tsl->tnl", membership, codes) / shots.unsqueeze(-1)


class LEORelationNetwork(nn.Module):
    """z_n = mean over all classes m (n too) of R(c_n, c_m): each class's code learns of its rivals."""

    def __init__(self, config: LEOConfig) -> None:
        super().__init__()
        size = config.latent_dim
        self.residual = config.relation_residual
        self.hidden = nn.Linear(2 * size, size)
        self.out = nn.Linear(size, size)
        if self.residual:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def forward(self, codes: Tensor, present: Tensor) -> Tensor:
        """[T,N,L], [T,N] (1 where the task has the class) -> refined codes [T,N,L]."""
        # Linear(2L, L) of a concatenated pair is a sum of two Linear(L, L): N products, not N².
        weight_n, weight_m = self.hidden.weight.chunk(2, dim=1)
        of_n = F.linear(codes, weight_n, self.hidden.bias).unsqueeze(2)  # [T, N, 1, L]
        of_m = F.linear(codes, weight_m).unsqueeze(1)  # [T, 1, N, L]
        pairs = F.relu(of_n + of_m)  # [T, N, N, L]
        share = present / present.sum(dim=-1, keepdim=True)  # [T, N], 1/N for each class
        # The last layer is linear, so the mean over m may be taken before it.
        relations: Tensor = self.out(torch.einsum("tnml,tm->tnl", pairs, share))  # [T, N, L]
        return codes + relations if self.residual else relations


class LEODecoder(nn.Module):
    """One class's code -> that class's row of the head, F weights and a bias: [...,L] -> [...,F+1]."""

    def __init__(self, config: LEOConfig) -> None:
        super().__init__()
        first, second = config.decoder_hidden
        rows = config.feature_dim + 1
        self.fc1 = nn.Linear(config.latent_dim, first)
        self.fc2 = nn.Linear(first, second)
        self.fc3 = nn.Linear(second, rows)
        self.skip = nn.Linear(config.latent_dim, rows, bias=False) if config.decoder_skip else None
        self.log_scale = nn.Parameter(torch.tensor(config.logit_scale).log())
        if self.skip is not None:  # the linear path carries the head at first; fc3 learns what it misses
            nn.init.zeros_(self.fc3.weight)
            nn.init.zeros_(self.fc3.bias)

    def forward(self, codes: Tensor) -> Tensor:
        hidden = F.relu(self.fc2(F.relu(self.fc1(codes))))  # [..., H]
        rows: Tensor = self.fc3(hidden)  # [..., F+1]
        if self.skip is not None:
            rows = rows + self.skip(codes)
        return self.log_scale.exp() * rows

    def start_as_transpose_of(self, encoder: LEOEncoder) -> None:
        """Make the skip path the encoder's transpose, so a fresh head is the encoded class means."""
        if self.skip is not None:
            with torch.no_grad():
                self.skip.weight.zero_()
                self.skip.weight[:-1] = encoder.to_code.weight.T


class LEOClassifier(nn.Module):
    """phi, shared by all tasks, and a linear head that each task brings along.

    Called without `params` it answers with a default head of its own, `fc`, which pre-training or
    plain supervised use may train.
    """

    def __init__(self, num_classes: int, config: LEOConfig) -> None:
        super().__init__()
        self.phi = FeatureExtractor(config)
        self.fc = nn.Linear(config.feature_dim, num_classes)

    def extract_features(self, images: Tensor) -> Tensor:
        """Images [B,1,R,R], ink 1 on paper 0 -> features [B,F]."""
        features: Tensor = self.phi(images)
        return features

    def forward(self, images: Tensor, params: dict[str, Tensor] | None = None) -> Tensor:
        """Images [B,1,R,R] -> logits [B,N]; `params` holds `fc.weight` [N,F] and `fc.bias` [N]."""
        features = self.extract_features(images)
        if params is None:
            logits: Tensor = self.fc(features)
            return logits
        return F.linear(features, params["fc.weight"], params["fc.bias"])
