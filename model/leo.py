"""The LEO algorithm: Latent Embedding Optimization (Rusu et al., ICLR 2019, arXiv 1807.05960).

Read `encode` and `adapt` first. The support set is encoded to one code a class, and the codes are related. The inner
loop decodes the codes to a classifier head, and takes gradient steps on the codes that lower the head's loss on the
support set.

Letters in shapes: T tasks, N ways (classes), S support images, Q query images, L dimension of a code, F features,
R side of an image in pixels. Tasks of different N and S share a batch: support labels of -1 are padding, and a class
without a label is absent from its task.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.background import Background
from model.checkpoint import (
    WEIGHTS,
    check_weights,
    inference_state,
    read_background,
    read_info,
    read_weights,
    save_model,
)
from model.config import LEOConfig
from model.functional import apply_head, code_spread, cross_entropy, one_hot, present
from model.hub import REPOSITORY, download
from model.networks.bent_copies import BentCopies
from model.networks.classifier import LEOClassifier
from model.networks.curvature import Curvature
from model.networks.decoder import LEODecoder
from model.networks.encoder import LEOEncoder
from model.networks.features import FeatureExtractor
from model.networks.gaussian import Gaussian
from model.networks.likeness import draw_together
from model.networks.photo_views import PhotoViews
from model.networks.relation import LEORelationNetwork
from model.outer_loop import MAX_SKIPPED_IN_A_ROW, TrainingDiverged, clip_and_step, likely_cause
from model.shipped import model_folder


@dataclass(frozen=True)
class Adaptation:
    """Result of the inner loop for T tasks."""

    codes: Tensor  # [T, N, L], adapted
    heads: Tensor  # [T, N, F+1], weights and bias decoded from the codes, fine-tuned if the config says so
    losses: Tensor  # [T, steps + 1], support loss before each step on codes, then on heads, and after the last
    logits: Tensor  # [T, S, N], of the support set by the adapted head; -inf for absent classes


class LatentEmbeddingOptimization(nn.Module):
    """A LEO: feature extractor phi, encoder, relation network and decoder, all meta-learned, and the inner loop.

    The positional arguments make LEO's basic form (`LEOConfig`). Pass a `config` for any other. Tasks of any number of
    classes run on the same weights: `num_classes` only sizes the default head that `classifier` uses without
    parameters. Raises `ValueError` where it is below 2.
    """

    def __init__(
        self,
        num_classes: int = 5,
        latent_dim: int = 64,
        inner_lr: float = 0.01,
        outer_lr: float = 0.001,
        inner_steps: int = 5,
        *,
        config: LEOConfig | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes} is too few: a classifier needs at least 2 classes")
        self.config = config or LEOConfig.basic(
            latent_dim=latent_dim, inner_lr=inner_lr, outer_lr=outer_lr, inner_steps=inner_steps
        )
        self.classifier = LEOClassifier(num_classes, self.config)
        self.views: BentCopies | PhotoViews = BentCopies(self.config)
        if self.config.pretrained is not None:
            self.views = PhotoViews(self.config.support_views, self.config.resolution)
        self.encoder = LEOEncoder(self.config)
        self.relation = LEORelationNetwork(self.config)
        self.decoder = LEODecoder(self.config)
        self.decoder.start_as_transpose_of(self.encoder)
        if self.decoder.skip is not None:
            self.decoder.skip.requires_grad_(not self.config.decoder_tied)
        per_step = (max(1, self.config.inner_steps),) if self.config.inner_lr_per_step else ()
        learned = self.config.learn_inner_lr
        self.alpha = nn.Parameter(
            torch.full((*per_step, self.config.latent_dim), self.config.inner_lr), requires_grad=learned
        )
        self.finetune_lr = None
        if self.config.finetune_steps:
            self.finetune_lr = nn.Parameter(torch.tensor(self.config.finetune_lr), requires_grad=learned)
        #: What tells pictures of other classes from those of a task; None until it is calibrated. Training ends it.
        self.background: Background | None = None
        self.bf16 = False  # whether convolutions run in bfloat16; the trainer sets it
        self.skipped_steps = 0  # outer steps that were not finite
        self._skipped_in_a_row = 0
        self._optimizer: torch.optim.Optimizer | None = None

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str | torch.device = "cpu", *, revision: str | None = None
    ) -> Self:
        """Load a model, in `eval` mode on the device.

        `folder` holds `model.safetensors` and `config.json`; or it is the name of a shipped model, such as `omniglot`.
        A string `owner/name` that is neither is a model on the Hugging Face Hub, at a `revision` of it; a `Path` never
        is. Raises `model.checkpoint.CheckpointError`, saying which file is wrong and why, or `BackboneError` where the
        weights of its pretrained network are missing.
        """
        name, folder = folder, model_folder(folder)
        if isinstance(name, str) and not folder.exists() and REPOSITORY.fullmatch(name):
            folder = download(name, revision)
        info = read_info(folder)
        tensors = read_weights(folder, info)
        leo = cls(config=info.config)
        check_weights(tensors, inference_state(leo), folder / WEIGHTS)
        leo.load_state_dict(tensors, strict=False)  # `check_weights` compared names; the rest is not stored
        if info.config.decoder_tied:
            leo.decoder.start_as_transpose_of(leo.encoder)
        leo.background = read_background(folder, info)
        return leo.to(device).eval()

    def save_pretrained(self, folder: str | Path, name: str | None = None, card: dict[str, Any] | None = None) -> None:
        """Write a model folder, which `from_pretrained` and the service read, and which the Hugging Face Hub takes.

        `name` is what the service calls the model; the folder's own name by default. `card` is anything JSON can hold
        about how the model was made.
        """
        folder = Path(folder)
        save_model(self, folder, name or folder.resolve().name, card)

    # -- the algorithm, over a batch of tasks ------------------------------------------------

    def encode(self, encoder_features: Tensor, membership: Tensor) -> Tensor:
        """Encode support sets: encoder features [T,S,F], membership [T,S,N] -> initial codes z [T,N,L]."""
        return self.combine(self.encoder.encode_examples(encoder_features), membership)

    def combine(self, encoded: Tensor, membership: Tensor) -> Tensor:
        """Combine encoded examples [T,S,L] to initial codes z [T,N,L] by membership [T,S,N], and relate them."""
        return self._sample_or_mean(self._related(encoded, membership))

    def encode_distribution(self, encoder_features: Tensor, membership: Tensor) -> Gaussian:
        """Distribution of the initial codes: encoder features [T,S,F], membership [T,S,N] -> [T,N,L]."""
        return self._related(self.encoder.encode_examples(encoder_features), membership)

    def _related(self, encoded: Tensor, membership: Tensor) -> Gaussian:
        aggregate = self.encoder.aggregate_by_class
        if self.config.relation_over == "classes":
            refined: Gaussian = self.relation(aggregate(encoded, membership), present(membership))
            return refined
        real = (membership.sum(dim=-1) > 0).to(encoded.dtype)  # [T, S], 0 for padding
        related: Gaussian = self.relation(encoded, real)  # [T, S, L]
        log_variance = None if related.log_variance is None else aggregate(related.log_variance, membership)
        return Gaussian(aggregate(related.mean, membership), log_variance)

    def _sample_or_mean(self, distribution: Gaussian) -> Tensor:
        """A sample in training, the mean at inference."""
        return distribution.sample() if self.training else distribution.mean

    def step_size(self, step: int) -> Tensor:
        """alpha [L] of an inner step, counted from 0. A step beyond the trained ones takes the last alpha."""
        return self.alpha[min(step, len(self.alpha) - 1)] if self.config.inner_lr_per_step else self.alpha

    def inner_loss(self, logits: Tensor, membership: Tensor) -> Tensor:
        """The loss of each task that the inner loop lowers: logits [T,S,N], membership [T,S,N] -> [T].

        It is the cross-entropy of the logits divided by the config's `inner_temperature`.
        """
        return cross_entropy(logits / self.config.inner_temperature, membership)

    def adapt(
        self,
        codes: Tensor,
        features: Tensor,
        membership: Tensor,
        steps: int | None = None,
    ) -> Adaptation:
        """Run the inner loop: z <- z - alpha * t * grad_z loss(support), `steps` times (default: the config's).

        The loss is `inner_loss`. Its gradient is multiplied by the `inner_temperature` t, which has divided it; with
        an `inner_ridge` in the config, it is divided by the support's `Curvature`.

        With an `unrelated_cosine`, the codes of classes that look alike are then drawn together; the losses are those
        before that.

        Takes initial codes [T,N,L], the classifier's features of the support set [T,S,F], and membership [T,S,N]. With
        several `views_in_loss` features are [T,S,V,F], and the loss is the mean over the views of all pictures.
        The config's fine-tuning steps on the decoded heads follow, unless `steps` is 0.

        While autograd records, the result is differentiable in codes, features and parameters. With the config's
        `second_order` that includes the inner loop's own gradients.
        """
        steps = self.config.inner_steps if steps is None else steps
        t = self.config.inner_temperature
        training = torch.is_grad_enabled()
        second_order = training and self.config.second_order
        losses = []
        views, ridge, unrelated = self.config.views_in_loss, self.config.inner_ridge, self.config.unrelated_cosine
        of_examples = membership  # [T, S, N]
        features, membership = self.loss_rows(features, membership)  # [T, SV, F], [T, SV, N]
        encoded = None if ridge is None and unrelated is None else self.encoder.encode_examples(features)  # [T, SV, L]
        curvature = None if encoded is None or ridge is None else Curvature.of(encoded, membership, ridge)
        with torch.enable_grad():  # the inner loop needs gradients under no_grad too
            if not codes.requires_grad:
                codes = codes.detach().requires_grad_()
            for step in range(steps):
                loss = self.inner_loss(self.logits(codes, features, membership), membership)  # [T]
                # A task's loss depends on its own codes only, so the gradient of the sum is each task's own.
                (gradient,) = torch.autograd.grad(loss.sum(), codes, create_graph=second_order)
                direction = gradient if curvature is None else curvature.divide(gradient)
                codes = codes - self.step_size(step) * t * direction  # [T, N, L]
                if not training:
                    codes = codes.detach().requires_grad_()
                losses.append(loss.detach())
            if encoded is not None and unrelated is not None:
                losses.append(self.inner_loss(self.logits(codes, features, membership), membership).detach())
                codes = draw_together(codes, encoded[:, ::views], of_examples, unrelated)
            heads = self.decode(codes, membership)  # [T, N, F+1]
            if self.finetune_lr is not None and steps:
                for _ in range(self.config.finetune_steps):
                    loss = self.inner_loss(apply_head(heads, features, membership), membership)  # [T]
                    (gradient,) = torch.autograd.grad(loss.sum(), heads, create_graph=second_order)
                    heads = heads - self.finetune_lr * t * gradient
                    losses.append(loss.detach())
        if not training:
            codes, heads = codes.detach(), heads.detach()
        logits = apply_head(heads, features, membership)  # [T, SV, N]
        if unrelated is None:
            losses.append(self.inner_loss(logits, membership).detach())
        return Adaptation(codes, heads, torch.stack(losses, dim=1), logits[:, ::views])

    def loss_rows(self, features: Tensor, membership: Tensor) -> tuple[Tensor, Tensor]:
        """Lay out what the inner loop's loss goes over, one row for each view of a picture after the other.

        Features [T,S,F] or [T,S,V,F] and membership [T,S,N] -> [T,SV,F] and [T,SV,N]. Every V-th row is a picture as it
        is.
        """
        views = self.config.views_in_loss
        if views == 1:
            return features, membership
        return features.flatten(1, 2), membership.repeat_interleave(views, dim=1)

    def of_pictures(self, features: Tensor) -> Tensor:
        """Take the features of support pictures as they are, without other views: [...,F] or [...,V,F] -> [...,F]."""
        return features if self.config.views_in_loss == 1 else features[..., 0, :]

    def decode(self, codes: Tensor, membership: Tensor) -> Tensor:
        """Decode codes [T,N,L] to heads [T,N,F+1], weights and bias of each class. `membership` [T,S,N]."""
        return self._sample_or_mean(self.decoder.distribution(codes, present(membership)))

    def logits(self, codes: Tensor, features: Tensor, membership: Tensor) -> Tensor:
        """Decode codes [T,N,L] and apply the heads to features [T,B,F] -> [T,B,N], -inf for absent classes."""
        return apply_head(self.decode(codes, membership), features, membership)

    def features(self, extractor: FeatureExtractor, images: Tensor) -> Tensor:
        """Extract features from images with any leading dimensions: [...,1,R,R] -> [...,F]."""
        flat = images.reshape(-1, *images.shape[-3:]).contiguous(memory_format=torch.channels_last)
        autocast: contextlib.AbstractContextManager[object] = (
            torch.autocast(flat.device.type, torch.bfloat16) if self.bf16 else contextlib.nullcontext()
        )
        with autocast:
            features: Tensor = extractor(flat)
        return features.reshape(*images.shape[:-3], -1)

    def support_features(self, images: Tensor) -> Tensor:
        """Extract the classifier's features of support images [...,1,R,R] -> [...,F].

        With the config's `support_views` they are the mean over each drawing and its bent copies, or of photos
        [...,3,R,R] those of all views, [...,V,F].
        """
        phi = self.classifier.phi
        features = self.features(phi, images)
        if not self.views.copies:
            return features
        of_copies = self.features(phi, self.views(images.reshape(-1, *images.shape[-3:])))
        joined: Tensor = self.views.join(features.flatten(0, -2), of_copies)
        return joined.reshape(*images.shape[:-3], *joined.shape[1:])

    def meta_loss(
        self, support: Tensor, support_labels: Tensor, query: Tensor, query_labels: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss of the outer loop on T tasks, a scalar, and metrics by name.

        Takes images [T,S,1,R,R] and [T,Q,1,R,R] and their labels [T,S] and [T,Q] in 0..N-1.
        """
        # Support and query go through phi together, so that BatchNorm normalises over the whole episode.
        flat = support.flatten(0, 1)
        images = torch.cat([flat, query.flatten(0, 1), self.views(flat)])
        examples, queries = len(flat), query.shape[0] * query.shape[1]
        parts = self.features(self.classifier.phi, images).split([examples, queries, len(images) - examples - queries])
        support_features = self.views.join(parts[0], parts[2]).unflatten(0, support.shape[:2])
        query_features = parts[1].unflatten(0, query.shape[:2])
        encoder_features = self.of_pictures(support_features)
        if self.encoder.features is not None:
            encoder_features = self.features(self.encoder.features, support)
        return self.meta_loss_of_features(
            support_features, encoder_features, support_labels, query_features, query_labels
        )

    def meta_loss_of_features(
        self,
        support: Tensor,
        encoder_support: Tensor,
        support_labels: Tensor,
        query: Tensor,
        query_labels: Tensor,
    ) -> tuple[Tensor, dict[str, float]]:
        """Compute `meta_loss` from features: phi's of support [T,S,F] and query [T,Q,F], the encoder's of support.

        With several `views_in_loss` phi's of support are [T,S,V,F].

        The loss is the paper's equation 6 with the terms of its appendix: query loss, KL of the codes, distance of
        initial from adapted codes, and correlations in the decoder, weighted by the config.

        Metrics: query `accuracy`, `support_loss_before` and `support_loss_after` the inner loop, `code_spread`
        (0: all codes of a task are the same) and mean `alpha`.
        """
        config = self.config
        membership = one_hot(support_labels)  # [T, S, N]
        code_distribution = self.encode_distribution(encoder_support, membership)
        initial_codes = self._sample_or_mean(code_distribution)  # [T, N, L]
        adapted = self.adapt(initial_codes, support, membership)
        query_logits = apply_head(adapted.heads, query, membership)  # [T, Q, N]
        loss = F.cross_entropy(query_logits.flatten(0, 1), query_labels.flatten())
        if config.kl_weight:
            loss = loss + config.kl_weight * code_distribution.kl_to_standard().mean()
        if config.encoder_penalty:
            distance = (adapted.codes.detach() - initial_codes).square().sum(dim=-1)  # [T, N]
            loss = loss + config.encoder_penalty * distance.mean()
        if config.orthogonality:
            loss = loss + config.orthogonality * self.decoder.correlation_penalty()
        with torch.no_grad():
            metrics = {
                "accuracy": float((query_logits.argmax(-1) == query_labels).float().mean()),
                "support_loss_before": float(adapted.losses[:, 0].mean()),
                "support_loss_after": float(adapted.losses[:, -1].mean()),
                "code_spread": float(code_spread(initial_codes)),
                "alpha": float(self.alpha.mean()),
            }
        return loss, metrics

    # -- one task, or several of equal shape: the names of the usual usage examples ------------

    def encode_task(self, support: Tensor, labels: Tensor) -> Tensor:
        """Encode a support set: images [S,1,R,R], labels [S] -> initial codes [N,L]. All may have a leading T."""
        batched = support.dim() == 5
        images, labels = (support, labels) if batched else (support[None], labels[None])
        own = self.encoder.features
        features = self.of_pictures(self.support_features(images)) if own is None else self.features(own, images)
        codes = self.encode(features, one_hot(labels))
        return codes if batched else codes[0]

    def inner_update(self, support: Tensor, labels: Tensor, codes: Tensor) -> Tensor:
        """Adapt codes [N,L] to a support set by the inner loop, from images [S,1,R,R] and labels [S]: -> [N,L].

        All may have a leading T.
        """
        batched = support.dim() == 5
        if not batched:
            support, labels, codes = support[None], labels[None], codes[None]
        membership = one_hot(labels, codes.shape[1])
        adapted = self.adapt(codes, self.support_features(support), membership).codes
        return adapted if batched else adapted[0]

    def decode_to_params(self, codes: Tensor) -> dict[str, Tensor]:
        """Decode codes [N,L] to a head, `fc.weight` [N,F] and `fc.bias` [N]. All may have a leading T."""
        heads = self.decoder(codes)  # [..., N, F+1]
        return {"fc.weight": heads[..., :-1], "fc.bias": heads[..., -1]}

    @property
    def encoder_phi(self) -> FeatureExtractor:
        """The encoder's feature extractor: its own, or else the classifier's phi."""
        return self.encoder.features or self.classifier.phi

    # -- outer loop --------------------------------------------------------------------------

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Adam over all trainable parameters. It is made at first use, so that `.to(device)` can come before."""
        if self._optimizer is None:
            self._optimizer = torch.optim.Adam(
                [p for p in self.parameters() if p.requires_grad],
                lr=self.config.outer_lr,
                weight_decay=self.config.l2,
            )
        return self._optimizer

    def meta_train_step(self, support: Tensor, support_labels: Tensor, query: Tensor, query_labels: Tensor) -> float:
        """Take one outer step over T tasks and return the loss, NaN where the step was skipped.

        Shapes are those of `meta_loss`. A step whose loss or gradients are not finite changes no weight and is
        counted in `skipped_steps`. 20 in a row raise `model.outer_loop.TrainingDiverged`.
        """
        return self.meta_train_step_with_metrics(support, support_labels, query, query_labels)["loss"]

    def meta_train_step_with_metrics(
        self, support: Tensor, support_labels: Tensor, query: Tensor, query_labels: Tensor
    ) -> dict[str, float]:
        """Do as `meta_train_step` does, but return the loss among the metrics of `meta_loss_of_features`."""
        self.train()
        loss, metrics = self.meta_loss(support, support_labels, query, query_labels)
        return metrics | {"loss": self.step_if_finite(loss, self.optimizer, support, query)}

    def step_if_finite(self, loss: Tensor, optimizer: torch.optim.Optimizer, *images: Tensor) -> float:
        """Step the optimizer by the gradients of a loss, all clipped together, and return the loss.

        Where the loss or a gradient is not finite, no weight changes, the step is counted in `skipped_steps` and NaN
        is returned. `MAX_SKIPPED_IN_A_ROW` such steps in a row raise `TrainingDiverged` with the likely cause;
        `images` are looked at to find it.
        """
        broken = clip_and_step(loss, optimizer, self.config.max_grad_norm)
        if broken is None:
            self._skipped_in_a_row = 0
            self.background = None
            return float(loss.detach())
        self.skipped_steps += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            cause = likely_cause(self, self.config.inner_lr, optimizer, images)
            raise TrainingDiverged(f"{MAX_SKIPPED_IN_A_ROW} steps in a row gave a non-finite {broken}: {cause}")
        return float("nan")
