import pytest
import torch

from model.adapt import Support, adapt_tasks
from model.leo import LatentEmbeddingOptimization
from tests.conftest import tiny


def random_support(leo: LatentEmbeddingOptimization, ways: int, shots: list[int], seed: int) -> Support:
    """Features as phi would give them, `shots[n]` examples of class n, in mixed order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(ways), torch.tensor(shots))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    features = torch.randn(len(labels), leo.config.feature_dim, generator=generator)
    features = torch.nn.functional.normalize(features, dim=-1)
    return Support(features, features.flip(-1) if leo.encoder.features is not None else features, labels)


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
    for task, together in zip(tasks, adapt_tasks(leo, tasks), strict=True):
        (alone,) = adapt_tasks(leo, [task])
        torch.testing.assert_close(together.codes, alone.codes, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together.weight, alone.weight, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together.bias, alone.bias, atol=1e-5, rtol=1e-5)
        assert together.losses == pytest.approx(alone.losses, abs=1e-5)
        assert together.support_accuracy == alone.support_accuracy
        assert together.is_finite


def test_heads_do_not_keep_the_batch_alive() -> None:
    leo = tiny().eval()
    tasks = [random_support(leo, 2, [1, 1], 1), random_support(leo, 9, [1] * 9, 2)]
    head = adapt_tasks(leo, tasks)[0].weight
    assert head.untyped_storage().nbytes() == head.nbytes


def test_a_non_finite_task_is_known_and_harms_no_neighbour() -> None:
    leo = tiny().eval()
    good = random_support(leo, 2, [1, 1], 1)
    bad = Support(good.features * float("nan"), good.encoder_features, good.labels)
    results = adapt_tasks(leo, [good, bad])
    assert results[0].is_finite
    assert not results[1].is_finite
