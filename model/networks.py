"""The networks of LEO. Every one works on T tasks at once; shapes are beside the lines."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.backbones import Backbone, BackboneError
from model.backbones.efficientnet import REACH
from model.config import GROUPS, LEOConfig


class ConvBlocks(nn.Sequential):
    """Blocks of Conv 3x3, BatchNorm, ReLU, MaxPool 2, then flatten: [B,1,R,R] -> [B,F].

    What the config's `normalisation`, `pooling`, `pool_whole` and `residual` say goes in their places.
    Max-pooling goes before the ReLU: the maximum commutes with it, and a quarter is left to rectify.
    """

    def __init__(self, config: LEOConfig) -> None:
        layers: list[nn.Module] = []
        width_in, stride = 1, config.stem_stride
        for number, width in enumerate(config.widths, start=1):
            size = 2 * stride + 1  # 3, or 5 where a strided stem would leave gaps
            layers += convolution(config, width_in, width, size, stride)
            whole = config.pool_whole and number == len(config.widths)
            if config.pooling == "max":
                layers += [nn.AdaptiveMaxPool2d(1) if whole else nn.MaxPool2d(2), nn.ReLU(inplace=True)]
            else:
                layers += [nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1) if whole else nn.AvgPool2d(2)]
            if config.residual and not whole:  # over a single pixel there is nothing to convolve
                layers.append(Residual(convolution(config, width, width)))
            width_in, stride = width, 1
        super().__init__(*layers, nn.Flatten())

    def folded(self) -> nn.Sequential:
        """The same function for inference, each BatchNorm folded into the convolution before it."""
        return nn.Sequential(*fold(self))


class Residual(nn.Module):
    """Adds to its input what some layers make of it, and rectifies the sum."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(maps + self.layers(maps))


def convolution(config: LEOConfig, width_in: int, width: int, size: int = 3, stride: int = 1) -> list[nn.Module]:
    """A convolution that keeps the side, but for its stride, and the config's normalisation behind it."""
    bare = config.normalisation == "none"
    made: list[nn.Module] = [nn.Conv2d(width_in, width, size, stride, padding=size // 2, bias=bare)]
    if config.normalisation == "batch":
        made.append(nn.BatchNorm2d(width))
    elif config.normalisation == "group":
        made.append(nn.GroupNorm(GROUPS, width))
    return made


def fold(layers: Iterable[nn.Module]) -> list[nn.Module]:
    """The same layers for inference, each BatchNorm folded into the convolution before it."""
    folded: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d) and isinstance(folded[-1], nn.Conv2d):
            folded[-1] = fuse_conv_bn_eval(folded[-1], layer)
            reach = (layer.bias + REACH * layer.weight.abs()).max().detach()  # above which hardly anything comes out
            folded[-1].register_buffer("reach", reach, persistent=False)
        elif isinstance(layer, Residual):
            folded.append(Residual(fold(layer.layers)))
        else:
            folded.append(layer)
    return folded


class FeatureExtractor(nn.Module):
    """phi: drawings -> features, [B,1,R,R] -> [B,F], of length 1 if the config normalises them.

    At inference the mean over the config's `view_angles`, if it names any: what one view of a
    drawing it has never seen the like of gets wrong, another gets right.
    """

    views: Tensor

    def __init__(self, config: LEOConfig) -> None:
        super().__init__()
        self.normalise, self.power = config.normalise_features, config.feature_power
        pretrained = config.pretrained
        self.parts = () if pretrained is None else pretrained.parts[config.backbone_pooling]
        self.blocks: nn.Module = (
            ConvBlocks(config) if pretrained is None else FrozenBackbone(pretrained, config.backbone_sha256)
        )
        # Features after a ReLU all point into the same corner; taking out their mean spreads the
        # cosines. Learned from there on; supervised pre-training sets it to the mean it measured.
        self.centre = nn.Parameter(torch.zeros(config.feature_dim), requires_grad=config.normalise_features)
        self.register_buffer("views", rotation_grids(config.view_angles, config.resolution), persistent=False)

    def fold_batch_norm(self) -> None:
        """For inference only: the same features in fewer passes over memory. Raises `RuntimeError` in training."""
        if self.training:
            raise RuntimeError("fold_batch_norm would freeze the statistics that training updates; call eval() first")
        if isinstance(self.blocks, ConvBlocks):
            self.blocks = self.blocks.folded()

    def forward(self, images: Tensor) -> Tensor:
        views = len(self.views)
        if self.training or views == 0:
            return self._of_one_view(images)
        seen = images.repeat(views, 1, 1, 1)  # [V B, 1, R, R]
        grids = self.views.to(images.dtype).repeat_interleave(len(images), dim=0)  # [V B, R, R, 2]
        seen = F.grid_sample(seen, grids, align_corners=False)
        mean = self._of_one_view(seen).unflatten(0, (views, -1)).mean(dim=0)  # [B, F]
        return F.normalize(mean, dim=-1) if self.normalise else mean

    def _of_one_view(self, images: Tensor) -> Tensor:
        return self.finished(self.blocks(images).to(images.dtype))  # [B, F]; out of bf16 under autocast

    def finished(self, features: Tensor) -> Tensor:
        """What the blocks give, normalised as the config says: [...,F], of a pretrained backbone [...,W] -> [...,F]."""
        chosen = self.chosen(features)
        return F.normalize(chosen - self.centre, dim=-1) if self.normalise else chosen

    def chosen(self, features: Tensor) -> Tensor:
        """Of all that a pretrained backbone gives, [...,W], what the config wants, not yet centred: [...,F]."""
        if not self.parts:
            return features
        chosen = [features[..., part.first : part.first + part.width] for part in self.parts]
        if self.power != 1:  # Tukey's ladder, for features that are many small and few large (Yang et al., 2021)
            chosen = [part.sign() * part.abs().pow(self.power) for part in chosen]
        if len(chosen) > 1 and self.normalise:
            weights = [part.weight**0.5 for part in self.parts]
            chosen = [weight * F.normalize(part, dim=-1) for weight, part in zip(weights, chosen, strict=True)]
        return torch.cat(chosen, dim=-1)


def rotation_grids(degrees: Sequence[float], resolution: int) -> Tensor:
    """Where to look for each pixel of an image turned by so much: [V,R,R,2] in -1..1, for `grid_sample`."""
    if not degrees:
        return torch.empty(0, resolution, resolution, 2)
    angles = torch.tensor(degrees, dtype=torch.get_default_dtype()).deg2rad()
    cos, sin, none = angles.cos(), angles.sin(), torch.zeros_like(angles)
    theta = torch.stack([torch.stack([cos, -sin, none], dim=-1), torch.stack([sin, cos, none], dim=-1)], dim=1)
    return F.affine_grid(theta, [len(angles), 1, resolution, resolution], align_corners=False)  # [V, R, R, 2]


class FrozenBackbone(nn.Module):
    """A pretrained backbone: images in 0..1, [B,3,R,R] -> [B,F]. Never trained, so always as at inference.

    Raises `BackboneError` where its weights are not there, or not those that `sha256` names.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, sha256: str = "") -> None:
        super().__init__()
        loaded = backbone.load()
        if sha256 and loaded.sha256 != sha256:
            raise BackboneError(
                f"{backbone.name}'s weights are others than this model was trained on: "
                f"their SHA-256 is {loaded.sha256[:12]}..., not {sha256[:12]}..."
            )
        self.network = loaded.network.requires_grad_(False).eval()
        self.register_buffer("mean", torch.tensor(backbone.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "FrozenBackbone":
        """As every module's, but the network keeps to its stored statistics."""
        super().train(mode)
        self.network.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network((images - self.mean) / self.std)
        return features


@dataclass(frozen=True)
class Gaussian:
    """Independent normals; `log_variance` is None where the config asks for plain numbers."""

    mean: Tensor
    log_variance: Tensor | None

    def draw(self) -> Tensor:
        """A sample by the reparametrisation trick: gradients reach mean and variance."""
        if self.log_variance is None:
            return self.mean
        return self.mean + torch.randn_like(self.mean) * (0.5 * self.log_variance).exp()

    def kl_to_standard(self) -> Tensor:
        """KL(self || N(0, 1)), summed over the last dimension (Kingma and Welling 2014, appendix B)."""
        if self.log_variance is None:
            raise ValueError("plain numbers have no divergence; set stochastic=True")
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance).sum(dim=-1)


class LEOEncoder(nn.Module):
    """Support features -> one code a class: a linear map, then the mean over the class's examples, or regression.

    With `own_encoder` it has convolution blocks of its own and takes images' features from those.
    """

    def __init__(self, config: LEOConfig) -> None:
        super().__init__()
        self.features = FeatureExtractor(config) if config.own_encoder else None
        self.dropout = nn.Dropout(config.dropout)
        self.unit, self.ridge, self.evenness = config.unit_codes, config.code_ridge, config.code_evenness
        self.to_code = nn.Linear(config.feature_dim, config.latent_dim, bias=not config.decoder_skip)
        self.salience = nn.Linear(config.latent_dim, 1, bias=False) if config.attention else None
        if self.salience is not None:
            nn.init.zeros_(self.salience.weight)  # all examples alike: the plain mean

    def each(self, features: Tensor) -> Tensor:
        """Codes of single examples: [T,S,F] -> [T,S,L]."""
        codes: Tensor = self.to_code(self.dropout(features))
        return codes

    def mean_by_class(self, codes: Tensor, membership: Tensor) -> Tensor:
        """[T,S,L], [T,S,N] (1 where example s is of class n) -> [T,N,L]; absent classes are 0."""
        if self.ridge is not None:
            return evened_codes(ridge_codes(codes, membership, self.ridge), membership, self.evenness)
        share = membership / membership.sum(dim=1, keepdim=True).clamp(min=1)  # [T, S, N], ragged K
        if self.salience is not None:
            scores = self.salience(codes).masked_fill(membership == 0, -1e9)  # [T, S, N]
            share = scores.softmax(dim=1) * membership  # an absent class stays at 0
        codes = torch.einsum("tsn,tsl->tnl", share, codes)
        return F.normalize(codes, dim=-1) if self.unit else codes

    def forward(self, features: Tensor, membership: Tensor) -> Tensor:
        """[T,S,F], [T,S,N] -> class codes [T,N,L]."""
        return self.mean_by_class(self.each(features), membership)


def ridge_codes(codes: Tensor, membership: Tensor, ridge: float) -> Tensor:
    """Ridge regression of classes on the codes of examples: [T,S,L], [T,S,N] -> [T,N,L]; absent classes are 0.

    In the dual, since examples are few (Bertinetto et al., 2019). Each class counts the same, whatever its shots.
    """
    shots = membership.sum(dim=1, keepdim=True)  # [T, 1, N]
    present = (shots > 0).to(codes.dtype)
    real = membership.sum(dim=-1, keepdim=True)  # [T, S, 1], 0 for padding
    targets = (membership - present / present.sum(dim=-1, keepdim=True)) * real  # [T, S, N], their mean taken out
    even = shots.sum(dim=-1, keepdim=True) / present.sum(dim=-1, keepdim=True)  # [T, 1, 1], mean shots
    strength = ridge * (membership * shots).sum(dim=-1) / even.squeeze(-1) + 1 - real.squeeze(-1)  # [T, S]
    codes = codes * real
    dual: Tensor = torch.linalg.solve(codes @ codes.mT + torch.diag_embed(strength), targets)  # [T, S, N]
    return dual.mT @ codes


def evened_codes(codes: Tensor, membership: Tensor, power: float) -> Tensor:
    """Regression's codes [T,N,L] less long where classes are alike: divided by a power of how long they are.

    For such classes it makes long codes of what little tells them apart, and of what is chance; answers by them would
    sound surer than they are. Their size is the root of their mean square length over the cube root of the
    shots, with which the codes of any classes grow. `membership` [T,S,N].
    """
    if not power:
        return codes
    shots = membership.sum(dim=1)  # [T, N]
    ways = (shots > 0).sum(dim=1)  # [T]
    length = (codes.square().sum(dim=(1, 2)) / ways).clamp(min=1e-12).sqrt()  # [T]
    size = length / (shots.sum(dim=1) / ways).pow(1 / 3)
    return codes / size.pow(power).view(-1, 1, 1)


class LEORelationNetwork(nn.Module):
    """z_n = mean over all classes m (n too) of R(c_n, c_m): each class's code learns of its rivals."""

    def __init__(self, config: LEOConfig) -> None:
        super().__init__()
        size = config.latent_dim
        self.residual = config.relation_residual
        self.steps = config.relation_steps
        width = config.relation_width or size
        self.hidden = nn.Linear(2 * size, width)
        self.out = nn.Linear(width, size)
        self.out_log_variance = nn.Linear(width, size) if config.stochastic else None
        if self.residual:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)
        if self.out_log_variance is not None:  # nearly certain at first: a standard deviation of 0.05
            nn.init.zeros_(self.out_log_variance.weight)
            nn.init.constant_(self.out_log_variance.bias, -6.0)

    def forward(self, codes: Tensor, present: Tensor) -> Gaussian:
        """[T,M,L], [T,M] (1 where there is such a class or example) -> refined codes [T,M,L]."""
        share = present / present.sum(dim=-1, keepdim=True)  # [T, M]
        log_variance = None
        for _ in range(self.steps):
            # Linear(2L, W) of a concatenated pair is a sum of two Linear(L, W): M products, not M².
            weight_n, weight_m = self.hidden.weight.chunk(2, dim=1)
            of_n = F.linear(codes, weight_n, self.hidden.bias).unsqueeze(2)  # [T, M, 1, W]
            of_m = F.linear(codes, weight_m).unsqueeze(1)  # [T, 1, M, W]
            # The last layer is linear, so the mean over m may be taken before it.
            mean = torch.einsum("tnml,tm->tnl", F.relu(of_n + of_m), share)  # [T, M, W]
            relations: Tensor = self.out(mean)  # [T, M, L]
            codes = codes + relations if self.residual else relations
            log_variance = None if self.out_log_variance is None else self.out_log_variance(mean)
        return Gaussian(codes, log_variance)


class LEODecoder(nn.Module):
    """One class's code -> that class's row of the head, F weights and a bias: [...,N,L] -> [...,N,F+1]."""

    def __init__(self, config: LEOConfig) -> None:
        super().__init__()
        first, second = config.decoder_hidden
        rows = config.feature_dim + 1
        self.fc1 = nn.Linear(config.latent_dim, first)
        self.fc2 = nn.Linear(first, second)
        self.experts = config.decoder_experts
        # Rows come straight from the last layer, or are mixed from the few of a basis.
        self.basis = None if config.decoder_rank is None else nn.Linear(config.decoder_rank, rows, bias=False)
        inner = config.decoder_rank or rows  # R or F+1
        self.fc3 = nn.Linear(second, inner * self.experts)
        self.gate = nn.Linear(config.latent_dim, self.experts) if self.experts > 1 else None
        self.condition = nn.Linear(config.latent_dim, first, bias=False) if config.decoder_conditioned else None
        self.skip = nn.Linear(config.latent_dim, inner, bias=False) if config.decoder_skip else None
        self.log_scale = nn.Parameter(torch.tensor(config.logit_scale).log())
        self.log_variance = nn.Linear(second, rows) if config.stochastic else None
        if self.condition is not None:
            nn.init.zeros_(self.condition.weight)
        if self.log_variance is not None:  # a standard deviation of 0.01 at first, about a fifth of a weight
            nn.init.zeros_(self.log_variance.weight)
            nn.init.constant_(self.log_variance.bias, -9.0)
        if self.skip is not None:  # the linear path carries the head at first; fc3 learns what it misses
            nn.init.zeros_(self.fc3.weight)
            nn.init.zeros_(self.fc3.bias)

    @property
    def is_plain(self) -> bool:
        """Whether a class's row is a perceptron of its code alone, which has a closed form (`serving.adapt`)."""
        return self.experts == 1 and self.condition is None

    def forward(self, codes: Tensor, present: Tensor | None = None) -> Tensor:
        """`present` [...,N] is 1 for the classes the task has; all of them if it is not given."""
        return self.distribution(codes, present).mean

    def distribution(self, codes: Tensor, present: Tensor | None = None) -> Gaussian:
        """What a stochastic head is drawn from: [...,N,L] -> rows [...,N,F+1]."""
        first = self.fc1(codes)  # [..., N, H1]
        if self.condition is not None:
            present = torch.ones_like(codes[..., 0]) if present is None else present
            share = (present / present.sum(dim=-1, keepdim=True)).unsqueeze(-1)  # [..., N, 1]
            first = first + self.condition((codes * share).sum(dim=-2, keepdim=True))
        hidden = F.relu(self.fc2(F.relu(first)))  # [..., N, H]
        rows: Tensor = self.fc3(hidden)  # [..., N, E (F+1)], or R for F+1
        if self.gate is not None:
            gate = self.gate(codes).softmax(dim=-1).unsqueeze(-1)  # [..., N, E, 1]
            rows = (rows.unflatten(-1, (self.experts, -1)) * gate).sum(dim=-2)  # [..., N, F+1]
        if self.skip is not None:
            rows = rows + self.skip(codes)
        if self.basis is not None:
            rows = self.basis(rows)  # [..., N, F+1]
        scale = self.log_scale.exp()
        if self.log_variance is None:
            return Gaussian(scale * rows, None)
        return Gaussian(scale * rows, self.log_variance(hidden) + 2 * self.log_scale)

    def correlation_penalty(self) -> Tensor:
        """Mean squared correlation between the directions of two latent dimensions (the paper's C_d - I)."""
        penalties = []
        for layer in (self.fc1, self.skip):
            if layer is not None:
                directions = F.normalize(layer.weight, dim=0)  # [out, L]
                correlation = directions.T @ directions  # [L, L]
                penalties.append((correlation - torch.eye(len(correlation), device=correlation.device)).square().mean())
        return torch.stack(penalties).sum()

    def start_as_transpose_of(self, encoder: LEOEncoder) -> None:
        """Make the skip path the encoder's transpose, so a fresh head is the encoded class means."""
        if self.skip is not None:
            path = self.skip.weight if self.basis is None else self.basis.weight[:, : encoder.to_code.out_features]
            with torch.no_grad():
                if self.basis is not None:
                    nn.init.eye_(self.skip.weight)
                path.zero_()
                path[:-1] = encoder.to_code.weight.T


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
