"""Support photos in several views: repeatable crops, each in the inner loop's loss, the same in library and service."""

from pathlib import Path

import numpy as np
import pytest
import torch

from app.inference.engine import Engine
from app.inference.work import Adapt, Adapted
from model.baselines.leo import LeoMethod
from model.checkpoint import save_model
from model.functional import one_hot
from model.leo import LatentEmbeddingOptimization
from model.networks.photo_views import PhotoViews
from model.serving.phi import sample_photos
from model.training.presets import photo_model

LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
SIDE = 224


def photos(count: int = 6, side: int = SIDE) -> torch.Tensor:
    return torch.from_numpy(sample_photos(count, side))


def test_a_photo_is_seen_alike_in_any_company() -> None:
    views, images = PhotoViews(4, 32), photos(5, 32)
    together = views.of_bytes(images).unflatten(0, (5, 3))
    for image, copies in zip(images, together, strict=True):
        assert torch.equal(views.of_bytes(image.unsqueeze(0)), copies)
    assert len(views.of_bytes(images[:0])) == 0


def test_more_views_begin_with_the_same_ones() -> None:
    few, many = (PhotoViews(count, 32).of_bytes(photos(1, 32)) for count in (3, 6))
    assert torch.equal(few, many[:2])


def test_the_first_view_is_the_photo_in_a_mirror_and_the_second_its_middle() -> None:
    image = photos(1, 64)
    first, second = PhotoViews(3, 64).of_bytes(image)
    assert torch.equal(first, image[0].flip(1))
    middle = second.float() - image[0].float()
    assert middle[28:36, 28:36].abs().mean() < middle.abs().mean() / 4  # its centre stays where it is


def test_views_keep_an_even_ground() -> None:
    for level in (0, 128, 255):
        ground = torch.full((1, 32, 32, 3), level, dtype=torch.uint8)
        assert (PhotoViews(9, 32).of_bytes(ground) == level).all()


def test_bytes_and_floats_give_the_same_views() -> None:
    views, images = PhotoViews(6, 64), photos(3, 64)
    of_floats = 255 * views(images.movedim(3, 1).float() / 255).movedim(1, 3)
    assert (views.of_bytes(images).float() - of_floats).abs().max() < 2.5


def test_one_view_is_the_photo_alone() -> None:
    views, features = PhotoViews(1, 32), torch.randn(5, 8)
    assert len(views.of_bytes(photos(5, 32))) == 0
    assert views.join(features, features[:0]) is features


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of photos that sees its support in three views."""
    torch.manual_seed(0)
    config = photo_model("efficientnet-lite0").model_copy(
        update={"support_views": 3, "latent_dim": 32, "inner_ridge": 0.06, "unrelated_cosine": 0.1}
    )
    path = tmp_path_factory.mktemp("views") / "views"
    save_model(LatentEmbeddingOptimization(config=config), path, "views")
    return path


@pytest.fixture(scope="module")
def leo(folder: Path) -> LatentEmbeddingOptimization:
    return LatentEmbeddingOptimization.from_pretrained(folder)


@torch.no_grad()
def test_each_view_is_an_example_of_the_inner_loop_and_codes_are_those_of_the_photos(
    leo: LatentEmbeddingOptimization,
) -> None:
    images = photos().movedim(3, 1).float() / 255
    features = leo.support_features(images)  # [S, V, F]
    assert features.shape == (6, 3, 1600)
    torch.testing.assert_close(features[:, 0], leo.classifier.phi(images), atol=1e-5, rtol=1e-4)
    codes = leo.encode_task(images, LABELS)
    torch.testing.assert_close(codes, leo.encode(features[None, :, 0], one_hot(LABELS[None]))[0])
    adapted = leo.adapt(codes[None], features[None], one_hot(LABELS[None]))
    # As of a model without views, to which the views are further examples.
    plain = LatentEmbeddingOptimization(
        config=leo.config.model_copy(update={"support_views": 1, "unrelated_cosine": None})
    ).eval()
    plain.load_state_dict(leo.state_dict())
    every = plain.adapt(codes[None], features.flatten(0, 1)[None], one_hot(LABELS.repeat_interleave(3)[None]))
    torch.testing.assert_close(adapted.losses[:, 0], every.losses[:, 0])
    not_drawn = LatentEmbeddingOptimization(config=leo.config.model_copy(update={"unrelated_cosine": None})).eval()
    not_drawn.load_state_dict(leo.state_dict())
    torch.testing.assert_close(not_drawn.adapt(codes[None], features[None], one_hot(LABELS[None])).codes, every.codes)
    assert adapted.logits.shape == (1, 6, 3)  # of the photos, not of their views


@torch.no_grad()
def test_evaluation_adapts_as_the_library_does(leo: LatentEmbeddingOptimization) -> None:
    images, method = photos().movedim(3, 1).float() / 255, LeoMethod(leo)
    extracted = method.extractor(images).unsqueeze(0)  # [1, S, V, F]
    state = method.adapt(extracted, one_hot(LABELS[None]))
    codes = leo.inner_update(images, LABELS, leo.encode_task(images, LABELS))
    torch.testing.assert_close(state.codes[0], codes, atol=1e-5, rtol=1e-4)
    logits = leo.classifier(images, leo.decode_to_params(codes))  # a query is seen once
    torch.testing.assert_close(method.logits(state, extracted)[0], logits, atol=1e-4, rtol=1e-4)
    assert method.support_features(extracted).shape == (1, 6, 1600)


@pytest.mark.parametrize("stacked", [False, True], ids=["pass for CPUs", "pass for devices"])
def test_the_service_adapts_as_the_library_does(folder: Path, leo: LatentEmbeddingOptimization, stacked: bool) -> None:
    engine = Engine(folder, "cpu", quantise=None if stacked else False, stacked=stacked)
    images = sample_photos(6, SIDE)
    images.flags.writeable = stacked  # those that another process sends are not
    first, more = engine.run([Adapt(images[:2], LABELS[:2].numpy()), Adapt(images, LABELS.numpy())])
    assert isinstance(first, Adapted)
    assert isinstance(more, Adapted)
    plain, views = (each.movedim(3, 1).float() / 255 for each in (photos(), leo.views.of_bytes(photos())))
    with torch.no_grad():
        features = leo.views.join(leo.classifier.phi(plain), leo.classifier.phi(views))  # [S, V, F]
        membership = one_hot(LABELS[None])
        codes = leo.adapt(leo.encode(features[None, :, 0], membership), features[None], membership).codes[0]
    np.testing.assert_allclose(more.support.features, features.numpy(), atol=2e-3)  # stored in half precision
    np.testing.assert_allclose(more.codes, codes.numpy(), atol=5e-3)
    np.testing.assert_array_equal(more.support.of_pictures, more.support.features[:, 0])

    (later,) = engine.run([Adapt(images[2:], LABELS[2:].numpy(), first.support)])
    assert isinstance(later, Adapted)
    np.testing.assert_allclose(later.codes, more.codes, atol=5e-3)
    assert len(later.support) == 6
