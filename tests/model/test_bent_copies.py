"""Support drawings in several views: repeatable bends, mean features, and the same in library and service."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from app.inference.engine import Engine
from app.inference.work import Adapt, Adapted
from model.baselines.leo import LeoMethod
from model.checkpoint import save_model
from model.config import LEOConfig
from model.functional import one_hot
from model.leo import LatentEmbeddingOptimization
from model.networks.bent_copies import bends
from model.serving.phi import sample_drawings
from tests.helpers.models import WEIGHTS, tiny

LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def drawings(count: int = 6, side: int = 8) -> torch.Tensor:
    return torch.from_numpy(sample_drawings(count, side)).unsqueeze(1).float() / 255


def test_a_drawing_is_bent_alike_in_any_company() -> None:
    leo, images = tiny(support_views=4), drawings()
    together = leo.views(images).unflatten(0, (6, 3))
    for image, copies in zip(images, together, strict=True):
        torch.testing.assert_close(leo.views(image.unsqueeze(0)), copies)
    assert not torch.allclose(together[:, 0], together[:, 1])


def test_more_views_begin_with_the_same_bends() -> None:
    torch.testing.assert_close(bends(3, 28), bends(8, 28)[:3], rtol=0, atol=0)


def test_every_second_bend_is_the_opposite_of_the_one_before() -> None:
    plain = torch.nn.functional.affine_grid(torch.eye(2, 3).unsqueeze(0), [1, 1, 28, 28], align_corners=False)
    first, second = bends(2, 28)
    assert (first - plain).abs().max() > 0.1
    # Opposite up to the second order of bends that are themselves at most about a fifth.
    assert ((first + second) / 2 - plain).abs().max() < 0.06


def test_support_features_are_the_mean_over_a_drawing_and_its_copies() -> None:
    leo, images = tiny(support_views=3).eval(), drawings()
    phi = leo.classifier.phi
    with torch.no_grad():
        copies = leo.views(images).unflatten(0, (6, 2))
        expected = (phi(images) + phi(copies[:, 0]) + phi(copies[:, 1])) / 3
        torch.testing.assert_close(leo.support_features(images), expected)
        torch.testing.assert_close(leo.support_features(images.view(2, 3, 1, 8, 8)), expected.view(2, 3, -1))


def test_one_view_is_the_drawing_alone() -> None:
    leo, images = tiny().eval(), drawings()
    with torch.no_grad():
        torch.testing.assert_close(leo.support_features(images), leo.classifier.phi(images), rtol=0, atol=0)


def test_a_task_does_not_depend_on_the_order_of_its_drawings() -> None:
    leo, images = tiny(support_views=4).eval(), drawings()
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    with torch.no_grad():
        codes = leo.inner_update(images, LABELS, leo.encode_task(images, LABELS))
        moved = leo.inner_update(images[order], LABELS[order], leo.encode_task(images[order], LABELS[order]))
    torch.testing.assert_close(codes, moved)


def test_training_sees_the_views_of_the_support_and_queries_once() -> None:
    leo, images = tiny(support_views=3), drawings(12).view(2, 6, 1, 8, 8)
    seen: list[int] = []
    leo.classifier.phi.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    leo.meta_train_step(images, LABELS.repeat(2, 1), images, LABELS.repeat(2, 1))
    assert seen == [2 * (6 + 2 * 6 + 6)]


def test_evaluation_adapts_as_the_library_does() -> None:
    leo, images = tiny(support_views=3).eval(), drawings()
    method = LeoMethod(leo)
    extracted = method.extractor(images).unsqueeze(0)
    state = method.adapt(extracted, one_hot(LABELS.unsqueeze(0)))
    with torch.no_grad():
        codes = leo.inner_update(images, LABELS, leo.encode_task(images, LABELS))
        logits = leo.classifier(images, leo.decode_to_params(codes))
    torch.testing.assert_close(state.codes[0], codes)
    torch.testing.assert_close(method.logits(state, extracted)[0], logits)


@pytest.fixture(scope="module")
def shipped_with_views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped phi and head, with three views of the support."""
    shipped = LatentEmbeddingOptimization.from_pretrained(WEIGHTS / "omniglot")
    leo = LatentEmbeddingOptimization(config=shipped.config.model_copy(update={"support_views": 3}))
    leo.load_state_dict(shipped.state_dict())
    folder = tmp_path_factory.mktemp("views") / "views"
    save_model(leo, folder, "views")
    return folder


@pytest.mark.parametrize("stacked", [False, True], ids=["pass for CPUs", "pass for devices"])
def test_the_service_adapts_as_the_library_does(shipped_with_views: Path, stacked: bool) -> None:
    engine = Engine(shipped_with_views, "cpu", quantise=None if stacked else False, stacked=stacked)
    leo = LatentEmbeddingOptimization.from_pretrained(shipped_with_views)
    images = sample_drawings(6, 28)
    images.flags.writeable = stacked  # those that another process sends are not
    first, more = engine.run([Adapt(images[:2], LABELS[:2].numpy()), Adapt(images, LABELS.numpy())])
    assert isinstance(first, Adapted)
    assert isinstance(more, Adapted)
    support = torch.from_numpy(images.astype(np.float32)).unsqueeze(1) / 255
    with torch.no_grad():
        features = leo.support_features(support)
        codes = leo.inner_update(support, LABELS, leo.encode_task(support, LABELS))
    # The service rounds copies to bytes, and stores features in half precision.
    np.testing.assert_allclose(more.support.features, features.numpy(), atol=2e-3)
    np.testing.assert_allclose(more.codes, codes.numpy(), atol=5e-3)
    assert len(more.support) == 6  # one feature for each drawing, however many its views

    (later,) = engine.run([Adapt(images[2:], LABELS[2:].numpy(), first.support)])
    assert isinstance(later, Adapted)
    np.testing.assert_allclose(later.codes, more.codes, atol=5e-3)


def test_encoders_with_a_phi_of_their_own_have_one_view() -> None:
    with pytest.raises(ValidationError, match="support_views above 1"):
        LEOConfig.model_validate({"support_views": 2, "own_encoder": True})
