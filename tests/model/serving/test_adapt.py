"""The inner loop for serving gives the same as the algorithm's autograd."""

import pytest
import torch

from model.config import LEOConfig
from model.functional import one_hot
from model.leo import LatentEmbeddingOptimization
from model.serving.adapt import MIN_TASKS_TO_SPLIT, Adapter, Support
from tests.helpers.models import tiny


def random_support(leo: LatentEmbeddingOptimization, ways: int, shots: list[int], seed: int) -> Support:
    """Features as phi would give them, `shots[n]` examples of class n, in mixed order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(ways), torch.tensor(shots))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    features = torch.randn(len(labels), *leo.config.example_shape, generator=generator)
    features = torch.nn.functional.normalize(features, dim=-1)
    return Support(features, features.flip(-1) if leo.encoder.features is not None else features, labels.numpy())


def with_views(config: LEOConfig, views: object) -> LEOConfig:
    """The settings, but with that many views of a picture in the loss. Other models are left alone."""

    class WithViews(LEOConfig):
        views_in_loss = property(lambda _: views)  # type: ignore[assignment]

    return WithViews.model_validate(config.model_dump())


@pytest.mark.parametrize("own_encoder", [False, True])
def test_ragged_tasks_together_come_out_as_each_alone(own_encoder: bool) -> None:
    leo = tiny(own_encoder=own_encoder, decoder_skip=True, inner_lr=0.5).eval()
    torch.nn.init.normal_(leo.decoder.fc3.weight, std=0.05)
    torch.nn.init.normal_(leo.relation.out.weight, std=0.05)
    tasks = [
        random_support(leo, 2, [1, 1], 1),
        random_support(leo, 5, [1, 3, 2, 1, 7], 2),
        random_support(leo, 20, [1] * 20, 3),
        random_support(leo, 3, [5, 5, 5], 4),
    ]
    for task, together in zip(tasks, Adapter(leo).adapt(tasks), strict=True):
        (alone,) = Adapter(leo).adapt([task])
        torch.testing.assert_close(together.codes, alone.codes, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together.weight, alone.weight, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together.bias, alone.bias, atol=1e-5, rtol=1e-5)
        assert together.losses == pytest.approx(alone.losses, abs=1e-5)
        assert together.support_accuracy == alone.support_accuracy
        assert together.is_finite


@pytest.mark.parametrize("conditioned", [False, True])
def test_many_tasks_whose_parts_go_to_different_cores_come_out_as_each_alone(conditioned: bool) -> None:
    leo = tiny(own_encoder=True, decoder_conditioned=conditioned, inner_lr=0.5).eval()
    torch.nn.init.normal_(leo.decoder.fc3.weight, std=0.05)
    tasks = [random_support(leo, 2 + n % 4, [1 + n % 3] * (2 + n % 4), n) for n in range(2 * MIN_TASKS_TO_SPLIT + 1)]
    with torch.inference_mode():  # as the engine calls it
        together = Adapter(leo).adapt(tasks)
        alone = [Adapter(leo).adapt([task])[0] for task in tasks]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.codes, other.codes, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(one.weight, other.weight, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(one.bias, other.bias, atol=1e-5, rtol=1e-5)
        assert one.losses == pytest.approx(other.losses, abs=1e-5)


@pytest.mark.parametrize("conditioned", [False, True], ids=["closed form", "by autograd"])
def test_a_task_does_not_keep_its_batch_in_memory(conditioned: bool) -> None:
    leo = tiny(decoder_conditioned=conditioned).eval()
    tasks = [random_support(leo, 2, [1, 1], 1), random_support(leo, 9, [1] * 9, 2)]
    for task in Adapter(leo).adapt(tasks):
        for tensor in (task.codes, task.weight, task.bias):
            assert tensor.untyped_storage().nbytes() == tensor.nbytes


def test_a_non_finite_task_is_known_and_harms_no_neighbour() -> None:
    leo = tiny().eval()
    good = random_support(leo, 2, [1, 1], 1)
    bad = Support(good.features * float("nan"), good.encoder_features, good.labels)
    results = Adapter(leo).adapt([good, bad])
    assert results[0].is_finite
    assert not results[1].is_finite


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"decoder_skip": True},
        {"relation_residual": False},
        {"relation_over": "examples", "relation_steps": 3},
        {"attention": True, "stochastic": True, "dropout": 0.3},
        {"inner_lr_per_step": True, "decoder_skip": True},
        {"finetune_steps": 3, "finetune_lr": 0.5},
        {"finetune_steps": 1, "inner_temperature": 3.0, "decoder_skip": True},
        {"decoder_conditioned": True, "inner_temperature": 0.5},
        {"finetune_steps": 2, "inner_lr_per_step": True, "decoder_skip": True},
        {"decoder_skip": True, "decoder_tied": True, "relation_width": 5},
        {"code_ridge": 0.3, "decoder_skip": True, "decoder_tied": True},
        {"code_ridge": 0.3, "code_evenness": 1.8, "decoder_skip": True},
        {"inner_ridge": 0.3, "decoder_skip": True, "decoder_tied": True},
        {"inner_ridge": 0.3, "unrelated_cosine": -0.2, "decoder_skip": True, "decoder_tied": True},
        {"unrelated_cosine": 0.1, "relation_over": "examples", "decoder_skip": True},
        {"unrelated_cosine": 0.1, "decoder_conditioned": True},
        {"views": 3, "decoder_skip": True},
        {"views": 3, "inner_ridge": 0.3, "unrelated_cosine": -0.2, "decoder_skip": True, "decoder_tied": True},
        {"views": 2, "decoder_conditioned": True, "inner_ridge": 0.3},
        {"views": 2, "finetune_steps": 2},
        {"inner_ridge": 2.0, "inner_temperature": 3.0, "inner_lr_per_step": True, "finetune_steps": 1},
        {"decoder_skip": True, "decoder_rank": 40},
        {"decoder_rank": 50, "finetune_steps": 2},
        {"decoder_conditioned": True},
        {"decoder_experts": 3, "decoder_skip": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", range(2))
def test_serving_adapts_as_plain_autograd_does_whatever_the_settings(seed: int, choice: dict[str, object]) -> None:
    """`views` stands for those of a model of photos, whose phi is far larger."""
    generator = torch.Generator().manual_seed(seed)
    own = {name: value for name, value in choice.items() if name != "views"}
    leo = tiny(inner_lr=0.7, logit_scale=5.0, **own).eval()
    if "views" in choice:
        leo.config = with_views(leo.config, choice["views"])
    for part in (leo.encoder, leo.relation, leo.decoder):
        for parameter in part.parameters():
            torch.nn.init.normal_(parameter, std=0.4) if parameter.dim() else None
    if leo.config.decoder_tied:
        leo.decoder.start_as_transpose_of(leo.encoder)
    leo.alpha.data = torch.rand(leo.alpha.shape, generator=generator)
    tasks = []
    for _ in range(4):
        ways = int(torch.randint(2, 8, (1,), generator=generator))
        shots = torch.randint(1, 6, (ways,), generator=generator).tolist()
        tasks.append(random_support(leo, ways, shots, int(torch.randint(10**6, (1,), generator=generator))))
    for steps in (0, 1, 5, 10):
        with torch.inference_mode():  # as the engine calls it
            together = Adapter(leo).adapt(tasks, steps)
        for task, adapted in zip(tasks, together, strict=True):
            membership = one_hot(torch.from_numpy(task.labels)[None])
            with torch.no_grad():
                codes = leo.encode(leo.of_pictures(task.features)[None], membership)
                expected = leo.adapt(codes, task.features[None], membership, steps)
            torch.testing.assert_close(adapted.codes, expected.codes[0], atol=1e-9, rtol=1e-9)
            torch.testing.assert_close(adapted.weight, expected.heads[0, :, :-1], atol=1e-8, rtol=1e-8)
            torch.testing.assert_close(adapted.bias, expected.heads[0, :, -1], atol=1e-8, rtol=1e-8)
            torch.testing.assert_close(torch.tensor(adapted.losses), expected.losses[0], atol=1e-9, rtol=1e-9)
