"""The LEO algorithm: inner loop by hand arithmetic, gradients by finite differences, the outer step."""

import pytest
import torch
from torch import nn

from model.config import LEOConfig
from model.functional import code_spread, cross_entropy, one_hot
from model.leo import LatentEmbeddingOptimization
from model.networks.gaussian import Gaussian
from model.outer_loop import TrainingDiverged
from tests.helpers.models import tiny


def episode(tasks: int = 2, way: int = 3, shot: int = 2, query: int = 3, seed: int = 1) -> tuple[torch.Tensor, ...]:
    """Support, labels, query, labels: each class a bar at its own height, with noise."""
    generator = torch.Generator().manual_seed(seed)

    def images(per_class: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.arange(way).repeat_interleave(per_class).repeat(tasks, 1)
        pictures = 0.2 * torch.rand(tasks, way * per_class, 1, 8, 8, generator=generator)
        for s, label in enumerate(labels[0]):
            pictures[:, s, :, 2 * int(label) : 2 * int(label) + 2] += 0.8
        return pictures, labels

    return *images(shot), *images(query)


class CodesAreRows(nn.Module):
    """A decoder by which a code is its class's weights and bias: arithmetic can be done by hand."""

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return codes

    def distribution(self, codes: torch.Tensor, present: torch.Tensor) -> Gaussian:
        return Gaussian(codes, None)


def by_hand(alpha: float, **changes: object) -> LatentEmbeddingOptimization:
    with pytest.warns(UserWarning, match="recommended"):
        leo = tiny(latent_dim=2, inner_steps=1, **changes)
    leo.decoder = CodesAreRows()  # type: ignore[assignment]
    leo.alpha.data.fill_(alpha)
    return leo


def test_one_inner_step_against_hand_arithmetic() -> None:
    # Two classes, F = 1, x = 1 and -1, all codes (w, b) = 0: both probabilities are 1/2, the loss is
    # ln 2. dloss/dw_0 = mean(-1/2 * 1, 1/2 * -1) = -1/2, dloss/dw_1 = 1/2, biases cancel.
    leo = by_hand(alpha=1.0)
    features, membership = torch.tensor([[[1.0], [-1.0]]]), one_hot(torch.tensor([[0, 1]]))
    adapted = leo.adapt(torch.zeros(1, 2, 2), features, membership)
    torch.testing.assert_close(adapted.codes[0].detach(), torch.tensor([[0.5, 0.0], [-0.5, 0.0]]))
    # Afterwards the logits are +-1/2, so the loss is ln(1 + e^-1).
    expected = torch.tensor([[2.0, 1.0 + torch.tensor(-1.0).exp().item()]]).log()
    torch.testing.assert_close(adapted.losses, expected)


def test_the_inner_temperature_softens_the_error_and_keeps_the_step() -> None:
    # As above but codes (w, b) = (1, 0) and (-1, 0): logits of the first example are 1 and -1. At temperature 2 its
    # probability is 1 / (1 + e^-1), by which its error and so the step on w falls; dloss/dw is minus that error.
    leo = by_hand(alpha=1.0, inner_temperature=2.0)
    features, membership = torch.tensor([[[1.0], [-1.0]]]), one_hot(torch.tensor([[0, 1]]))
    start = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])
    adapted = leo.adapt(start, features, membership)
    error = 1 - torch.tensor(1.0).sigmoid().item()
    torch.testing.assert_close(adapted.codes[0].detach(), start[0] + torch.tensor([[error, 0.0], [-error, 0.0]]))
    assert float(adapted.losses[0, 0]) == pytest.approx(-torch.tensor(1.0).sigmoid().log().item())


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [((2.0, 0.0), [[1.0, 0.0], [-1.0, 0.0]]), ((0.0, 3.0), [[0.0, 0.5], [0.0, -0.5]])],
    ids=["weights only", "biases only"],
)
def test_alpha_is_per_latent_dimension(alpha: tuple[float, float], expected: list[list[float]]) -> None:
    # As above with x = 1, 1, -1 in classes 0, 0, 1: dloss/dw_0 = mean(-1/2, -1/2, -1/2) = -1/2 and
    # dloss/db_0 = mean(-1/2, -1/2, 1/2) = -1/6, the other class's are the opposite.
    leo = by_hand(alpha=1.0)
    leo.alpha.data = torch.tensor(alpha)
    features, membership = torch.tensor([[[1.0], [1.0], [-1.0]]]), one_hot(torch.tensor([[0, 0, 1]]))
    codes = leo.adapt(torch.zeros(1, 2, 2), features, membership).codes[0]
    torch.testing.assert_close(codes.detach(), torch.tensor(expected))


@pytest.mark.usefixtures("double")
def test_meta_gradients_are_second_order() -> None:
    def query_loss(leo: LatentEmbeddingOptimization, start: torch.Tensor) -> torch.Tensor:
        features, membership = torch.tensor([[[1.0], [-1.0]]]), one_hot(torch.tensor([[0, 1]]))
        adapted = leo.adapt(start, features, membership)
        query = torch.tensor([[[0.3], [0.9]]])
        return cross_entropy(leo.logits(adapted.codes, query, membership), one_hot(torch.tensor([[0, 1]]))).sum()

    start = torch.tensor([[[0.4, 0.1], [-0.2, 0.3]]], requires_grad=True)
    exact = by_hand(alpha=1.5)
    (analytic,) = torch.autograd.grad(query_loss(exact, start), start)
    numeric = torch.zeros_like(start)
    for place in range(4):
        nudge = torch.zeros(4)
        nudge[place] = 1e-5
        moved = nudge.view_as(start)
        with torch.no_grad():
            up, down = query_loss(exact, start + moved), query_loss(exact, start - moved)
        numeric.view(-1)[place] = (up - down) / 2e-5
    torch.testing.assert_close(analytic, numeric, atol=1e-8, rtol=1e-6)
    (first_order,) = torch.autograd.grad(query_loss(by_hand(alpha=1.5, second_order=False), start), start)
    assert (first_order - numeric).abs().max() > 1e-3


@pytest.mark.parametrize("own_encoder", [False, True])
@pytest.mark.parametrize("skip", [False, True])
def test_gradients_reach_every_part(own_encoder: bool, skip: bool) -> None:
    leo = tiny(own_encoder=own_encoder, decoder_skip=skip)
    if skip:  # what starts at 0 passes no gradient on at first
        nn.init.normal_(leo.decoder.fc3.weight, std=0.1)
    nn.init.normal_(leo.relation.out.weight, std=0.1)
    loss, _ = leo.meta_loss(*episode())
    loss.backward()
    without = [
        name
        for name, parameter in leo.named_parameters()
        if not name.startswith("classifier.fc.") and (parameter.grad is None or parameter.grad.abs().max() == 0)
    ]
    assert without == []


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    "name",
    ["encoder.to_code.weight", "relation.hidden.weight", "relation.out.weight", "decoder.fc1.weight", "alpha"],
)
def test_gradients_of_the_query_loss_are_those_of_finite_differences(name: str) -> None:
    leo = tiny(inner_lr=1.0)
    nn.init.normal_(leo.relation.out.weight, std=0.1)  # what starts at 0 passes no gradient on at first
    support, labels, query, query_labels = episode()
    with torch.no_grad():
        support_features, query_features = (leo.features(leo.classifier.phi, part) for part in (support, query))

    def loss() -> torch.Tensor:
        return leo.meta_loss_of_features(support_features, support_features, labels, query_features, query_labels)[0]

    parameter, start = leo.get_parameter(name), leo.get_parameter(name).detach().clone()
    (gradient,) = torch.autograd.grad(loss(), parameter)
    direction = torch.randn_like(start)
    losses = []
    for step in (1e-6, -1e-6):
        parameter.data = start + step * direction
        losses.append(float(loss().detach()))
    slope = (losses[0] - losses[1]) / 2e-6
    assert abs(slope) > 1e-4
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-4)


def test_five_steps_lower_the_support_loss_of_every_task() -> None:
    leo = tiny(inner_lr=0.1).eval()
    support, labels, *_ = episode(tasks=4)
    membership = one_hot(labels)
    with torch.no_grad():
        features = leo.features(leo.classifier.phi, support)
        losses = leo.adapt(leo.encode(features, membership), features, membership).losses
    assert losses.shape == (4, 6)
    assert (losses[:, -1] < losses[:, 0]).all()


def test_permuting_classes_permutes_the_answer() -> None:
    leo = tiny().eval()
    support, labels, query, _ = (part[0] for part in episode())
    order = torch.tensor([2, 0, 1])

    def logits(labels: torch.Tensor) -> torch.Tensor:
        codes = leo.inner_update(support, labels, leo.encode_task(support, labels))
        return leo.classifier(query, leo.decode_to_params(codes))

    torch.testing.assert_close(logits(order[labels])[:, order], logits(labels))


def test_a_stack_of_tasks_is_the_tasks_one_by_one() -> None:
    leo = tiny().eval()
    support, labels, *_ = episode(tasks=3)
    stacked = leo.inner_update(support, labels, leo.encode_task(support, labels))
    for t in range(3):
        alone = leo.inner_update(support[t], labels[t], leo.encode_task(support[t], labels[t]))
        torch.testing.assert_close(stacked[t], alone)


def test_the_inner_loop_runs_without_recording_a_graph() -> None:
    leo = tiny().eval()
    support, labels, *_ = episode(tasks=1)
    with torch.no_grad():
        codes = leo.inner_update(support, labels, leo.encode_task(support, labels))
    assert not codes.requires_grad


def test_a_step_clips_the_gradients_of_all_parameters_together() -> None:
    leo = tiny(max_grad_norm=1e-3)
    leo.meta_train_step(*episode())
    norms = [p.grad.norm() for p in leo.parameters() if p.grad is not None]
    assert torch.stack(norms).norm() <= 1.001e-3
    assert {id(p) for group in leo.optimizer.param_groups for p in group["params"]} == {
        id(p) for p in leo.parameters() if p.requires_grad
    }


def test_a_non_finite_step_changes_nothing_and_is_counted() -> None:
    leo = tiny()
    support, labels, query, query_labels = episode()
    leo.meta_train_step(support, labels, query, query_labels)
    before = {name: p.detach().clone() for name, p in leo.named_parameters()}
    loss = leo.meta_train_step(support * float("nan"), labels, query, query_labels)
    assert loss != loss
    assert leo.skipped_steps == 1
    for name, parameter in leo.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name])


@pytest.mark.parametrize(("broken", "said"), [("images", "images contain NaN"), ("weights", "classifier.phi.centre")])
def test_twenty_skipped_in_a_row_name_the_likely_cause(broken: str, said: str) -> None:
    leo = tiny()
    support, labels, query, query_labels = episode()
    if broken == "images":
        support = support * float("nan")
    else:
        leo.classifier.phi.centre.data.fill_(float("nan"))
    for _ in range(19):
        leo.meta_train_step(support, labels, query, query_labels)
    with pytest.raises(TrainingDiverged, match=said):
        leo.meta_train_step(support, labels, query, query_labels)


def test_a_good_step_between_restarts_the_count() -> None:
    leo = tiny()
    support, labels, query, query_labels = episode()
    for _ in range(3):
        for _ in range(19):
            leo.meta_train_step(query * float("inf"), query_labels, query, query_labels)
        # BatchNorm's running statistics took in the infinities, the weights did not.
        assert leo.meta_train_step(support, labels, query, query_labels) > 0
    assert leo.skipped_steps == 57


def test_bf16_convolutions_train_and_agree_with_float32() -> None:
    leo = tiny().eval()
    support, *_ = episode()
    exact = leo.features(leo.classifier.phi, support)
    leo.bf16 = True
    rounded = leo.features(leo.classifier.phi, support)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, atol=0.03, rtol=0.03)
    assert leo.meta_train_step(*episode()) > 0
    assert leo.skipped_steps == 0


def test_spread_tells_collapsed_codes() -> None:
    assert code_spread(torch.ones(1, 5, 8)) == 0
    assert code_spread(torch.eye(8)[None, :5]) > 0.8


@pytest.mark.parametrize("labels", [[[0, 5]], [[-2, 0]]])
def test_labels_out_of_range_are_refused(labels: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="labels must lie in"):
        one_hot(torch.tensor(labels), 3)


def test_fewer_than_two_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        LatentEmbeddingOptimization(num_classes=1)


def test_each_step_has_its_own_alpha_and_later_ones_take_the_last() -> None:
    leo = tiny(inner_lr_per_step=True, inner_steps=3)
    leo.alpha.data = torch.arange(3.0).unsqueeze(1).expand(3, 32)
    assert [float(leo.step_size(step).detach().unique()) for step in (0, 1, 2, 3, 9)] == [0, 1, 2, 2, 2]


def test_one_fine_tuning_step_against_hand_arithmetic() -> None:
    # As in the first test of this file, but the step of size 1 is taken on the head: alpha is 0.
    leo = by_hand(alpha=0.0, finetune_steps=1, finetune_lr=1.0)
    features, membership = torch.tensor([[[1.0], [-1.0]]]), one_hot(torch.tensor([[0, 1]]))
    adapted = leo.adapt(torch.zeros(1, 2, 2), features, membership)
    assert not adapted.codes.any()
    torch.testing.assert_close(adapted.heads[0].detach(), torch.tensor([[0.5, 0.0], [-0.5, 0.0]]))
    assert adapted.losses.shape == (1, 3)
    without = leo.adapt(torch.zeros(1, 2, 2), features, membership, steps=0)
    assert not without.heads.any()  # no inner loop: neither steps on codes nor on heads


def test_the_papers_penalties_add_up() -> None:
    base = {"stochastic": True, "decoder_skip": True}
    parts = {"kl_weight": 0.3, "encoder_penalty": 0.2, "orthogonality": 0.1}

    def loss(**weights: float) -> float:
        leo = tiny(**base, **weights)
        torch.manual_seed(3)  # the same draws
        return float(leo.meta_loss(*episode())[0].detach())

    bare = loss()
    each = [loss(**{name: weight}) - bare for name, weight in parts.items()]
    assert min(each) > 0
    assert loss(**parts) - bare == pytest.approx(sum(each), rel=1e-3)


def test_a_stochastic_model_draws_in_training_only() -> None:
    leo = tiny(stochastic=True)
    support, labels, query, query_labels = episode()
    losses = {float(leo.train().meta_loss(support, labels, query, query_labels)[0].detach()) for _ in range(3)}
    assert len(losses) == 3
    leo.eval()
    codes = leo.encode_task(support, labels)
    assert torch.equal(codes, leo.encode_task(support, labels))


def test_every_setting_of_the_paper_learns() -> None:
    torch.manual_seed(0)
    leo = tiny(
        **LEOConfig.paper().model_dump(
            include={
                "stochastic", "relation_over", "dropout", "finetune_steps", "kl_weight", "encoder_penalty",
                "orthogonality", "l2",
            }
        ),
        relation_residual=True, decoder_skip=True, inner_lr=0.3, attention=True, relation_steps=2,
        decoder_conditioned=True, decoder_experts=2, inner_lr_per_step=True,
    )  # fmt: skip
    before = {name: value.clone() for name, value in leo.named_parameters()}
    losses = [leo.meta_train_step(*episode(seed=seed)) for seed in range(30)]
    assert sum(losses[-5:]) < sum(losses[:5])
    unmoved = [name for name, value in leo.named_parameters() if torch.equal(value, before[name])]
    assert unmoved == ["classifier.fc.weight", "classifier.fc.bias"]
