"""Tests of MAML, Meta-SGD and ANIL."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from model.baselines.gradient import KINDS, GradientBased, Kind
from model.data.omniglot import load_drawings
from model.evaluation.accuracy import Setting, sample_tasks
from model.evaluation.extracted_features import extract
from model.functional import cross_entropy, one_hot
from model.leo import LatentEmbeddingOptimization
from tests.helpers.drawn import write_omniglot
from tests.helpers.models import WEIGHTS, tiny


def gradient_based(kind: Kind) -> GradientBased:
    """Return a method with random weights, bias and step sizes."""
    method = GradientBased(tiny(), kind)
    generator = torch.Generator().manual_seed(1)
    method.weight.data = 0.1 * torch.randn(method.weight.shape, generator=generator, dtype=method.weight.dtype)
    method.bias.data.fill_(0.1)
    for rate in method.log_rates.values():
        rate.data += 2 + 0.1 * torch.randn(rate.shape, generator=generator, dtype=rate.dtype)
    return method.eval()


def logits_of(method: GradientBased, weights: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """Return the logits of phi and head with these weights."""
    phi_weights = {name.removeprefix("phi."): value for name, value in weights.items() if name.startswith("phi.")}
    features = torch.func.functional_call(method.phi, phi_weights, (images,))
    return method.log_scale.exp() * F.linear(features, weights["weight"]) + weights["bias"]


@pytest.mark.usefixtures("double")
def test_one_step_of_anil_by_hand() -> None:
    leo = tiny(logit_scale=2.0)
    method = GradientBased(leo, "ANIL", steps=1).eval()
    method.log_rates["weight"].data.fill_(math.log(0.5))
    support = torch.zeros(1, 2, leo.config.feature_dim)
    support[0, 0, 0] = support[0, 1, 1] = 1.0
    (fast, _) = method.adapt(support, one_hot(torch.tensor([[0, 1]])))
    # From zero both classes have p = 1/2; d loss/d logit = (p - y)/2 = -1/4 for the own class, 1/4 for the other;
    # the scale 2 makes the row's gradient twice that, and a rate of 1/2 half of it again.
    expected = torch.zeros(2, leo.config.feature_dim)
    expected[0, 0] = expected[1, 1] = 0.25
    expected[0, 1] = expected[1, 0] = -0.25
    torch.testing.assert_close(fast["weight"][0], expected)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("kind", KINDS)
def test_tasks_adapted_together_match_plain_autograd_one_by_one(kind: Kind) -> None:
    method, steps = gradient_based(kind), 3
    method.steps = steps
    images, queries = torch.rand(3, 4, 1, 8, 8), torch.rand(3, 5, 1, 8, 8)
    labels = torch.tensor([[0, 1, 0, 1], [1, 1, 0, 0], [0, 0, 0, 1]])
    together = method.logits(method.adapt(method.extractor(images), one_hot(labels)), method.extractor(queries))
    (together_gradient,) = torch.autograd.grad(together.square().sum(), method.weight)
    by_loop = []
    for t in range(3):
        weights = {f"phi.{name}": p for name, p in method.phi.named_parameters()} if kind != "ANIL" else {}
        weights |= {"weight": method.weight.expand(2, -1), "bias": method.bias.expand(2)}
        for _ in range(steps):
            loss = F.cross_entropy(logits_of(method, weights, images[t]), labels[t])
            gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            weights = {
                name: value - method.log_rates[name.replace(".", "/")].exp() * gradient
                for (name, value), gradient in zip(weights.items(), gradients, strict=True)
            }
        by_loop.append(logits_of(method, weights, queries[t]))
    looped = torch.stack(by_loop)
    torch.testing.assert_close(together, looped, atol=1e-9, rtol=1e-9)
    # The outer gradient, which passes through every inner step, is of second order.
    (looped_gradient,) = torch.autograd.grad(looped.square().sum(), method.weight)
    torch.testing.assert_close(together_gradient, looped_gradient, atol=1e-8, rtol=1e-8)


def test_every_inner_step_lowers_the_support_loss(tmp_path: Path) -> None:
    # With several shots of few classes a bias with the weights' step size would overshoot. The head is the same in all
    # three methods; ANIL alone is fast.
    leo = LatentEmbeddingOptimization.from_pretrained(WEIGHTS / "omniglot")
    drawings = load_drawings(write_omniglot(tmp_path, ["Alpha"], 6))
    method = GradientBased(leo, "ANIL").eval().requires_grad_(False)
    extracted = extract(method.extractor, drawings, leo.config.resolution, torch.device("cpu"))
    support, labels, *_ = sample_tasks(extracted, Setting(5, (5, 5), 1), 40).gather(extracted.features)
    membership, losses = one_hot(labels), []
    for method.steps in range(6):
        with torch.no_grad():
            losses.append(cross_entropy(method.logits(method.adapt(support, membership), support), membership).mean())
    assert all(after < before for before, after in pairwise(losses)), losses


def test_batch_norm_keeps_its_statistics_in_training() -> None:
    method = GradientBased(tiny(), "MAML").train()
    before = {name: value.clone() for name, value in method.phi.named_buffers()}
    method.adapt(torch.rand(1, 2, 1, 8, 8), one_hot(torch.tensor([[0, 1]])))
    for name, value in method.phi.named_buffers():
        assert torch.equal(value, before[name]), name
