"""Saves and loads model folders: weights in `model.safetensors`, settings in `config.json`. Never pickle.

A model that can tell pictures of other classes from those of a task also has `known.safetensors`, its background
classes. It is no part of the version: a task's `known` may be calibrated anew while the task stays as it is.

`config.json` holds {"format": 1, "name", "version", "sha256", "config": {...}, "card": {...}}; `sha256` is that of the
weights' file. The version is the first 12 hexadecimal digits of a hash over weights and settings. A task's codes only
mean something to the version that made them.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from model.backbones import BackboneError
from model.background import Background, pack, unpack
from model.config import LEOConfig

FORMAT = 1
WEIGHTS, CONFIG, BACKGROUND = "model.safetensors", "config.json", "known.safetensors"


class Model(Protocol):
    """What `save_model` needs of a LEO. `model.leo` imports this module, so its class cannot be named here."""

    config: LEOConfig
    background: Background | None

    def state_dict(self) -> dict[str, Any]:
        """Return parameters and buffers by name."""


class CheckpointError(ValueError):
    """A model folder cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class ModelInfo:
    """The contents of a model's `config.json`: all but the weights."""

    name: str
    version: str
    sha256: str
    config: LEOConfig
    card: dict[str, Any]


def save_model(leo: Model, folder: Path, name: str, card: dict[str, Any] | None = None) -> None:
    """Write a model folder. A crash leaves each file old or new, never half written.

    `card` is anything JSON can hold about how the model was made. The version is computed here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().cpu().contiguous() for key, value in inference_state(leo).items()}
    data = save_tensors(tensors)
    digest = hashlib.sha256(data).hexdigest()
    config = leo.config.model_dump(mode="json")
    version = hashlib.sha256((digest + json.dumps(config, sort_keys=True)).encode()).hexdigest()[:12]
    write_whole(folder / WEIGHTS, data)
    info = {"format": FORMAT, "name": name, "version": version, "sha256": digest, "config": config}
    write_whole(folder / CONFIG, (json.dumps(info | {"card": card or {}}, indent=2) + "\n").encode())
    if leo.background is None:
        (folder / BACKGROUND).unlink(missing_ok=True)  # of the weights that were here before
    else:
        write_background(folder, version, leo.background)


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Replace the card in a model folder. The version stays, also where there are more settings than at its time."""
    path = folder / CONFIG
    described = json.loads(path.read_text())
    write_whole(path, (json.dumps(described | {"card": card}, indent=2) + "\n").encode())


def write_background(folder: Path, version: str, background: Background) -> Path:
    """Write the background classes of the model in a folder, which has this version, and return the file's path."""
    path = folder / BACKGROUND
    write_whole(path, pack(background, version))
    return path


def inference_state(leo: Model) -> dict[str, Tensor]:
    """Select the parameters and buffers to store: those that serving needs and that come from nowhere else.

    Left out are the classifier's default head, a pretrained backbone (its own package brings it), and a tied
    decoder's linear map (the encoder's transpose).
    """
    left_out: tuple[str, ...] = ("classifier.fc.",)
    if leo.config.pretrained is not None:
        left_out += ("classifier.phi.blocks.",)
    if leo.config.decoder_tied:
        left_out += ("decoder.skip.",)
    return {key: value for key, value in leo.state_dict().items() if not key.startswith(left_out)}


def read_info(folder: Path) -> ModelInfo:
    """Read `config.json`.

    Raises `CheckpointError` where it is missing, damaged or of another format, and `BackboneError` where the library or
    file of its backbone is missing.
    """
    path = folder / CONFIG
    data = _read(path)
    try:
        content = json.loads(data.decode())
        if content.get("format") != FORMAT:
            raise CheckpointError(
                f"{path} is of format {content.get('format')!r}; this version of the library reads format {FORMAT}"
            )
        return ModelInfo(
            name=str(content["name"]),
            version=str(content["version"]),
            sha256=str(content["sha256"]),
            config=LEOConfig.model_validate(content["config"]),
            card=dict(content.get("card", {})),
        )
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    except ValidationError as error:
        cause = error.errors()[0].get("ctx", {}).get("error")
        if isinstance(cause, BackboneError):
            raise cause from error
        raise CheckpointError(f"{path} does not describe a LEO: {error}") from error


def read_weights(folder: Path, info: ModelInfo) -> dict[str, Tensor]:
    """Read `model.safetensors`: tensors by name. Raises `CheckpointError` where its SHA-256 is not `info.sha256`."""
    path = folder / WEIGHTS
    data = _read(path)
    digest = hashlib.sha256(data).hexdigest()
    if digest != info.sha256:
        raise CheckpointError(
            f"{path} is damaged or of another model: "
            f"its SHA-256 is {digest[:12]}..., {CONFIG} says {info.sha256[:12]}...; copy the model folder again"
        )
    try:
        return load_tensors(data)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from error


def read_background(folder: Path, info: ModelInfo) -> Background | None:
    """Read the background classes; None if the folder has none. Raises `CheckpointError` for those of another model."""
    path = folder / BACKGROUND
    if not path.exists():
        return None
    try:
        version, background = unpack(_read(path))
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}; `leo calibrate --write` makes it again") from error
    if version != info.version or background.heads.shape[1] != info.config.feature_dim + 1:
        raise CheckpointError(
            f"{path} is of version {version[:40]}, {CONFIG} of {info.version}: copy the model folder again, or "
            "delete the file and run `leo calibrate --write`"
        )
    return background


def _read(path: Path) -> bytes:
    """Read a file of a model folder. Raises `CheckpointError` where there is none; a pipe would be waited for."""
    if path.is_file():
        return path.read_bytes()
    found = "is no regular file" if path.exists() else "is missing"
    raise CheckpointError(f"{path} {found}: a model folder holds {CONFIG} and {WEIGHTS}")


def check_weights(tensors: dict[str, Tensor], expected: dict[str, Tensor], path: Path) -> None:
    """Raise `CheckpointError` for the first tensor whose name or shape is not what the config calls for."""
    for key in sorted(expected.keys() | tensors.keys()):
        if key not in tensors:
            raise CheckpointError(f"{path} lacks {key}, which {CONFIG} calls for: they are of different models")
        if key not in expected:
            raise CheckpointError(f"{path} holds {key}, which {CONFIG} does not call for: they are of different models")
        if tensors[key].shape != expected[key].shape:
            raise CheckpointError(
                f"{path}: {key} is {list(tensors[key].shape)}, {CONFIG} calls for {list(expected[key].shape)}"
            )


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, never a part of it."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
