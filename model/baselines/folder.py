"""Trained baselines on disk: `baselines.json` and a safetensors file for each gradient-based one."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from model.baselines.centred import Centred
from model.baselines.gradient import KINDS, GradientBased, Kind
from model.baselines.latent import Leo
from model.baselines.logistic import LogisticHead
from model.baselines.method import Bare, Method, Phi
from model.baselines.neighbour import NearestNeighbour
from model.baselines.prototypes import CosinePrototypes, EuclideanPrototypes
from model.checkpoint import CheckpointError, write_whole
from model.leo import LatentEmbeddingOptimization

DESCRIPTION = "baselines.json"
LOGISTIC_L2 = 0.001  # of a logistic head on photos, where a model's card names no other


def tensors_file(kind: Kind) -> str:
    """MAML -> maml.safetensors."""
    return f"{kind.lower()}.safetensors"


def save_gradient_based(method: GradientBased, folder: Path) -> None:
    """Write its weights. The head's start, phi and the step sizes are all there is to it."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().cpu().contiguous() for key, value in method.state_dict().items()}
    write_whole(folder / tensors_file(method.kind), save_tensors(tensors))


def save_description(folder: Path, described: dict[str, Any]) -> None:
    """`described` holds model_version, l2, l2_accuracies and, of each kind, its budget; written last."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / DESCRIPTION, (json.dumps(described, indent=2) + "\n").encode())


def read_description(folder: Path, version: str) -> dict[str, Any] | None:
    """`baselines.json`, or None where it is not there. Raises `CheckpointError` if it is of another model."""
    path = folder / DESCRIPTION
    if not path.exists():
        return None
    try:
        described: dict[str, Any] = json.loads(path.read_text())
        trained_for = described["model_version"]
        float(described["l2"])
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    if trained_for != version:
        raise CheckpointError(
            f"{path} belongs to version {trained_for} of the model, not {version}; --train-baselines makes it anew"
        )
    return described


def all_methods(leo: LatentEmbeddingOptimization, folder: Path, described: dict[str, Any] | None) -> list[Method]:
    """Every method there is, LEO first. Without `described` only those that need no training.

    Raises `CheckpointError` for a damaged file.
    """
    extractor = Phi(leo)
    methods: list[Method] = [
        Leo(leo, extractor=extractor),
        Leo(leo, 0, extractor=extractor),
        CosinePrototypes(extractor),
        EuclideanPrototypes(extractor),
    ]
    if described is not None:
        methods.append(LogisticHead(extractor, float(described["l2"])))
        methods += [load_gradient_based(leo, folder, kind) for kind in KINDS]
    return methods


def photo_methods(leo: LatentEmbeddingOptimization, l2: float) -> list[Method]:
    """LEO, heads of others on its features, then what people put on a pretrained network's. `l2`: of logistic heads."""
    extractor, bare = Phi(leo), Bare(leo)
    cosine, logistic = CosinePrototypes(bare), LogisticHead(bare, l2)
    return [
        Leo(leo, extractor=extractor),
        Leo(leo, 0, extractor=extractor),
        CosinePrototypes(extractor, "LEO's features, prototypes"),
        LogisticHead(extractor, l2, "LEO's features, logistic head"),
        cosine,
        Centred(cosine, bare),
        NearestNeighbour(bare),
        logistic,
        Centred(logistic, bare),
    ]


def load_gradient_based(leo: LatentEmbeddingOptimization, folder: Path, kind: Kind) -> GradientBased:
    """Ready for use, on the LEO's device. Raises `CheckpointError`."""
    path = folder / tensors_file(kind)
    method = GradientBased(leo, kind)
    try:
        method.load_state_dict(load_tensors(path.read_bytes()))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{path} cannot be used: {error}") from error
    return method.to(leo.alpha.device).eval().requires_grad_(False)
