"""Each method by arithmetic that can be done by hand, and all of them on ragged tasks."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from scipy.optimize import minimize
from torch.nn import functional as F

from model.baselines.folder import all_methods, read_description, save_description, save_gradient_based, tensors_file
from model.baselines.gradient import KINDS, GradientBased, Kind
from model.baselines.latent import Leo
from model.baselines.logistic import LogisticHead
from model.baselines.method import Method, Phi
from model.baselines.prototypes import CosinePrototypes, EuclideanPrototypes
from model.checkpoint import CheckpointError
from model.data.omniglot import load_drawings
from model.evaluation.accuracy import Setting, extract, sample_tasks
from model.functional import cross_entropy, one_hot
from model.leo import LatentEmbeddingOptimization
from model.serving.adapt import Adapter, Support
from tests.conftest import WEIGHTS, tiny
from tests.helpers.drawn import write_omniglot

CORNERS = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [0.0, 1.0]]])  # [1, S=3, F=2], means (2, 0) and (0, 1)
MEMBERSHIP = one_hot(torch.tensor([[0, 0, 1]]))
QUERY = torch.tensor([[[3.0, 4.0]]])


def test_cosine_prototypes_by_hand() -> None:
    method = CosinePrototypes(Phi(tiny()))
    logits = method.logits(method.adapt(CORNERS, MEMBERSHIP), QUERY)
    torch.testing.assert_close(logits, torch.tensor([[[6.0, 8.0]]]))  # 10 cos: 10 · 3/5 and 10 · 4/5


def test_euclidean_prototypes_by_hand() -> None:
    method = EuclideanPrototypes(Phi(tiny()))
    logits = method.logits(method.adapt(CORNERS, MEMBERSHIP), QUERY)
    # Squared distances (3-2)² + 4² = 17 and 3² + (4-1)² = 18; |query|² = 25 is left out of both.
    torch.testing.assert_close(logits, torch.tensor([[[25.0 - 17.0, 25.0 - 18.0]]]))


@pytest.mark.usefixtures("double")
def test_the_logistic_head_is_at_the_optimum_that_another_solver_finds() -> None:
    generator = torch.Generator().manual_seed(0)
    support, l2 = torch.randn(1, 12, 4, generator=generator), 0.03
    labels = torch.arange(3).repeat(4)[None]
    method = LogisticHead(Phi(tiny()), l2)
    rows = method.adapt(support, one_hot(labels)).rows[0]  # [3, 5]

    def loss(flat: object) -> tuple[float, object]:
        w = torch.tensor(flat).view(3, 5).requires_grad_()
        value = F.cross_entropy(support[0] @ w[:, :-1].T + w[:, -1], labels[0]) + l2 / 2 * w.square().sum()
        value.backward()
        assert w.grad is not None
        return float(value.detach()), w.grad.flatten().numpy()

    found = minimize(loss, torch.zeros(15).numpy(), jac=True, method="BFGS", options={"gtol": 1e-8})
    torch.testing.assert_close(rows.flatten(), torch.tensor(found.x), atol=2e-3, rtol=0)
    with pytest.raises(ValueError, match="no optimum"):
        LogisticHead(Phi(tiny()), 0)


def test_leo_among_the_methods_is_the_leo_that_is_served() -> None:
    for own_encoder in (False, True):
        leo = tiny(own_encoder=own_encoder, decoder_skip=True, inner_lr=0.5).eval()
        images, labels = torch.rand(1, 6, 1, 8, 8), torch.tensor([0, 0, 1, 1, 2, 2])
        method = Leo(leo, 3)
        logits = method.logits(
            method.adapt(method.extractor(images[0])[None], one_hot(labels[None])), method.extractor(images[0])[None]
        )
        with torch.no_grad():
            features = leo.features(leo.classifier.phi, images[0])
            own = leo.features(leo.encoder_phi, images[0])
        (served,) = Adapter(leo).adapt([Support(features, own, labels)], 3)
        torch.testing.assert_close(logits[0], features @ served.weight.T + served.bias, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("double")
def test_anil_by_hand() -> None:
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
def test_all_tasks_at_once_are_plain_autograd_in_a_loop(kind: Kind) -> None:
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
            loss = F.cross_entropy(head(method, weights, images[t]), labels[t])
            gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            weights = {
                name: value - method.log_rates[name.replace(".", "/")].exp() * gradient
                for (name, value), gradient in zip(weights.items(), gradients, strict=True)
            }
        by_loop.append(head(method, weights, queries[t]))
    looped = torch.stack(by_loop)
    torch.testing.assert_close(together, looped, atol=1e-9, rtol=1e-9)
    # The outer gradient too goes through every inner gradient: the second order is there.
    (looped_gradient,) = torch.autograd.grad(looped.square().sum(), method.weight)
    torch.testing.assert_close(together_gradient, looped_gradient, atol=1e-8, rtol=1e-8)


def head(method: GradientBased, weights: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    inside = {name.removeprefix("phi."): value for name, value in weights.items() if name.startswith("phi.")}
    features = torch.func.functional_call(method.phi, inside, (images,))
    return method.log_scale.exp() * F.linear(features, weights["weight"]) + weights["bias"]


def gradient_based(kind: Kind) -> GradientBased:
    method = GradientBased(tiny(), kind)
    generator = torch.Generator().manual_seed(1)
    method.weight.data = 0.1 * torch.randn(method.weight.shape, generator=generator, dtype=method.weight.dtype)
    method.bias.data.fill_(0.1)
    for rate in method.log_rates.values():
        rate.data += 2 + 0.1 * torch.randn(rate.shape, generator=generator, dtype=rate.dtype)
    return method.eval()


def test_every_inner_step_lowers_the_support_loss(tmp_path: Path) -> None:
    """Several shots of few classes are where a bias that takes the weights' steps overshoots.

    Of ANIL, whose head is that of all three, since it takes a moment and the others a minute.
    """
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


def test_phi_keeps_its_stored_statistics_in_training() -> None:
    method = GradientBased(tiny(), "MAML").train()
    before = {name: value.clone() for name, value in method.phi.named_buffers()}
    method.adapt(torch.rand(1, 2, 1, 8, 8), one_hot(torch.tensor([[0, 1]])))
    for name, value in method.phi.named_buffers():
        assert torch.equal(value, before[name]), name


@pytest.fixture
def methods(tmp_path: Path) -> list[Method]:
    leo = tiny(decoder_skip=True, inner_lr=0.5).eval()
    for kind in KINDS:
        save_gradient_based(GradientBased(leo, kind), tmp_path)
    return all_methods(leo, tmp_path, {"l2": 0.01})


def test_every_method_takes_ragged_tasks_as_if_alone(methods: list[Method]) -> None:
    assert len(methods) == 8
    images = torch.rand(2, 5, 1, 8, 8)
    labels = torch.tensor([[0, 1, 2, 1, 0], [1, 0, 0, -1, -1]])  # the second has two classes and two paddings
    for method in methods:
        with torch.no_grad():
            support, queries = method.extractor(images.flatten(0, 1)), method.extractor(torch.rand(4, 1, 8, 8))
            support = support.reshape(2, 5, *support.shape[1:])
            both = method.logits(method.adapt(support, one_hot(labels)), torch.stack([queries, queries]))
            assert torch.isneginf(both[1, :, 2]).all(), method.name
            alone = method.logits(method.adapt(support[1:, :3], one_hot(labels[1:, :3])), queries[None])
        torch.testing.assert_close(both[1, :, :2], alone[0], atol=1e-4, rtol=1e-4, msg=method.name)


def test_every_method_is_indifferent_to_the_order_of_classes(methods: list[Method]) -> None:
    images, labels = torch.rand(6, 1, 8, 8), torch.tensor([[0, 1, 2, 0, 1, 2]])
    for method in methods:
        with torch.no_grad():
            seen = method.extractor(images)[None]
            one = method.logits(method.adapt(seen, one_hot(labels)), seen)
            other = method.logits(method.adapt(seen, one_hot((labels + 1) % 3)), seen)
        torch.testing.assert_close(other.roll(-1, dims=-1), one, atol=1e-4, rtol=1e-4, msg=method.name)


def test_a_folder_gives_back_what_was_saved_and_names_what_is_wrong(tmp_path: Path) -> None:
    leo = tiny()
    assert read_description(tmp_path, "v1") is None
    assert [type(method).__name__ for method in all_methods(leo, tmp_path, None)] == [
        "Leo",
        "Leo",
        "CosinePrototypes",
        "EuclideanPrototypes",
    ]
    save_description(tmp_path, {"model_version": "v1", "l2": 0.5})
    described = read_description(tmp_path, "v1")
    assert described is not None
    with pytest.raises(CheckpointError, match="version v1 of the model, not v2"):
        read_description(tmp_path, "v2")
    with pytest.raises(CheckpointError, match=r"maml\.safetensors cannot be used"):
        all_methods(leo, tmp_path, described)
    saved = gradient_based("MAML").float()
    for kind in KINDS:
        save_gradient_based(saved if kind == "MAML" else GradientBased(leo, kind), tmp_path)
    loaded = all_methods(leo, tmp_path, described)[5]
    assert isinstance(loaded, GradientBased)
    assert torch.equal(loaded.weight, saved.weight)
    assert not loaded.weight.requires_grad
    (tmp_path / tensors_file("ANIL")).write_bytes(b"junk")
    with pytest.raises(CheckpointError, match=r"anil\.safetensors"):
        all_methods(leo, tmp_path, described)
    (tmp_path / "baselines.json").write_text("[]")
    with pytest.raises(CheckpointError, match="damaged"):
        read_description(tmp_path, "v1")
