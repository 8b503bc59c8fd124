"""Latent Embedding Optimization as the paper tells it (Rusu et al., ICLR 2019, arXiv 1807.05960).

Read `adapt` first: encode the support set, relate the class codes, and take gradient steps on the
codes, each time decoding them to a classifier head and asking how well it explains the support set.

Letters in shapes: T tasks, N ways (classes), S support images, Q query images, L numbers in a code,
F features, R side of an image in pixels. Tasks of different N and S share a batch: support labels
of -1 are padding, and a class that no label names is absent from its task.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.checkpoint import WEIGHTS, check_weights, inference_state, read_info, read_weights
from model.config import LEOConfig
from model.functional import apply_head, code_spread, cross_entropy, one_hot, present
from model.networks.classifier import LEOClassifier
from model.networks.decoder import LEODecoder
from model.networks.encoder import LEOEncoder
from model.networks.features import FeatureExtractor
from model.networks.gaussian import Gaussian
from model.networks.relation import LEORelationNetwork
from model.outer_loop import MAX_SKIPPED_IN_A_ROW, TrainingDiverged, clip_and_step, likely_cause


@dataclass(frozen=True)
class Adaptation:
    """What the inner loop did to T tasks."""

    codes: Tensor  # [T, N, L], adapted
    rows: Tensor  # [T, N, F+1], the heads they decode to, fine-tuned if the config says so
    losses: Tensor  # [T, steps + 1], support loss before each step, on codes then on heads, and after the last
    logits: Tensor  # [T, S, N], of the support set under the adapted head; -inf for absent classes


class LatentEmbeddingOptimization(nn.Module):
    """LEO: a meta-learned phi, encoder, relation network and decoder, and an inner loop over codes.

    `num_classes` is only the number of ways that `classifier` without parameters answers with;
    tasks of any N run on the same weights. Pass a `config` for anything beyond the source
    document's shape, which the positional arguments build.
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
            raise ValueError(f"num_classes={num_classes}: a classifier needs at least 2 classes")
        self.config = config or LEOConfig.source_document(
            latent_dim=latent_dim, inner_lr=inner_lr, outer_lr=outer_lr, inner_steps=inner_steps
        )
        self.classifier = LEOClassifier(num_classes, self.config)
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
        self.bf16 = False  # convolutions in bfloat16 while training; set by the trainer
        self.skipped_steps = 0
        self._skipped_in_a_row = 0
        self._optimizer: torch.optim.Optimizer | None = None

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str | torch.device = "cpu") -> Self:
        """Load a folder of `model.safetensors` and `config.json`, ready for inference.

        Raises `model.checkpoint.CheckpointError`, saying which file is wrong and why, or `BackboneError` where
        the pretrained network that it builds on is not there.
        """
        folder = Path(folder)
        info = read_info(folder)
        tensors = read_weights(folder, info)
        leo = cls(config=info.config)
        check_weights(tensors, inference_state(leo), folder / WEIGHTS)
        leo.load_state_dict(tensors, strict=False)  # names were compared; what is left out is there already
        if info.config.decoder_tied:
            leo.decoder.start_as_transpose_of(leo.encoder)
        return leo.to(device).eval()

    # -- the algorithm, over a batch of tasks ------------------------------------------------

    def encode(self, encoder_features: Tensor, membership: Tensor) -> Tensor:
        """Encoder's features [T,S,F] and membership [T,S,N] -> initial codes z [T,N,L]."""
        return self._settled(self.encode_distribution(encoder_features, membership))

    def encode_distribution(self, encoder_features: Tensor, membership: Tensor) -> Gaussian:
        """What the codes are drawn from in training: [T,S,F], [T,S,N] -> normals [T,N,L]."""
        if self.config.relation_over == "classes":
            class_codes = self.encoder(encoder_features, membership)  # [T, N, L]
            refined: Gaussian = self.relation(class_codes, present(membership))
            return refined
        real = (membership.sum(dim=-1) > 0).to(encoder_features.dtype)  # [T, S], 0 for padding
        related: Gaussian = self.relation(self.encoder.each(encoder_features), real)  # [T, S, L]
        by_class = self.encoder.mean_by_class
        spread = None if related.log_variance is None else by_class(related.log_variance, membership)
        return Gaussian(by_class(related.mean, membership), spread)

    def _settled(self, values: Gaussian) -> Tensor:
        return values.draw() if self.training else values.mean

    def step_size(self, step: int) -> Tensor:
        """alpha [L] of an inner step; steps beyond those trained take the last one's."""
        return self.alpha[min(step, len(self.alpha) - 1)] if self.config.inner_lr_per_step else self.alpha

    def adapt(
        self,
        codes: Tensor,
        features: Tensor,
        membership: Tensor,
        steps: int | None = None,
    ) -> Adaptation:
        """The inner loop: z <- z - alpha * grad_z CE(support), `steps` times (the config's by default).

        Then, unless `steps` is 0, the config's fine-tuning steps on the decoded head itself.

        `codes` [T,N,L], classifier features of the support set [T,S,F], `membership` [T,S,N]. While
        autograd records, the result stays differentiable in everything that went in, through the
        gradients themselves too unless the config says first order.
        """
        steps = self.config.inner_steps if steps is None else steps
        training = torch.is_grad_enabled()
        second_order = training and self.config.second_order
        losses = []
        with torch.enable_grad():  # the inner loop needs a gradient even under no_grad
            if not codes.requires_grad:
                codes = codes.detach().requires_grad_()
            for step in range(steps):
                loss = cross_entropy(self.logits(codes, features, membership), membership)  # [T]
                # Tasks share nothing in z, so the sum's gradient is each task's own.
                (gradient,) = torch.autograd.grad(loss.sum(), codes, create_graph=second_order)
                codes = codes - self.step_size(step) * gradient  # [T, N, L]
                if not training:
                    codes = codes.detach().requires_grad_()
                losses.append(loss.detach())
            rows = self.rows(codes, membership)  # [T, N, F+1]
            if self.finetune_lr is not None and steps:
                for _ in range(self.config.finetune_steps):
                    loss = cross_entropy(apply_head(rows, features, membership), membership)  # [T]
                    (gradient,) = torch.autograd.grad(loss.sum(), rows, create_graph=second_order)
                    rows = rows - self.finetune_lr * gradient
                    losses.append(loss.detach())
        if not training:
            codes, rows = codes.detach(), rows.detach()
        logits = apply_head(rows, features, membership)  # [T, S, N]
        losses.append(cross_entropy(logits, membership).detach())
        return Adaptation(codes, rows, torch.stack(losses, dim=1), logits)

    def rows(self, codes: Tensor, membership: Tensor) -> Tensor:
        """Decode heads: [T,N,L] -> [T,N,F+1], weights and bias of every class."""
        return self._settled(self.decoder.distribution(codes, present(membership)))

    def logits(self, codes: Tensor, features: Tensor, membership: Tensor) -> Tensor:
        """Decode heads and apply them: [T,N,L], [T,B,F] -> [T,B,N]; -inf for absent classes."""
        return apply_head(self.rows(codes, membership), features, membership)

    def features(self, extractor: FeatureExtractor, images: Tensor) -> Tensor:
        """Any leading dimensions: [...,1,R,R] -> [...,F]."""
        flat = images.reshape(-1, *images.shape[-3:]).contiguous(memory_format=torch.channels_last)
        autocast: contextlib.AbstractContextManager[object] = (
            torch.autocast(flat.device.type, torch.bfloat16) if self.bf16 else contextlib.nullcontext()
        )
        with autocast:
            features: Tensor = extractor(flat)
        return features.reshape(*images.shape[:-3], -1)

    def meta_loss(
        self, support: Tensor, support_labels: Tensor, query: Tensor, query_labels: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """Query loss of T tasks after adaptation, averaged, and what to watch beside it.

        Images [T,S,1,R,R] and [T,Q,1,R,R], labels [T,S] and [T,Q] in 0..N-1.
        """
        # One pass over support and query together: BatchNorm sees the whole episode.
        split = support.shape[1]
        features = self.features(self.classifier.phi, torch.cat([support, query], dim=1))
        support_features, query_features = features[:, :split], features[:, split:]
        encoder_features = support_features
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
        """`meta_loss` from features on: phi's of the support [T,S,F] and query [T,Q,F], the encoder's [T,S,F].

        The paper's equation 6 and what its appendix adds: query loss, KL of the codes, the encoder's
        distance from the codes adapted, and the decoder's correlations, each by the config's weight.
        """
        config = self.config
        membership = one_hot(support_labels)  # [T, S, N]
        drawn_from = self.encode_distribution(encoder_support, membership)
        start = self._settled(drawn_from)  # [T, N, L]
        adapted = self.adapt(start, support, membership)
        query_logits = apply_head(adapted.rows, query, membership)  # [T, Q, N]
        loss = F.cross_entropy(query_logits.flatten(0, 1), query_labels.flatten())
        if config.kl_weight:
            loss = loss + config.kl_weight * drawn_from.kl_to_standard().mean()
        if config.encoder_penalty:
            apart = (adapted.codes.detach() - start).square().sum(dim=-1)  # [T, N]
            loss = loss + config.encoder_penalty * apart.mean()
        if config.orthogonality:
            loss = loss + config.orthogonality * self.decoder.correlation_penalty()
        with torch.no_grad():
            watch = {
                "accuracy": float((query_logits.argmax(-1) == query_labels).float().mean()),
                "support_loss_before": float(adapted.losses[:, 0].mean()),
                "support_loss_after": float(adapted.losses[:, -1].mean()),
                "code_spread": float(code_spread(start)),
                "alpha": float(self.alpha.mean()),
            }
        return loss, watch

    # -- one task, or a stack of equal ones, as the source document names the calls ------------

    def encode_task(self, support: Tensor, labels: Tensor) -> Tensor:
        """Support images [S,1,R,R], labels [S] -> initial codes [N,L] (or all with a leading T)."""
        batched = support.dim() == 5
        images, labels = (support, labels) if batched else (support[None], labels[None])
        codes = self.encode(self.features(self.encoder_phi, images), one_hot(labels))
        return codes if batched else codes[0]

    def inner_update(self, support: Tensor, labels: Tensor, codes: Tensor) -> Tensor:
        """Gradient steps on the codes [N,L] (or [T,N,L]) that lower the loss on this support set."""
        batched = support.dim() == 5
        if not batched:
            support, labels, codes = support[None], labels[None], codes[None]
        membership = one_hot(labels, codes.shape[1])
        adapted = self.adapt(codes, self.features(self.classifier.phi, support), membership).codes
        return adapted if batched else adapted[0]

    def decode_to_params(self, codes: Tensor) -> dict[str, Tensor]:
        """Codes [N,L] (or [T,N,L]) -> `fc.weight` [N,F] and `fc.bias` [N] (or with a leading T)."""
        rows = self.decoder(codes)  # [..., N, F+1]
        return {"fc.weight": rows[..., :-1], "fc.bias": rows[..., -1]}

    @property
    def encoder_phi(self) -> FeatureExtractor:
        """The feature extractor in front of the encoder: its own, or the classifier's."""
        return self.encoder.features or self.classifier.phi

    # -- outer loop --------------------------------------------------------------------------

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Adam over every trainable parameter, made at the first use (after `.to(device)`)."""
        if self._optimizer is None:
            self._optimizer = torch.optim.Adam(
                [p for p in self.parameters() if p.requires_grad],
                lr=self.config.outer_lr,
                weight_decay=self.config.l2,
            )
        return self._optimizer

    def meta_train_step(self, support: Tensor, support_labels: Tensor, query: Tensor, query_labels: Tensor) -> float:
        """One outer step over T tasks; returns the query loss (NaN where the step was skipped).

        Shapes as in `meta_loss`. A step whose loss or gradients are not finite changes no weight
        and is counted in `skipped_steps`; 20 in a row raise `TrainingDiverged`.
        """
        return self.meta_train_step_watched(support, support_labels, query, query_labels)["loss"]

    def meta_train_step_watched(
        self, support: Tensor, support_labels: Tensor, query: Tensor, query_labels: Tensor
    ) -> dict[str, float]:
        """`meta_train_step`, returning what to watch: loss, accuracy, code spread, alpha, ..."""
        self.train()
        loss, watch = self.meta_loss(support, support_labels, query, query_labels)
        return watch | {"loss": self.step_if_finite(loss, self.optimizer, support, query)}

    def step_if_finite(self, loss: Tensor, optimizer: torch.optim.Optimizer, *images: Tensor) -> float:
        """Step the optimizer by the gradients of a loss, all clipped together, and return the loss.

        Where the loss or a gradient is not finite, no weight changes, the step is counted in `skipped_steps` and NaN
        is returned. `MAX_SKIPPED_IN_A_ROW` such steps in a row raise `TrainingDiverged` with the likely cause;
        `images` are looked at to find it.
        """
        broken = clip_and_step(loss, optimizer, self.config.max_grad_norm)
        if broken is None:
            self._skipped_in_a_row = 0
            return float(loss.detach())
        self.skipped_steps += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            cause = likely_cause(self, self.config.inner_lr, optimizer, images)
            raise TrainingDiverged(f"{MAX_SKIPPED_IN_A_ROW} steps in a row gave a non-finite {broken}: {cause}")
        return float("nan")
