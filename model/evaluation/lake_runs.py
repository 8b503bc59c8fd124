"""Lake's 20 one-shot runs: each 20 drawn classes, one example of each, and 20 items to place.

Layout, in a folder or zip: `run01/training/class01.png`, `run01/test/item01.png`, and
`run01/class_labels.txt` with a line `run01/test/item01.png run01/training/class05.png` an item.
"""

import io
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image

from model.data.omniglot import DataError
from model.evaluation.accuracy import Row, mean_and_ci95
from model.images.drawings import to_drawing, to_input
from model.leo import LatentEmbeddingOptimization
from model.serving.adapt import Adapter, Support


def evaluate_runs(leo: LatentEmbeddingOptimization, path: Path, inner_steps: int | None = None) -> Row:
    """Mean accuracy over the runs and its interval. Raises `DataError`."""
    files = _read(path)
    names = sorted(name for name in files if PurePosixPath(name).name == "class_labels.txt")
    if not names:
        raise DataError(f"{path} holds no run01/class_labels.txt: these are not Lake's one-shot runs")
    outcomes = [_run(leo, files, name, inner_steps) for name in names]
    mean, ci95 = mean_and_ci95(torch.tensor([hits for hits, _, _ in outcomes], dtype=torch.double))
    steps = leo.config.inner_steps if inner_steps is None else inner_steps
    way = max(ways for _, ways, _ in outcomes)
    query = max(items // ways for _, ways, items in outcomes)
    return Row(way, 1, query, len(outcomes), steps, mean, ci95)


@torch.no_grad()
def _run(
    leo: LatentEmbeddingOptimization, files: dict[str, bytes], labels_name: str, inner_steps: int | None
) -> tuple[float, int, int]:
    """Share of one run's items placed right, its number of classes and of items."""
    folder = PurePosixPath(labels_name).parent
    pairs = [line.split() for line in files[labels_name].decode().splitlines() if line.strip()]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise DataError(f"{labels_name}: every line must read 'run01/test/item01.png run01/training/class05.png'")
    classes = sorted(name for name in files if PurePosixPath(name).parent == folder / "training")
    # Lines name files from the folder above the run; the archive may have more folders above that.
    above = "" if str(folder.parent) == "." else f"{folder.parent}/"
    items = [above + item for item, _ in pairs]
    truth = [above + answer for _, answer in pairs]
    for name in [*items, *truth]:
        if name not in files:
            raise DataError(f"{labels_name} names {name}, which is not there")

    def features(names: list[str], own: bool) -> torch.Tensor:
        inputs = [to_input(to_drawing(Image.open(io.BytesIO(files[n]))), leo.config.resolution) for n in names]
        images = torch.from_numpy(np.stack(inputs)).unsqueeze(1).float() / 255
        return leo.features(leo.encoder_phi if own else leo.classifier.phi, images.to(leo.alpha.device))

    labels = torch.arange(len(classes), device=leo.alpha.device)
    support = Support(features(classes, False), features(classes, True), labels)
    (adapted,) = Adapter(leo).adapt([support], inner_steps)
    answers = (features(items, False) @ adapted.weight.T + adapted.bias).argmax(dim=1).tolist()
    hits = sum(classes[answer] == right for answer, right in zip(answers, truth, strict=True))
    return hits / len(items), len(classes), len(items)


def _read(path: Path) -> dict[str, bytes]:
    """Every file of a folder or zip by its name inside."""
    if path.is_dir():
        return {f.relative_to(path).as_posix(): f.read_bytes() for f in path.rglob("*") if f.is_file()}
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is neither a folder nor a readable zip: {error}") from error
