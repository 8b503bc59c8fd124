"""Tests of how alike classes look, and of codes that are drawn together for it."""

import pytest
import torch
from torch.nn import functional as F

from model.config import LEOConfig
from model.functional import apply_head, one_hot
from model.networks.likeness import SCALE, cosine_between_classes, draw_together
from tests.helpers.models import tiny


@pytest.mark.usefixtures("double")
def test_the_cosine_is_that_of_all_pairs_of_different_classes() -> None:
    torch.manual_seed(0)
    encoded = torch.randn(2, 6, 9)
    labels = torch.tensor([[0, 0, 1, 1, 1, 2], [3, 0, 3, -1, -1, -1]])  # -1: padding
    found = cosine_between_classes(encoded, one_hot(labels, 4))
    for task in range(2):
        cosines = F.cosine_similarity(encoded[task].unsqueeze(1), encoded[task].unsqueeze(0), dim=-1)
        real, own = labels[task] >= 0, labels[task]
        different = (own.unsqueeze(0) != own.unsqueeze(1)) & real & real.unsqueeze(1)
        torch.testing.assert_close(found[task], cosines[different].mean())


def test_codes_of_classes_that_look_alike_come_closer_and_keep_their_mean() -> None:
    torch.manual_seed(0)
    apart, common = torch.randn(5, 200), 3 * torch.randn(200)
    encoded = torch.stack([apart, apart + common])  # [2, 5, 200], the second task's examples all alike
    membership = torch.eye(6)[None, :5].expand(2, -1, -1)  # the sixth class is not there
    codes = torch.randn(2, 6, 200)
    unlike, alike = cosine_between_classes(encoded, membership).tolist()
    drawn = draw_together(codes, encoded, membership, unlike)
    torch.testing.assert_close(drawn[0, :5], codes[0, :5])
    mean = codes[1, :5].mean(dim=0)
    torch.testing.assert_close(drawn[1, :5], mean + (codes[1, :5] - mean) / (1 + (alike - unlike) / SCALE))


def test_what_has_no_other_class_or_is_the_same_everywhere_stays_finite() -> None:
    encoded = torch.randn(1, 2, 8)
    lone = torch.ones(1, 2, 1)
    codes = torch.randn(1, 1, 8)
    torch.testing.assert_close(draw_together(codes, encoded, lone, 0.3), codes)
    for examples in (
        encoded[:, :1].expand(1, 2, 8),
        torch.zeros(1, 2, 8),
        torch.cat([encoded[:, :1], -encoded[:, :1]], 1),
    ):
        for unrelated in (-1.0, 0.0, 1.0):
            drawn = draw_together(torch.randn(1, 2, 8), examples, torch.eye(2).unsqueeze(0), unrelated)
            assert drawn.isfinite().all()


def test_answers_are_less_certain_and_the_same() -> None:
    leo = tiny(inner_ridge=0.3, decoder_skip=True, decoder_tied=True).eval()
    torch.manual_seed(1)
    features = F.normalize(torch.rand(1, 4, leo.config.feature_dim) + 1, dim=-1)
    queries = F.normalize(torch.rand(1, 50, leo.config.feature_dim) + 1, dim=-1)
    membership = one_hot(torch.tensor([[0, 1, 2, 3]]))
    found = []
    for unrelated in (None, -0.5):
        leo.config = leo.config.model_copy(update={"unrelated_cosine": unrelated})
        adapted = leo.adapt(leo.encode(features, membership), features, membership)
        found.append((apply_head(adapted.heads, queries, membership), adapted.losses))
    (plain, losses), (drawn, losses_too) = found
    assert (plain.argmax(dim=-1) == drawn.argmax(dim=-1)).all()
    assert (plain.softmax(dim=-1).amax(dim=-1) > drawn.softmax(dim=-1).amax(dim=-1)).all()
    torch.testing.assert_close(losses, losses_too)  # they tell of the steps


def test_it_goes_with_what_it_can() -> None:
    for more in ({"own_encoder": True}, {"finetune_steps": 1}):
        with pytest.raises(ValueError, match="unrelated_cosine needs"):
            LEOConfig.model_validate({"unrelated_cosine": 0.2} | more)
