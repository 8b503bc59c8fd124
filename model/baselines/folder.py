"""Trained baselines on disk: `baselines.json`, and a safetensors file for each gradient-based method."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from model.baselines.gradient import GradientBased, Kind
from model.checkpoint import CheckpointError, write_whole
from model.leo import LatentEmbeddingOptimization

DESCRIPTION = "baselines.json"


def tensors_file(kind: Kind) -> str:
    """The name of a method's file: MAML -> maml.safetensors."""
    return f"{kind.lower()}.safetensors"


def save_gradient_based(method: GradientBased, folder: Path) -> None:
    """Write a method's weights: its phi, the head's initial row and the step sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().cpu().contiguous() for key, value in method.state_dict().items()}
    write_whole(folder / tensors_file(method.kind), save_tensors(tensors))


def load_gradient_based(leo: LatentEmbeddingOptimization, folder: Path, kind: Kind) -> GradientBased:
    """Load a method onto the LEO's device, in evaluation mode. Raises `CheckpointError`."""
    path = folder / tensors_file(kind)
    method = GradientBased(leo, kind)
    try:
        method.load_state_dict(load_tensors(path.read_bytes()))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{path} cannot be used: {error}; train it again with --train-baselines") from error
    return method.to(leo.alpha.device).eval().requires_grad_(False)


def save_description(folder: Path, described: dict[str, Any]) -> None:
    """Write `baselines.json`, after the weights: where it exists, they do.

    `described` holds `model_version`, `l2`, the `steps` of each method that was trained, and how.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / DESCRIPTION, (json.dumps(described, indent=2) + "\n").encode())


def read_description(folder: Path, version: str) -> dict[str, Any] | None:
    """Read `baselines.json`, or return None if it does not exist.

    Raises `CheckpointError` if it is damaged, or if the baselines belong to another version of the model.
    """
    path = folder / DESCRIPTION
    if not path.exists():
        return None
    try:
        described: dict[str, Any] = json.loads(path.read_text())
        trained_for = described["model_version"]
        float(described["l2"])
        dict(described["steps"])
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {error}; delete it") from error
    if trained_for != version:
        raise CheckpointError(
            f"{path} belongs to version {trained_for} of the model, not {version}; train again with --train-baselines"
        )
    return described
