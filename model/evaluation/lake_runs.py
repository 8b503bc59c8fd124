"""Lake's 20 one-shot runs (Lake et al., 2015): each has 20 classes, one support image of each, and 20 queries.

The layout, in a folder or zip, is `run01/training/class01.png` for support images, `run01/test/item01.png` for queries
and `run01/class_labels.txt`, which has a line `run01/test/item01.png run01/training/class05.png` for each query.
"""

from pathlib import Path, PurePosixPath

import numpy as np
import torch

from model.data.classes import open_source, read_picture
from model.data.sources import DataError, File
from model.evaluation.accuracy import AccuracyRow, mean_and_ci95
from model.images.drawings import to_drawing, to_input
from model.leo import LatentEmbeddingOptimization
from model.serving.adapt import Adapter, Support


def evaluate_runs(leo: LatentEmbeddingOptimization, path: Path, inner_steps: int | None = None) -> AccuracyRow:
    """Measure a LEO's mean accuracy over the runs, and its interval.

    Raises `DataError` if the path holds no runs or a run is incomplete.
    """
    files = {file.name: file for file in open_source(path).files}
    names = sorted(name for name in files if PurePosixPath(name).name == "class_labels.txt")
    if not names:
        raise DataError(f"{path} holds no run01/class_labels.txt: give Lake's one-shot runs (all_runs)")
    results = [_run(leo, files, name, inner_steps) for name in names]
    mean, ci95 = mean_and_ci95(torch.tensor([accuracy for accuracy, _, _ in results], dtype=torch.double))
    steps = leo.config.inner_steps if inner_steps is None else inner_steps
    way = max(ways for _, ways, _ in results)
    query = max(queries // ways for _, ways, queries in results)
    return AccuracyRow(way, 1, query, len(results), steps, mean, ci95)


@torch.no_grad()
def _run(
    leo: LatentEmbeddingOptimization, files: dict[str, File], labels_name: str, inner_steps: int | None
) -> tuple[float, int, int]:
    """Return the accuracy on one run's queries, the number of its classes and the number of its queries."""
    folder = PurePosixPath(labels_name).parent
    pairs = [line.split() for line in files[labels_name].read().decode(errors="replace").splitlines() if line.strip()]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise DataError(f"{labels_name}: every line must read 'run01/test/item01.png run01/training/class05.png'")
    classes = sorted(name for name in files if PurePosixPath(name).parent == folder / "training")
    # The lines name files relative to the folder above the run. The archive may have more folders above that one.
    above = "" if str(folder.parent) == "." else f"{folder.parent}/"
    queries = [above + query for query, _ in pairs]
    truth = [above + support for _, support in pairs]
    for name in [*queries, *truth]:
        if name not in files:
            raise DataError(f"{labels_name} names {name}, which is not there: add it or remove the line")

    def features(names: list[str], of_encoder: bool) -> torch.Tensor:
        """Extract features [B,F] of images, with the classifier's phi or with the encoder's."""
        inputs = [to_input(read_picture(files[n], to_drawing), leo.config.resolution) for n in names]
        images = torch.from_numpy(np.stack(inputs)).unsqueeze(1).float() / 255
        return leo.features(leo.encoder_phi if of_encoder else leo.classifier.phi, images.to(leo.alpha.device))

    one_each = np.arange(len(classes))
    support = Support(features(classes, of_encoder=False), features(classes, of_encoder=True), one_each)
    (adapted,) = Adapter(leo).adapt([support], inner_steps)
    logits = features(queries, of_encoder=False) @ adapted.weight.T + adapted.bias  # [Q, N]
    correct = sum(classes[n] == right for n, right in zip(logits.argmax(dim=1).tolist(), truth, strict=True))
    return correct / len(queries), len(classes), len(queries)
