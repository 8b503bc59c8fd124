"""`leo classify`: classify pictures by a folder of examples, without a server."""

from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.common import app, fail
from app.cli.models import DEFAULT_WEIGHTS, Device, Weights, load_model, one_line_errors
from app.cli.predictions import (
    Format,
    FormatOption,
    Queries,
    Support,
    Threshold,
    Top,
    find_queries,
    find_support,
    print_predictions,
    warn_of_suspect,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from app.client import Prediction
    from model.images.reader import Reader
    from model.networks.features import FeatureExtractor


@app.command()
@one_line_errors()
def classify(
    support: Support,
    queries: Queries,
    model: Weights = DEFAULT_WEIGHTS,
    threshold: Threshold = 0.0,
    top: Top = 1,
    form: FormatOption = Format.TABLE,
    device: Device = "auto",
) -> None:
    """Classify pictures by a folder of examples, without a server.

    The examples are SUPPORT/CLASS/PICTURE.png (or jpg, webp): the folders'
    names are the labels, and classes may have different numbers of
    examples. Warnings about examples that look mislabelled go to standard
    error.
    """
    import numpy as np
    import torch

    from model.evaluation.support_report import report_on_support
    from model.images.reader import reader
    from model.serving.adapt import Adapter
    from model.serving.adapt import Support as SupportFeatures

    labels, files = find_support(support)
    query_files = find_queries(queries)
    leo, _ = load_model(model, device)

    def extract(files: list[Path], phi: "FeatureExtractor") -> torch.Tensor:
        pixels = np.stack([_read_picture(file, reader(leo.config)) for file in files])
        images = torch.from_numpy(pixels).to(leo.alpha.device).float() / 255
        return leo.features(phi, images.unsqueeze(1) if images.dim() == 3 else images.movedim(3, 1))  # [B, F]

    classes = list(dict.fromkeys(labels))
    targets = np.array([classes.index(label) for label in labels])
    with torch.inference_mode():
        features = extract(files, leo.classifier.phi)  # [S, F]
        of_encoder = features if leo.encoder.features is None else extract(files, leo.encoder_phi)
        examples = SupportFeatures(features, of_encoder, targets)
        (task,) = Adapter(leo).adapt([examples])
        if not task.is_finite:
            fail("the inner loop diverged on these examples: look for broken pictures or wrong labels among them")
        logits = extract(query_files, leo.classifier.phi) @ task.weight.T + task.bias  # [Q, N]
        temperature = leo.config.temperature_at(len(files) / len(classes), len(classes))
        probabilities = (logits / temperature).softmax(dim=-1).cpu().numpy()
    for suspect in report_on_support(features.cpu().numpy(), targets).suspects:
        warn_of_suspect(files[suspect.index], classes[suspect.looks_like])
    predictions = [_predict(classes, row, top, threshold) for row in probabilities]
    print_predictions(query_files, predictions, form)


def _read_picture(file: Path, to_input: "Reader") -> "NDArray[np.uint8]":
    from PIL import Image

    from model.images.drawings import NoDrawing
    from model.images.formats import FORMATS

    try:
        with Image.open(file, formats=FORMATS) as picture:
            return to_input(picture)
    except NoDrawing as error:
        fail(f"{file} shows no drawing: {error}")
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ... for broken files
        fail(f"{file} cannot be read as a PNG, JPEG or WEBP picture ({type(error).__name__})")


def _predict(classes: list[str], probabilities: "NDArray[np.float32]", top: int, threshold: float) -> "Prediction":
    from app.client import Prediction, Score

    best = (-probabilities).argsort(kind="stable")[:top]
    scores = [Score(classes[index], float(probabilities[index])) for index in best]
    return Prediction(scores[0].label, scores[0].confidence, scores, unknown=scores[0].confidence < threshold)
