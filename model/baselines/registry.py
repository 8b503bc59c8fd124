"""Lists of all methods that a LEO is compared with, for models of drawings and of photos."""

from pathlib import Path
from typing import Any

from model.baselines.centred import Centred
from model.baselines.extractors import BackboneExtractor, LeoExtractor, extractor_of
from model.baselines.folder import load_gradient_based
from model.baselines.gradient import KINDS
from model.baselines.leo import LeoMethod
from model.baselines.logistic import LogisticHead
from model.baselines.method import Method
from model.baselines.nearest_neighbour import NearestNeighbour
from model.baselines.prototypes import CosinePrototypes, EuclideanPrototypes
from model.leo import LatentEmbeddingOptimization

LOGISTIC_L2 = 0.001  # for a logistic head on photos, if the model's card names no other


def drawing_methods(leo: LatentEmbeddingOptimization, folder: Path, described: dict[str, Any] | None) -> list[Method]:
    """Return the methods for a model of drawings, LEO first.

    `described` is the content of `folder`'s `baselines.json`; without it, only methods that need no training are in
    the list, and of the gradient-based ones those that it names the `steps` of.
    Raises `CheckpointError` for a damaged file.
    """
    own = extractor_of(leo)
    extractor = own if type(own) is LeoExtractor else LeoExtractor(leo)
    methods: list[Method] = [
        LeoMethod(leo, extractor=own),
        LeoMethod(leo, 0, extractor=own),
        CosinePrototypes(extractor),
        EuclideanPrototypes(extractor),
    ]
    if described is not None:
        methods.append(LogisticHead(extractor, float(described["l2"])))
        methods += [load_gradient_based(leo, folder, kind) for kind in KINDS if kind in described["steps"]]
    return methods


def photo_methods(leo: LatentEmbeddingOptimization, l2: float) -> list[Method]:
    """Return the methods for a model of photos: LEO, other heads on LEO's features, then methods on the backbone's.

    `l2` is the strength of the logistic heads' regularisation.
    """
    extractor, backbone = LeoExtractor(leo), BackboneExtractor(leo)
    cosine, logistic = CosinePrototypes(backbone), LogisticHead(backbone, l2)
    return [
        LeoMethod(leo, extractor=extractor),
        LeoMethod(leo, 0, extractor=extractor),
        CosinePrototypes(extractor, "LEO's features, prototypes"),
        LogisticHead(extractor, l2, "LEO's features, logistic head"),
        cosine,
        Centred(cosine, backbone),
        NearestNeighbour(backbone),
        logistic,
        Centred(logistic, backbone),
    ]
