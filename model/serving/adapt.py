"""The inner loop for serving: many ragged tasks at once, no autograd, the head written once at the end.

Two facts make it cheap, both held against plain autograd by tests:

- The decoder's last layer is linear. With h = its hidden activations and x the support features,
  the support logits are ([x;1] V) h + ([x;1] W) z, V the last layer's matrix and W the skip's. So
  [X;1] V, [S,H], is computed once, and a step costs S N H instead of N H F. What the last layer's
  bias adds is the same for every class, and the softmax does not see it. Where the decoder mixes rows from
  a basis U of few, [X;1] U, [S,R], comes first, and [V W] is [R,H+L].
- Cross-entropy and a two-layer perceptron have a gradient of a few lines.

A decoder that is more than a perceptron of one code (conditioned on the task, or several experts) has
no such lines here: `LatentEmbeddingOptimization.adapt` then does the work.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.devices import CORES, THREAD_POOL
from model.functional import one_hot
from model.leo import LatentEmbeddingOptimization

WORTH_SPLITTING = 16  # tasks on a CPU, from which each core takes a part of them
NEVER = -1e9  # a logit whose probability is 0, but which 0 times is 0, unlike minus infinity


@dataclass(frozen=True)
class Support:
    """One task's support set as features: `features` and `encoder_features` [S,F], `labels` [S]."""

    features: Tensor
    encoder_features: Tensor
    labels: Tensor  # int64, 0..N-1, every class named at least once


@dataclass(frozen=True)
class AdaptedTask:
    """What came of one task, on the device of the features."""

    codes: Tensor  # [N, L]
    weight: Tensor  # [N, F]
    bias: Tensor  # [N]
    losses: list[float]  # before the first step and after each
    support_accuracy: float

    @property
    def is_finite(self) -> bool:
        """Whether the task can be used."""
        return bool(self.codes.isfinite().all() and self.weight.isfinite().all() and self.bias.isfinite().all())


class Adapter:
    """A LEO made ready to adapt many tasks. The model's weights must not change afterwards."""

    def __init__(self, leo: LatentEmbeddingOptimization) -> None:
        self.leo = leo
        decoder = leo.decoder
        if not decoder.is_plain:
            return
        with torch.no_grad():
            scale = decoder.log_scale.exp()
            last = [decoder.fc3.weight] if decoder.skip is None else [decoder.fc3.weight, decoder.skip.weight]
            self.last = (torch.cat(last, dim=1) * scale).contiguous()  # [F+1, H+L], [V W], or with a basis [R, H+L]
            self.last_bias = decoder.fc3.bias * scale  # [F+1] or [R]
            self.basis = None if decoder.basis is None else decoder.basis.weight  # [F+1, R]
            self.meets_features = self.last if self.basis is None else self.basis  # [F+1, H+L] or [F+1, R]

    @torch.no_grad()
    def logits(self, features: Tensor, codes: Tensor) -> Tensor:
        """Features [Q,F] and codes [N,L] -> [Q,N], up to a number a row that is the same for all classes.

        By the same factors as the inner loop: for few queries far less work than to write the heads, N F numbers.
        Only for a decoder that is plain.
        """
        decoder = self.leo.decoder
        hidden = decoder.fc2(decoder.fc1(codes).relu_()).relu_()  # [N, H]
        state = hidden if decoder.skip is None else torch.cat([hidden, codes], dim=-1)  # [N, H+L]
        return self._through(features) @ state.T

    def _through(self, features: Tensor) -> Tensor:
        """Features [...,S,F] -> [...,S,H+L], [x;1] [V W]."""
        met = features @ self.meets_features[:-1] + self.meets_features[-1]  # [..., S, H+L] or [..., S, R]
        return met if self.basis is None else met @ self.last

    def _rows(self, state: Tensor) -> Tensor:
        """What the last layer makes heads of, [...,N,H+L] -> heads [...,N,F+1]."""
        rows = state @ self.last.T + self.last_bias
        return rows if self.basis is None else rows @ self.basis.T

    def adapt(self, tasks: list[Support], inner_steps: int | None = None) -> list[AdaptedTask]:
        """Adapt tasks of any ways and shots together; each comes out as it would alone."""
        if tasks[0].features.device.type != "cpu" or len(tasks) < WORTH_SPLITTING:
            return self.adapt_here(tasks, inner_steps)
        size = -(-len(tasks) // CORES)
        parts = [tasks[at : at + size] for at in range(0, len(tasks), size)]
        return [task for part in THREAD_POOL.map(lambda part: self.adapt_here(part, inner_steps), parts) for task in part]

    @torch.no_grad()
    def adapt_here(self, tasks: list[Support], inner_steps: int | None = None) -> list[AdaptedTask]:
        """`adapt`, all of them in this thread."""
        steps = self.leo.config.inner_steps if inner_steps is None else inner_steps
        most_support = max(len(task.labels) for task in tasks)
        ways = [int(task.labels.max()) + 1 for task in tasks]
        features = torch.stack([_padded(task.features, most_support) for task in tasks])  # [T, S, F]
        encoder_features = features
        if self.leo.encoder.features is not None:
            encoder_features = torch.stack([_padded(task.encoder_features, most_support) for task in tasks])
        labels = torch.stack([_padded(task.labels, most_support, -1) for task in tasks])  # [T, S]
        membership = one_hot(labels, max(ways)).to(features.dtype)  # [T, S, N]
        codes, rows, losses, logits = self.adapt_stacked(features, encoder_features, membership, steps)
        hits = (logits.argmax(dim=-1) == labels).float().sum(dim=1).tolist()  # [T]; padding never hits
        return [
            AdaptedTask(
                codes=codes[t, :n].clone(),  # a view would keep the whole batch in memory
                weight=rows[t, :n, :-1].clone(),
                bias=rows[t, :n, -1].clone(),
                losses=losses[t].tolist(),
                support_accuracy=hits[t] / len(task.labels),
            )
            for t, (n, task) in enumerate(zip(ways, tasks, strict=True))
        ]

    @torch.no_grad()
    def adapt_stacked(
        self, features: Tensor, encoder_features: Tensor, membership: Tensor, steps: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Support features [T,S,F], the encoder's, and membership [T,S,N] -> codes [T,N,L], heads [T,N,F+1],
        support losses [T,.] before each step and after the last, and support logits [T,S,N].
        """
        start = self.leo.encode(encoder_features, membership)  # [T, N, L]
        work = self._closed_form if self.leo.decoder.is_plain else self._by_autograd
        return work(start, features, membership, steps)

    def _by_autograd(
        self, codes: Tensor, features: Tensor, membership: Tensor, steps: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`_closed_form` for any decoder."""
        with torch.inference_mode(mode=False), torch.no_grad():
            # Autograd refuses tensors born in inference mode; their copies are born outside of it.
            adapted = self.leo.adapt(codes.clone(), features.clone(), membership.clone(), steps)
        return adapted.codes, adapted.heads, adapted.losses, adapted.logits

    def _closed_form(
        self, codes: Tensor, features: Tensor, membership: Tensor, steps: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`LatentEmbeddingOptimization.adapt`, exactly.

        Codes [T,N,L], support features [T,S,F], membership [T,S,N] -> adapted codes [T,N,L], heads
        [T,N,F+1], support losses [T,steps+1], and support logits [T,S,N].
        """
        absent = (membership.sum(dim=1) == 0).unsqueeze(1)  # [T, 1, N]
        real = membership.sum(dim=-1, keepdim=True)  # [T, S, 1], 0 for padding
        share = real / real.sum(dim=1, keepdim=True)  # [T, S, 1], each example's part in the mean loss
        codes, state, log_ps, logits = self._latent_steps(codes, features, membership, share, absent, steps)
        rows = self._rows(state)  # [T, N, F+1], the heads, written once
        if self.leo.finetune_lr is not None and steps:
            for _ in range(self.leo.config.finetune_steps):
                error = ((log_ps[-1].exp() - membership) * share).mT  # [T, N, S]
                gradient = torch.cat([error @ features, error.sum(dim=-1, keepdim=True)], dim=-1)  # [T, N, F+1]
                rows = rows - self.leo.finetune_lr * gradient
                logits = features @ rows[..., :-1].mT + rows[..., -1].unsqueeze(1)  # [T, S, N]
                logits = logits.masked_fill(absent, NEVER)
                log_ps.append(logits.log_softmax(dim=-1))
        wanted = membership * share  # [T, S, N]
        losses = -(torch.stack(log_ps, dim=1) * wanted.unsqueeze(1)).sum(dim=(2, 3))  # [T, steps + 1]
        return codes, rows, losses, logits

    def _latent_steps(
        self, codes: Tensor, features: Tensor, membership: Tensor, share: Tensor, absent: Tensor, steps: int
    ) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
        """The steps on codes: adapted codes [T,N,L], what the decoder's last layer makes heads of [T,N,H+L],
        support log-probabilities [T,S,N] before each step and after the last, and the last logits [T,S,N]
        up to a number that is the same for all classes.
        """
        decoder, width = self.leo.decoder, self.leo.decoder.fc2.out_features
        through = self._through(features)  # [T, S, H+L]
        through_hidden, through_skip = through[..., :width], through[..., width:]
        ragged = bool(absent.any())
        wanted = membership * share  # [T, S, N]
        log_ps = []
        for step in range(steps + 1):
            first = decoder.fc1(codes).relu_()  # [T, N, H1]
            hidden = decoder.fc2(first).relu_()  # [T, N, H]
            logits = through_hidden @ hidden.mT  # [T, S, N]
            if decoder.skip is not None:
                logits += through_skip @ codes.mT
            if ragged:
                logits.masked_fill_(absent, NEVER)
            log_p = logits.log_softmax(dim=-1)
            log_ps.append(log_p)
            if step == steps:
                break
            # dloss/dlogits = (p - y) / S, and back through the decoder by the chain rule.
            error = (log_p.exp() * share - wanted).mT  # [T, N, S]
            into_hidden, into_skip = (error @ through).tensor_split([width], dim=-1)  # [T, N, H], [T, N, L]
            into_first = _past_relu(into_hidden, hidden) @ decoder.fc2.weight  # [T, N, H1]
            gradient = _past_relu(into_first, first) @ decoder.fc1.weight  # [T, N, L]
            if decoder.skip is not None:
                gradient += into_skip
            codes = codes - self.leo.step_size(step) * gradient
        state = hidden if decoder.skip is None else torch.cat([hidden, codes], dim=-1)  # [T, N, H+L]
        return codes, state, log_ps, logits


def _past_relu(gradient: Tensor, output: Tensor) -> Tensor:
    """Gradient by a ReLU's input from that by its output: in one pass, where a mask and a product take two."""
    passed: Tensor = torch.ops.aten.threshold_backward(gradient, output, 0)
    return passed


def _padded(values: Tensor, length: int, fill: float = 0) -> Tensor:
    missing = length - len(values)
    return values if missing == 0 else torch.cat([values, values.new_full((missing, *values.shape[1:]), fill)])
