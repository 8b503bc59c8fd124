"""Tests of the detection of unknown classes."""

import pytest
import torch

from model.baselines.leo import LeoMethod
from model.evaluation.unknown_detection import auroc, auroc_and_ci95, detection_scores
from model.functional import one_hot
from tests.helpers.models import tiny


def test_auroc_by_hand() -> None:
    # Of the 6 pairs (known, unknown) the known score is higher in 3 and equal in 1: 3.5 / 6.
    assert auroc(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0, 4.0])) == pytest.approx(3.5 / 6)
    assert auroc(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])) == 1.0
    assert auroc(torch.ones(5), torch.ones(4)) == 0.5


def test_the_interval_comes_from_parts_of_the_tasks() -> None:
    generator = torch.Generator().manual_seed(0)
    known, unknown = torch.randn(400, 5, generator=generator) + 1, torch.randn(400, 5, generator=generator)
    value, ci95 = auroc_and_ci95(known, unknown)
    assert value == pytest.approx(0.76, abs=0.02)  # Phi(1 / sqrt 2)
    parts = torch.tensor([auroc(a, b) for a, b in zip(known.chunk(20), unknown.chunk(20), strict=True)])
    assert ci95 == pytest.approx(1.96 * float(parts.std()) / 20**0.5, rel=1e-4)


def test_scores_by_hand() -> None:
    leo = tiny().eval()
    method = LeoMethod(leo, 0)
    support = torch.zeros(1, 2, leo.config.feature_dim)
    support[0, 0, 0] = support[0, 1, 1] = 2.0
    state = method.adapt(support, one_hot(torch.tensor([[0, 1]])))
    queries = torch.zeros(1, 1, leo.config.feature_dim)
    queries[0, 0, :2] = torch.tensor([3.0, 4.0])
    logits = torch.tensor([[[1.0, 3.0]]])
    with torch.no_grad():
        found = detection_scores(state, support, logits, queries, temperature=2.0, background=None, shots=[1.0])
    assert "known" not in found
    assert float(found["logit"]) == 3.0
    assert float(found["margin"]) == 2.0
    assert float(found["probability"]) == pytest.approx(1 / (1 + 2.718281828 ** (-(3 - 1) / 2)))
    assert float(found["energy"]) == pytest.approx(3.126928, abs=1e-5)  # log(e + e³)
    assert float(found["mean_cosine"]) == pytest.approx(0.8)  # 4/5
    head = leo.decode_to_params(state.codes)["fc.weight"][0].detach()
    assert float(found["head_cosine"]) == pytest.approx(
        float(torch.nn.functional.cosine_similarity(head, queries[0]).max()), abs=1e-5
    )
