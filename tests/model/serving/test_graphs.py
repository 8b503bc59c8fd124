"""Recorded sizes: whatever is recorded, results are those of the function. A GPU's graphs are stood in for by calls."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from model.leo import LatentEmbeddingOptimization
from model.serving import stacked
from model.serving.graphs import Function, Recorded
from model.serving.stacked import Adaptations, StackedLEO, Supports
from tests.helpers.models import WEIGHTS, tiny


def stand_in(function: Function, inputs: tuple[Tensor, ...]) -> tuple[Callable[[], object], tuple[Tensor, ...]]:
    """Record as a GPU does: each replay reads the same inputs, and writes to the same results."""
    outputs = tuple(torch.full_like(each, -1) for each in function(*inputs))

    def replay() -> None:
        for held, now in zip(outputs, function(*inputs), strict=True):
            held.copy_(now)

    return replay, outputs


@pytest.fixture(params=["omniglot", "own encoder", "ridge", "examples", "conditioned"])
def leo(request: pytest.FixtureRequest) -> LatentEmbeddingOptimization:
    if request.param == "omniglot":
        return LatentEmbeddingOptimization.from_pretrained(WEIGHTS / request.param)
    choices: dict[str, dict[str, object]] = {
        "own encoder": {"own_encoder": True, "decoder_skip": True},
        "ridge": {"code_ridge": 0.3, "code_evenness": 1.8, "decoder_skip": True},
        "examples": {"relation_over": "examples"},
        "conditioned": {"decoder_conditioned": True},
    }
    return tiny(**choices[request.param]).eval()


def adapt(leo: StackedLEO, config_width: int, images: Tensor, tasks: int, ways: int, shots: int) -> Adaptations:
    examples = ways * shots
    membership = torch.eye(ways).repeat(shots, 1).expand(tasks, -1, -1).contiguous()
    membership[0, -1] = 0  # a task with one example less
    rows = torch.arange(tasks * examples).view(tasks, examples)
    none = torch.empty(0, config_width, dtype=torch.float16)
    features = leo.features(images[: tasks * examples])
    adapted = leo.adapt(images[: tasks * examples], features, Supports(rows, membership, none, none))
    return Adaptations(
        **{name: value.clone() for name, value in vars(adapted).items()}
    )  # the next call writes there too


@torch.inference_mode()
def test_recording_changes_no_result(leo: LatentEmbeddingOptimization, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked, "RECORDED_IMAGES", (1, 4, 16))
    monkeypatch.setattr(stacked, "RECORDED_TASKS", (1, 3))
    monkeypatch.setattr(stacked, "RECORDED_SUPPORTS", ((3, 6), (5, 10)))
    monkeypatch.setattr(stacked, "MOST_IMAGES", 16)
    side, width = leo.config.resolution, leo.config.feature_dim
    served = StackedLEO(leo, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (48, side, side), generator=generator, dtype=torch.uint8)
    sizes = [(1, 2, 1), (1, 5, 2), (2, 3, 2), (3, 4, 2), (3, 2, 3), (4, 2, 2), (1, 9, 1)]  # the last two fit none
    counts = (1, 3, 4, 11, 16, 37, 1)
    before = [adapt(served, width, images, *size) for size in sizes], [served.features(images[:n]) for n in counts]
    served.record((side, side), stand_in)
    assert [len(served.phi.sizes), len(served.adapt_features.sizes)] == [3, 4]
    after = [adapt(served, width, images, *size) for size in sizes], [served.features(images[:n]) for n in counts]
    for found, expected in zip(after[0], before[0], strict=True):
        for name, value in vars(expected).items():
            torch.testing.assert_close(vars(found)[name], value, atol=2e-3, rtol=2e-3)
    for one, other in zip(after[1], before[1], strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert not served.phi.failures
    assert not served.adapt_features.failures


def test_what_cannot_be_recorded_or_comes_out_otherwise_is_computed_as_usual() -> None:
    double = Recorded(lambda x: (2 * x,), lambda outputs, x: (outputs[0][: len(x)],))

    def refuse(function: Function, inputs: tuple[Tensor, ...]) -> tuple[Callable[[], object], tuple[Tensor, ...]]:
        raise RuntimeError("operation not permitted when stream is capturing\nmore of it")

    double.record([(torch.ones(4),)], refuse)
    assert double.sizes == []
    assert double.failures == {"(4,)": "operation not permitted when stream is capturing"}
    double.record([(torch.ones(4),)], lambda function, inputs: (lambda: None, (3 * inputs[0],)))
    assert double.sizes == []
    assert double(torch.arange(3.0))[0].tolist() == [0, 2, 4]


def test_the_smallest_size_that_holds_the_inputs_is_taken() -> None:
    sizes = []

    def seen(x: Tensor) -> tuple[Tensor]:
        sizes.append(len(x))
        return (x + 1,)

    function = Recorded(seen, lambda outputs, x: (outputs[0][: len(x)],))
    function.record([(torch.zeros(n),) for n in (8, 2, 4)], stand_in)
    sizes.clear()
    for n in (1, 2, 3, 5, 9):
        assert function(torch.arange(float(n)))[0].tolist() == [m + 1 for m in range(n)]
    assert sizes == [2, 2, 4, 8, 9]


def test_a_small_input_after_a_large_one_sees_nothing_of_it() -> None:
    total = Recorded(lambda x: (x.sum().view(1),), lambda outputs, x: outputs)
    total.record([(torch.zeros(4),)], stand_in)
    assert total(torch.full((4,), 9.0))[0].item() == 36
    assert total(torch.ones(2))[0].item() == 2
