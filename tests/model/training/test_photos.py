"""Tests of the meta-training of models of photos, on photos made by code."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from model.checkpoint import save_model
from model.config import LEOConfig
from model.data.photos import Photos, load_photos
from model.leo import LatentEmbeddingOptimization
from model.training.config import PhotoTrainConfig
from model.training.photos import PhotoTrainer, set_from_classes
from tests.helpers.photographed import write_photos

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    return load_photos(write_photos(tmp_path_factory.mktemp("photos") / "shop", groups=6, pictures=4))


def small_model(**changes: object) -> LEOConfig:
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


@torch.no_grad()
def test_the_encoder_turns_down_what_differs_within_classes() -> None:
    torch.manual_seed(0)
    leo = LatentEmbeddingOptimization(config=small_model()).eval()
    raw = torch.rand(30, 1, 1280) + 0.05 * torch.randn(30, 40, 1280)
    nuisance = F.normalize(torch.randn(1280), dim=0)
    raw = raw + 3 * torch.randn(30, 40, 1) * nuisance  # one direction in which all classes are spread out
    set_from_classes(leo, raw, torch.full((30,), 40), shrinkage=0.1)
    codes = leo.encoder.encode_examples(leo.classifier.phi.postprocess(raw))  # [30, 40, 64]
    kept = leo.encoder.to_code.weight @ nuisance
    assert float(kept.norm()) < 0.3 * float(leo.encoder.to_code.weight.norm(dim=1).mean())
    within = (codes - codes.mean(dim=1, keepdim=True)).var(dim=(0, 1))
    assert float(within.max() / within.mean()) < 4
    head = leo.decoder(F.normalize(codes[:1, 0], dim=-1))
    expected = leo.decoder.log_scale.exp() * F.normalize(codes[:1, 0], dim=-1) @ leo.encoder.to_code.weight
    torch.testing.assert_close(head[..., :-1], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("views", [1, 2])
def test_a_run_trains_the_parameters_that_the_config_names_and_keeps_the_best(
    views: int, shop: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # features are cached in the working directory
    leo = small_model(outer_lr=0.01, support_views=views)
    config = PhotoTrainConfig(leo=leo, steps=4, images_per_step=60, query=2, validate_every=2)
    trainer = PhotoTrainer(config, shop.split("train"), shop.split("validation"), tmp_path / "run", CPU)
    start = {name: value.clone() for name, value in trainer.leo.state_dict().items()}
    history, states = [], [start]
    for progress in trainer.run():
        history.append(progress)
        states.append({name: value.clone() for name, value in trainer.leo.state_dict().items()})
    validations = {progress.step: progress.validation for progress in history if progress.validation is not None}
    assert list(validations) == [0, 2, 4]
    changed = {name for name, value in states[-1].items() if not torch.equal(value, start[name])}
    assert changed == {"alpha", "decoder.log_scale"}
    best = states[max(validations, key=lambda step: validations[step])]  # a step is validated before it trains
    for name, value in trainer.leo.state_dict().items():
        assert torch.equal(value, best[name]), name
    save_model(trainer.leo, tmp_path / "model", "shop")
    # Neither the backbone is stored nor the decoder, which is the encoder's transpose.
    assert (tmp_path / "model" / "model.safetensors").stat().st_size < 500_000
    loaded = LatentEmbeddingOptimization.from_pretrained(tmp_path / "model")
    for name, value in trainer.leo.state_dict().items():
        assert name.startswith("classifier.fc.") or torch.equal(value, loaded.state_dict()[name]), name
    assert trainer.leo.config.backbone_sha256.startswith("579344248a93")
    assert (tmp_path / "run" / "log.csv").read_text().count("episodes") == 3


def test_tasks_are_of_one_source_each(shop: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [write_photos(tmp_path / name, groups=4, pictures=4) for name in ("market", "kiosk")]
    single = write_photos(tmp_path / "single", groups=4, pictures=1)  # no task can be made of it
    photos = load_photos(*folders, single)
    config = PhotoTrainConfig(leo=small_model(), steps=1, images_per_step=60, query=2)
    trainer = PhotoTrainer(config, photos, shop, tmp_path / "run", CPU)
    assert [{photos.names[place].split("/")[0] for place in each} for each in trainer.sources] == [
        {"market"},
        {"kiosk"},
    ]
    assert sum(map(len, trainer.sources)) == 16
    assert len(list(trainer.run())) == 2
