"""The inner loop for serving: many tasks at once, gradients in closed form instead of autograd.

Two facts make it cheap. Tests compare both with autograd.

- The decoder's last layer is linear. Let h be its hidden activations, z the code, x the support features, V the last
  layer's matrix and W the linear map's. Then the support logits are ([x;1] V) h + ([x;1] W) z. So [X;1] [V W],
  [S,H+L], is computed once, and a step costs S N H multiplications instead of N H F. The heads are decoded once, after
  the last step. The last layer's bias adds the same to all classes, which the softmax ignores. With `decoder_rank` and
  its basis U, [X;1] U, [S,R], comes first, and [V W] is [R,H+L].
- The gradients of cross-entropy and of a two-layer perceptron take a few lines.

A decoder that is conditioned on the task or mixes experts has no closed form here. `LatentEmbeddingOptimization.adapt`
then does the work.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.devices import CORES, THREAD_POOL
from model.leo import LatentEmbeddingOptimization
from model.networks.curvature import Curvature
from model.networks.likeness import draw_together

MIN_TASKS_TO_SPLIT = 16  # on a CPU, a batch of so many tasks is split over the cores
MASKED_LOGIT = -1e9  # of absent classes: its probability is 0, and 0 times it is 0, which with -inf would be NaN


@dataclass(frozen=True)
class Support:
    """One task's support set: features on the model's device, class numbers on the host, so none is read back."""

    features: Tensor  # [S, F], the classifier's; [S, V, F] with several `views_in_loss`
    encoder_features: Tensor  # [S, F], the encoder's; the same without `own_encoder`
    labels: NDArray[np.int64]  # [S], in 0..N-1; each class has at least one example


@dataclass(frozen=True)
class AdaptedTask:
    """Result of adapting one task, on the device of its features. Its tensors share no memory with other tasks."""

    codes: Tensor  # [N, L]
    weight: Tensor  # [N, F]
    bias: Tensor  # [N]
    losses: list[float]  # support loss before the first step and after each
    support_accuracy: float  # of the adapted head, in 0..1
    is_finite: bool  # whether all codes, weights and biases are finite, so that the task can be used


class Adapter:
    """Adapts tasks by a LEO whose weights no longer change: matrices of its decoder are prepared once."""

    def __init__(self, leo: LatentEmbeddingOptimization) -> None:
        self.leo = leo
        decoder = leo.decoder
        if not decoder.is_plain:
            return
        with torch.no_grad():
            scale = decoder.log_scale.exp()
            layers = [decoder.fc3.weight] if decoder.skip is None else [decoder.fc3.weight, decoder.skip.weight]
            self.last_layer = (torch.cat(layers, dim=1) * scale).contiguous()  # [V W]: [F+1, H+L], or [R, H+L]
            self.last_bias = decoder.fc3.bias * scale  # [F+1] or [R]
            self.basis = None if decoder.basis is None else decoder.basis.weight  # U: [F+1, R]
            # Features [x;1] are multiplied by it first: [F+1, H+L] or [F+1, R].
            self.feature_projection = self.last_layer if self.basis is None else self.basis
            self.scale = scale
            # With a tied decoder, features times the transposed map are what the encoder makes of them.
            self.repeats_encoder = leo.config.decoder_tied and leo.encoder.features is None

    @torch.no_grad()
    def logits(self, features: Tensor, codes: Tensor) -> Tensor:
        """Classify features [Q,F] by codes [N,L] without decoding the heads -> logits [Q,N].

        All logits of a query differ from the head's by one common number, which the softmax ignores: its logit by the
        `common_head`. For few
        queries this is far less work than decoding N F weights. Only for a decoder that `is_plain`.
        """
        return self._project_features(features) @ self._last_input(codes).T

    @torch.no_grad()
    def common_head(self) -> Tensor:
        """The head [F+1] whose logit `logits` leaves out for every class. Only for a decoder that `is_plain`."""
        return self.last_bias if self.basis is None else self.basis @ self.last_bias

    def _project_features(self, features: Tensor) -> Tensor:
        """Multiply features by the last layer, [x;1] [V W]: [...,S,F] -> [...,S,H+L]."""
        projected = features @ self.feature_projection[:-1] + self.feature_projection[-1]  # [..., S, H+L or R]
        return projected if self.basis is None else projected @ self.last_layer

    def _project_support(self, features: Tensor, encoded: Tensor) -> Tensor:
        """Do as `_project_features` does, for features [T,S,F] that are encoded already [T,S,L]."""
        if not self.repeats_encoder:
            return self._project_features(features)
        hidden = self.last_layer[:, : self.leo.decoder.fc2.out_features]  # V: [F+1, H]
        return torch.cat([features @ hidden[:-1] + hidden[-1], self.scale * encoded], dim=-1)

    def _last_input(self, codes: Tensor) -> Tensor:
        """The input of the decoder's last layer, from codes [...,N,L] -> [...,N,H+L]."""
        decoder = self.leo.decoder
        hidden: Tensor = decoder.fc2(decoder.fc1(codes).relu_()).relu_()  # [..., N, H]
        return hidden if decoder.skip is None else torch.cat([hidden, codes], dim=-1)

    def _decode_heads(self, last_input: Tensor) -> Tensor:
        """Apply the decoder's last layer: its input [...,N,H+L] -> heads [...,N,F+1]."""
        heads = last_input @ self.last_layer.T + self.last_bias
        return heads if self.basis is None else heads @ self.basis.T

    def adapt(self, tasks: list[Support], inner_steps: int | None = None) -> list[AdaptedTask]:
        """Adapt tasks of any ways and shots together, on a CPU on all cores. Each comes out as it would alone."""
        if tasks[0].features.device.type != "cpu" or len(tasks) < MIN_TASKS_TO_SPLIT:
            return self.adapt_batch(tasks, inner_steps)
        size = -(-len(tasks) // CORES)
        parts = [tasks[at : at + size] for at in range(0, len(tasks), size)]
        adapted = THREAD_POOL.map(lambda part: self.adapt_batch(part, inner_steps), parts)
        return [task for part in adapted for task in part]

    @torch.no_grad()
    def adapt_batch(self, tasks: list[Support], inner_steps: int | None = None) -> list[AdaptedTask]:
        """Adapt tasks of any ways and shots as one padded batch, in this thread."""
        steps = self.leo.config.inner_steps if inner_steps is None else inner_steps
        most_support = max(len(task.labels) for task in tasks)
        features = torch.stack([_pad(task.features, most_support) for task in tasks])  # [T, S, F] or [T, S, V, F]
        encoder_features = features
        if self.leo.encoder.features is not None:
            encoder_features = torch.stack([_pad(task.encoder_features, most_support) for task in tasks])
        ways = [int(task.labels.max()) + 1 for task in tasks]
        membership = torch.from_numpy(pad_membership([task.labels for task in tasks], most_support, max(ways)))
        membership = membership.to(features)  # [T, S, N]
        codes, heads, losses, logits = self.adapt_stacked(
            features, encoder_features, membership, steps, some_absent=min(ways) < max(ways)
        )
        hits = count_hits(logits, membership).tolist()  # [T]
        finite = are_finite(codes, heads, membership).tolist()  # [T]
        return [
            AdaptedTask(
                codes=codes[t, :n].clone(),  # a view would keep the whole batch in memory
                weight=heads[t, :n, :-1].clone(),
                bias=heads[t, :n, -1].clone(),
                losses=own_losses,
                support_accuracy=hits[t] / len(task.labels),
                is_finite=finite[t],
            )
            for t, (n, task, own_losses) in enumerate(zip(ways, tasks, losses.tolist(), strict=True))
        ]

    @torch.no_grad()
    def adapt_stacked(
        self,
        features: Tensor,
        encoder_features: Tensor,
        membership: Tensor,
        steps: int,
        *,
        some_absent: bool = True,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Encode and adapt a padded batch, from support features [T,S,F], the encoder's, and membership [T,S,N].

        With several `views_in_loss` features are [T,S,V,F]. Those of the encoder count only with `own_encoder`.
        `some_absent` is False only where every task has all N classes; it saves masking them. Returns adapted codes
        [T,N,L], heads [T,N,F+1], support losses [T,steps+1] before each step and after the last, and support logits
        [T,S,N]. Nothing waits for the device: no number is read back from it.
        """
        of_encoder = self.leo.of_pictures(features) if self.leo.encoder.features is None else encoder_features
        encoded = self.leo.encoder.encode_examples(of_encoder)  # [T, S, L]
        codes = self.leo.combine(encoded, membership)  # [T, N, L]
        if self.leo.decoder.is_plain:
            return self._closed_form(codes, features, encoded, membership, steps, some_absent)
        return self._by_autograd(codes, features, membership, steps)

    def _by_autograd(
        self, codes: Tensor, features: Tensor, membership: Tensor, steps: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Adapt codes with any decoder. Arguments and results are as in `_closed_form`."""
        with torch.inference_mode(mode=False), torch.no_grad():
            # Autograd refuses tensors made in inference mode, so it gets copies made outside of it.
            adapted = self.leo.adapt(codes.clone(), features.clone(), membership.clone(), steps)
        return adapted.codes, adapted.heads, adapted.losses, adapted.logits

    def _closed_form(
        self, codes: Tensor, features: Tensor, encoded: Tensor, membership: Tensor, steps: int, some_absent: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute what `LatentEmbeddingOptimization.adapt` computes, for a plain decoder.

        Codes [T,N,L], support features [T,S,F] or [T,S,V,F], those of the pictures encoded [T,S,L], membership [T,S,N]
        -> adapted codes [T,N,L], heads [T,N,F+1], support losses [T,steps+1], and support logits [T,S,N] before codes
        are drawn together and up to one number a row.
        """
        views, of_examples, encoded_examples = self.leo.config.views_in_loss, membership, encoded
        features, membership = self.leo.loss_rows(features, membership)  # from here on S counts views, too
        if views > 1:
            encoded = self.leo.encoder.encode_examples(features)
        absent = (membership.sum(dim=1) == 0).unsqueeze(1) if some_absent else None  # [T, 1, N]
        real = membership.sum(dim=-1, keepdim=True)  # [T, S, 1], 0 for padding
        share = real / real.sum(dim=1, keepdim=True)  # [T, S, 1], each example's weight in the mean loss
        projected = self._project_support(features, encoded)  # [T, S, H+L]
        curvature = None
        if self.leo.config.inner_ridge is not None and steps:
            curvature = Curvature.of(encoded, membership, self.leo.config.inner_ridge)
        targets = membership * share  # [T, S, N]
        codes, last_input, log_ps, logits = self._latent_steps(
            codes, projected, targets, share, absent, curvature, steps
        )
        if self.leo.config.unrelated_cosine is not None:
            codes = draw_together(codes, encoded_examples, of_examples, self.leo.config.unrelated_cosine)
            last_input = self._last_input(codes)
        heads = self._decode_heads(last_input)  # [T, N, F+1], once for all steps
        if self.leo.finetune_lr is not None and steps:
            for _ in range(self.leo.config.finetune_steps):
                error = ((log_ps[-1].exp() - membership) * share).mT  # [T, N, S]
                gradient = torch.cat([error @ features, error.sum(dim=-1, keepdim=True)], dim=-1)  # [T, N, F+1]
                heads = heads - self.leo.finetune_lr * gradient
                logits = features @ heads[..., :-1].mT + heads[..., -1].unsqueeze(1)  # [T, S, N]
                if absent is not None:
                    logits = logits.masked_fill(absent, MASKED_LOGIT)
                log_ps.append((logits / self.leo.config.inner_temperature).log_softmax(dim=-1))
        losses = -(torch.stack(log_ps, dim=1) * targets.unsqueeze(1)).sum(dim=(2, 3))  # [T, steps + 1]
        return codes, heads, losses, logits[:, ::views]

    def _latent_steps(
        self,
        codes: Tensor,
        projected: Tensor,
        targets: Tensor,
        share: Tensor,
        absent: Tensor | None,
        curvature: Curvature | None,
        steps: int,
    ) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
        """Take the gradient steps on codes [T,N,L].

        `projected` [T,S,H+L] are the support features times the last layer. `share` [T,S,1] is each example's weight in
        the loss, `targets` [T,S,N] the same at the example's class. `absent` [T,1,N] marks classes a task does not
        have, or is None where every task has all. Gradients are divided by `curvature`, if there is one.
        Returns adapted codes [T,N,L], the input of the decoder's last layer [T,N,H+L], support log-probabilities
        [T,S,N] before each step and after the last, and the last logits [T,S,N] up to one number a row.
        """
        decoder, width = self.leo.decoder, self.leo.decoder.fc2.out_features
        projected_hidden, projected_skip = projected[..., :width], projected[..., width:]
        log_ps = []
        for step in range(steps + 1):
            first = decoder.fc1(codes).relu_()  # [T, N, H1]
            hidden = decoder.fc2(first).relu_()  # [T, N, H]
            logits = projected_hidden @ hidden.mT  # [T, S, N]
            if decoder.skip is not None:
                logits += projected_skip @ codes.mT
            if absent is not None:
                logits.masked_fill_(absent, MASKED_LOGIT)
            log_p = (logits / self.leo.config.inner_temperature).log_softmax(dim=-1)
            log_ps.append(log_p)
            if step == steps:
                break
            # t dloss/dlogits = (p - y) / S for the inner temperature t, then the chain rule back through the decoder.
            error = (log_p.exp() * share - targets).mT  # [T, N, S]
            d_hidden, d_skip = (error @ projected).tensor_split([width], dim=-1)  # [T, N, H], [T, N, L]
            d_first = _relu_backward(d_hidden, hidden) @ decoder.fc2.weight  # [T, N, H1]
            gradient = _relu_backward(d_first, first) @ decoder.fc1.weight  # [T, N, L]
            if decoder.skip is not None:
                gradient += d_skip
            if curvature is not None:
                gradient = curvature.divide(gradient)
            codes = codes - self.leo.step_size(step) * gradient
        last_input = hidden if decoder.skip is None else torch.cat([hidden, codes], dim=-1)  # [T, N, H+L]
        return codes, last_input, log_ps, logits


def _relu_backward(gradient: Tensor, output: Tensor) -> Tensor:
    """Gradient by a ReLU's input from the gradient by its output. One pass; a mask and a product would take two."""
    by_input: Tensor = torch.ops.aten.threshold_backward(gradient, output, 0)
    return by_input


def pad_membership(labels: list[NDArray[np.int64]], support: int, ways: int) -> NDArray[np.float32]:
    """Class numbers [S] of several tasks -> membership [T,`support`,`ways`], 1 where an example is of a class."""
    padded = np.full((len(labels), support), -1, dtype=np.int64)
    for row, own in zip(padded, labels, strict=True):
        row[: len(own)] = own
    membership: NDArray[np.float32] = (padded[..., None] == np.arange(ways)).astype(np.float32)
    return membership


def count_hits(logits: Tensor, membership: Tensor) -> Tensor:
    """How many examples of each task have the highest logit at their own class: logits, membership [T,S,N] -> [T]."""
    return membership.gather(-1, logits.argmax(dim=-1, keepdim=True)).sum(dim=(1, 2))


def are_finite(codes: Tensor, heads: Tensor, membership: Tensor) -> Tensor:
    """Whether each task's codes [T,N,L] and heads [T,N,F+1] are finite, but for classes that it does not have: [T]."""
    finite = codes.isfinite().all(dim=-1) & heads.isfinite().all(dim=-1)  # [T, N]
    return (finite | (membership.sum(dim=1) == 0)).all(dim=-1)


def _pad(values: Tensor, length: int) -> Tensor:
    """Append zero rows until there are `length`: [S,F] -> [length,F]."""
    missing = length - len(values)
    return values if missing == 0 else torch.cat([values, values.new_zeros(missing, *values.shape[1:])])
