"""Backbones from libraries, files and joins of several, with small random weights made on the spot."""

import json
import warnings
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torchvision.models import get_model

from model.backbones import Backbone, BackboneError, find
from model.config import LEOConfig
from model.networks.features import FeatureExtractor
from model.serving.phi import OnnxPhi, fastest_phi, sample_photos
from tests.helpers.encoders import SIDE, WIDTH, write_encoder, write_preprocessing

TIMM = "test_vit"  # timm's own smallest


def features(backbone: Backbone, images: int = 2) -> torch.Tensor:
    """What it gives for photos, by the network alone: [B,W]."""
    pixels = torch.from_numpy(sample_photos(images, backbone.resolution)).movedim(3, 1).float() / 255
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (backbone.mean, backbone.std))
    with torch.inference_mode():
        return backbone.load().network((pixels - mean) / std)  # type: ignore[no-any-return]


def torchvision_file(folder: Path) -> str:
    torch.manual_seed(0)
    torch.save(get_model("resnet18").state_dict(), folder / "weights.pth")
    return f"torchvision:resnet18@{folder / 'weights.pth'}"


def timm_file(folder: Path) -> str:
    torch.manual_seed(0)
    save_file(timm.create_model(TIMM, pretrained=False).state_dict(), folder / "weights.safetensors")
    return f"timm:{TIMM}@{folder / 'weights.safetensors'}"


def open_clip_file(folder: Path) -> str:
    settings = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1},
    }
    (folder / "tiny-clip.json").write_text(json.dumps(settings))
    open_clip.add_model_config(folder / "tiny-clip.json")
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(open_clip.create_model("tiny-clip").state_dict(), folder / "clip.pt")
    return f"open_clip:tiny-clip/{folder / 'clip.pt'}"


def onnx_file(folder: Path) -> str:
    return f"onnx:{write_encoder(folder / 'encoder.onnx')}"


SOURCES = {
    "torchvision": (torchvision_file, 224, 512),
    "timm": (timm_file, 160, 64),
    "open_clip": (open_clip_file, 32, 24),
    "onnx": (onnx_file, SIDE, WIDTH),
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_gives_features_of_a_file_of_weights(source: str, tmp_path: Path) -> None:
    make, side, width = SOURCES[source]
    name = make(tmp_path)
    backbone = find(name)
    assert (backbone.resolution, backbone.width("mean"), backbone.width("all")) == (side, width, width)
    found = features(backbone)
    assert found.shape == (2, width)
    assert torch.isfinite(found).all()
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found, features(find(name)))
    assert find(name).load().sha256 == backbone.load().sha256


@pytest.mark.parametrize("source", SOURCES)
def test_phi_on_a_source_serves_what_it_computes(source: str, tmp_path: Path) -> None:
    make, side, width = SOURCES[source]
    phi = FeatureExtractor(LEOConfig(backbone=make(tmp_path), resolution=side, latent_dim=64)).eval()
    images = sample_photos(3, side)
    with torch.inference_mode():
        expected = phi(torch.from_numpy(images).movedim(3, 1).float() / 255)
        served = fastest_phi(phi, side, torch.device("cpu"))(images)
    assert expected.shape == (3, width)
    torch.testing.assert_close(served, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("timm:no_such_model", "timm has no such model"),
        ("open_clip:no-such/laion", "open_clip takes"),
        ("open_clip:ViT-B-32", "for ViT-B-32 there are"),
        ("open_clip:ViT-B-32/nobodys", "neither a file nor one of"),
        ("torchvision:nothing", "no such classification model"),
        ("onnx:/nowhere/encoder.onnx", "copy the encoder there"),
        ("onnx:", "use conv4"),
        ("elsewhere:vit", "timm:NAME"),
        ("efficientnet-lite0+efficientnet-lite2", "images of one size"),
        ("efficientnet-lite0+", "no backbone called ''"),
    ],
)
def test_unknown_names_say_what_to_do(name: str, advice: str) -> None:
    with pytest.raises(BackboneError, match=advice):
        find(name)
    with pytest.raises(ValidationError, match=advice):
        LEOConfig(backbone=name, resolution=224)


def test_a_library_that_is_not_there_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for library, source in (("timm", "timm:never_asked"), ("open_clip", "open_clip:never/asked")):
        monkeypatch.setitem(__import__("sys").modules, library, None)
        with pytest.raises(BackboneError, match="pip install"):
            find(source)


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04"])
def test_files_that_hold_no_weights_are_named(content: bytes, tmp_path: Path) -> None:
    for suffix in (".pth", ".safetensors"):
        (tmp_path / f"weights{suffix}").write_bytes(content)
        for name in (f"timm:{TIMM}", "torchvision:resnet18"):
            with pytest.raises(BackboneError, match="cannot be loaded"):
                find(f"{name}@{tmp_path / 'weights'}{suffix}").load()
    (tmp_path / "encoder.onnx").write_bytes(content)
    with pytest.raises(BackboneError, match=r"not ONNX, or damaged|takes one input"):
        find(f"onnx:{tmp_path / 'encoder.onnx'}")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"stem.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(BackboneError, match="cannot be loaded"):
        find(f"timm:{TIMM}@{tmp_path / 'other.safetensors'}").load()


def test_an_encoders_own_normalisation_lies_beside_it(tmp_path: Path) -> None:
    name = onnx_file(tmp_path)
    assert find(name).std == (0.229, 0.224, 0.225)
    write_preprocessing(tmp_path, 0.5, 0.25)
    write_encoder(tmp_path / "encoder.onnx", seed=1)  # the settings are read again with the file
    assert (find(name).mean, find(name).std, find(name).resolution) == ((0.5,) * 3, (0.25,) * 3, SIDE)


def test_a_sequence_gives_its_first_token(tmp_path: Path) -> None:
    sequence = find(f"onnx:{write_encoder(tmp_path / 'sequence.onnx', sequence=True)}")
    plain = find(f"onnx:{write_encoder(tmp_path / 'plain.onnx')}")
    torch.testing.assert_close(features(sequence), features(plain))


def test_a_file_is_found_in_the_cache_folder_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEO_BACKBONES_DIR", str(tmp_path))
    write_encoder(tmp_path / "mine.onnx")
    assert find("onnx:elsewhere/mine.onnx").width("mean") == WIDTH


def test_other_weights_than_a_model_was_trained_with_are_refused(tmp_path: Path) -> None:
    config = LEOConfig(backbone=onnx_file(tmp_path), resolution=SIDE, backbone_sha256="a" * 64)
    with pytest.raises(BackboneError, match="not those that this model was trained with"):
        FeatureExtractor(config)


def joined(folder: Path) -> FeatureExtractor:
    """phi on two encoders, one of which chooses the range of its activations by the whole batch."""
    one = write_encoder(folder / "one.onnx", 1, in_8_bits=True)
    two = write_encoder(folder / "two.onnx", 2, width=5, sequence=True)
    config = LEOConfig(backbone=f"onnx:{one}+onnx:{two}", resolution=SIDE, latent_dim=64)
    phi = FeatureExtractor(config).eval()
    phi.centre.data.uniform_(-0.1, 0.1)
    phi.part_weights.data.copy_(torch.tensor([0.6, 0.8]))
    return phi


@torch.no_grad()
def test_joined_backbones_are_each_centred_and_weighted(tmp_path: Path) -> None:
    phi = joined(tmp_path)
    found = phi(torch.rand(4, 3, SIDE, SIDE))
    assert found.shape == (4, WIDTH + 5)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(found[:, :WIDTH].norm(dim=1), torch.full((4,), 0.6))
    outputs = torch.cat([phi.centre[:WIDTH] + torch.ones(WIDTH), phi.centre[WIDTH:]])
    (only_one,) = phi.postprocess(outputs.unsqueeze(0))
    torch.testing.assert_close(only_one[:WIDTH], torch.full((WIDTH,), WIDTH**-0.5))


def test_an_image_has_the_same_features_alone_and_among_64(tmp_path: Path) -> None:
    phi = joined(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (64, SIDE, SIDE, 3), dtype=np.uint8)
    images[0] //= 8  # alone its activations have another range
    served = OnnxPhi(phi, SIDE, quantise=False)
    together, alone = served(images), torch.cat([served(images[:1]), served(images[63:])])
    torch.testing.assert_close(together[[0, 63]], alone, atol=1e-3, rtol=0)
    with torch.inference_mode():
        torch.testing.assert_close(
            phi(torch.from_numpy(images).movedim(3, 1).float() / 255), together, atol=1e-3, rtol=1e-3
        )
