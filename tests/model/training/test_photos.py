"""Meta-training on a frozen backbone's features, on photos made by code and, where they are, on real ones."""

from pathlib import Path

import pytest
import torch

from model.backbones import find
from model.checkpoint import save_model
from model.config import LEOConfig
from model.data.omniglot import DataError
from model.data.photos import Photos, features, load_photos
from model.leo import LatentEmbeddingOptimization
from model.training.photos import PhotoTrainConfig, PhotoTrainer, start_from_classes
from tests.helpers.photographed import write_photos

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    return load_photos(write_photos(tmp_path_factory.mktemp("photos") / "shop", groups=6, pictures=4))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def small(**changes: object) -> LEOConfig:
    shape = {
        "backbone": "efficientnet-lite0",
        "resolution": 224,
        "latent_dim": 64,
        "decoder_skip": True,
        "decoder_tied": True,
        "relation_width": 8,
        "decoder_hidden": (4, 4),
        "inner_lr": 0.2,
    }
    return LEOConfig.model_validate(shape | changes)


def test_whole_groups_are_held_back(shop: Photos) -> None:
    training, validation = shop.split("train"), shop.split("validation")
    assert set(validation.groups) == {"group00", "group05"}
    assert set(training.groups).isdisjoint(validation.groups)
    assert len(training) + len(validation) == len(shop) == 12
    with pytest.raises(DataError, match="no split called 'test'"):
        shop.split("test")


def test_what_is_no_data_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data at"):
        load_photos(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no photo as CLASS/IMAGE\.jpg"):
        load_photos(tmp_path)
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match="neither a folder nor a readable zip"):
        load_photos(tmp_path / "a.zip")
    (tmp_path / "thing").mkdir()
    (tmp_path / "thing" / "1.jpg").write_bytes(b"no picture")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "1.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"cannot use other/1\.jpg"):
        features(load_photos(tmp_path), find("efficientnet-lite0"), cache=tmp_path / "cache")


def test_features_are_computed_once_and_views_differ(
    shop: Photos, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = shop.only([0, 1])
    first = features(two, find("efficientnet-lite0"), views=3, cache=cache)
    assert first.shape == (2, 4, 3, 2880)
    apart = (first[:, :, 0] - first[:, :, 1]).norm(dim=-1) / first[:, :, 0].norm(dim=-1)
    assert (apart > 0.05).all()
    assert (apart < 1.5).all()
    monkeypatch.setattr("model.data.photos._of_class", None)  # not needed again
    assert (features(two, find("efficientnet-lite0"), views=3, cache=cache) == first).all()


@torch.no_grad()
def test_the_encoder_evens_out_what_differs_within_classes() -> None:
    torch.manual_seed(0)
    leo = LatentEmbeddingOptimization(config=small()).eval()
    raw = torch.rand(30, 1, 1280) + 0.05 * torch.randn(30, 40, 1280)
    nuisance = torch.nn.functional.normalize(torch.randn(1280), dim=0)
    raw = raw + 3 * torch.randn(30, 40, 1) * nuisance  # one direction in which all classes are spread out
    start_from_classes(leo, raw, torch.full((30,), 40), shrinkage=0.1)
    codes = leo.encoder.encode_examples(leo.classifier.phi.postprocess(raw))  # [30, 40, 64]
    kept = leo.encoder.to_code.weight @ nuisance
    assert float(kept.norm()) < 0.3 * float(leo.encoder.to_code.weight.norm(dim=1).mean())
    within = (codes - codes.mean(dim=1, keepdim=True)).var(dim=(0, 1))
    assert float(within.max() / within.mean()) < 4
    head = leo.decoder(torch.nn.functional.normalize(codes[:1, 0], dim=-1))
    expected = (
        leo.decoder.log_scale.exp() * torch.nn.functional.normalize(codes[:1, 0], dim=-1) @ leo.encoder.to_code.weight
    )
    torch.testing.assert_close(head[..., :-1], expected, atol=1e-4, rtol=1e-4)


def test_a_short_run_learns_step_sizes_alone(shop: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # features are kept under the working directory
    config = PhotoTrainConfig(leo=small(outer_lr=0.01), steps=4, images_per_step=60, query=2, validate_every=2)
    trainer = PhotoTrainer(config, shop.split("train"), shop.split("validation"), tmp_path / "run", CPU)
    start = {name: value.clone() for name, value in trainer.leo.state_dict().items()}
    history = list(trainer.run())
    assert [one.step for one in history if one.validation is not None] == [0, 2, 4]
    changed = {name for name, value in trainer.leo.state_dict().items() if not torch.equal(value, start[name])}
    assert changed <= {"alpha", "decoder.log_scale"}
    save_model(trainer.leo, tmp_path / "model", "shop")
    assert (tmp_path / "model" / "model.safetensors").stat().st_size < 500_000  # neither backbone nor the transpose
    again = LatentEmbeddingOptimization.from_pretrained(tmp_path / "model")
    for name, value in trainer.leo.state_dict().items():
        assert name.startswith("classifier.fc.") or torch.equal(value, again.state_dict()[name]), name
    assert trainer.leo.config.backbone_sha256.startswith("579344248a93")
    assert (tmp_path / "run" / "log.csv").read_text().count("episodes") == 3
