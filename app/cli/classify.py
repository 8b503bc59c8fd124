"""`leo classify`: classify pictures by a folder of examples, without a server."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.common import Format, app, fail, note
from app.cli.models import load_model, one_line_errors
from app.cli.options import DEFAULT_WEIGHTS, Device, FormatOption, Negatives, Queries, Reject, Support, Threshold, Top
from app.cli.predictions import LEFT_OUT_STATUS, Answers, chunks, counting, find_examples, find_queries, warn_of_suspect
from model.shipped import model_folder

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from leo_client import Prediction
    from model.data.sources import DataError, File
    from model.images.reader import Reader
    from model.leo import LatentEmbeddingOptimization
    from model.serving.adapt import AdaptedTask
    from model.serving.phi import Phi
    from model.serving.task_background import TaskBackground

PHOTO_WEIGHTS = DEFAULT_WEIGHTS.parent / "photos-lite0"
AT_ONCE = 16  # pictures that phi takes in one call; on 300 photos at once its activations would take 4 GB
SAMPLED_EXAMPLES = 5  # that decide between drawings and photos


@app.command()
@one_line_errors()
def classify(
    support: Support,
    queries: Queries,
    model: Annotated[
        Path | None,
        typer.Option(
            parser=model_folder,
            help="Folder of the model, or the name of a shipped one.",
            show_default="drawings or photos, by what the examples look like",
        ),
    ] = None,
    reject: Reject = 0.05,
    threshold: Threshold = 0.0,
    top: Top = 1,
    negatives: Negatives = None,
    form: FormatOption = Format.TABLE,
    device: Device = "auto",
) -> None:
    """Classify pictures by a folder or zip of examples, without a server.

    The examples are SUPPORT/CLASS/PICTURE.png (or jpg, webp, ...): the
    folders' names are the labels, and classes may have different numbers of
    examples. Pictures in SUPPORT/_negatives are of none of the classes.
    Answers are printed as they are found. Standard error says which model
    answers, what was left out, and which examples look mislabelled.

    Exit status: 0 if every picture was answered, 3 if some could not be
    read and the others were answered, 1 if there is no answer at all.
    """
    import numpy as np
    import torch

    from app.tasks.quality_report import DECIMALS
    from model.evaluation.support_report import report_on_support
    from model.serving.phi import fastest_phi

    labels, files, negative_files = find_examples(support, negatives)
    query_files, all_usable = find_queries(queries)
    leo, info = load_model(model or _choose_weights(files), device)
    if negative_files and not (leo.background and leo.decoder.is_plain):
        fail(f"the model {info.name} can make no use of negatives: leave them out")
    with torch.inference_mode():
        # As the service computes it, so that both answer alike.
        phis: list[Phi] = [
            fastest_phi(each, leo.config.resolution, leo.alpha.device)
            for each in (leo.classifier.phi, leo.encoder.features)
            if each is not None
        ]
        read, of_classifier, of_encoder = _extract_support(files, leo, phis)
        kept = set(read)
        labels = [label for label, file in zip(labels, files, strict=True) if file in kept]
        classes = list(dict.fromkeys(labels))
        if len(classes) < 2:
            fail(f"{support}: too few examples can be read, at least 2 classes need some")
        chosen = "" if model else "; chosen by what the examples look like, --model names another"
        note(f"model {info.name} {info.version}: {len(classes)} classes, {len(read)} examples{chosen}")
        targets = np.array([classes.index(label) for label in labels])
        task = _adapt(leo, of_classifier, of_encoder, targets)
        examples = leo.of_pictures(of_classifier).half().float().cpu().numpy()  # what the service keeps of them
        report = report_on_support(examples, targets)
        for suspect in report.suspects:
            warn_of_suspect(read[suspect.index], classes[suspect.looks_like])
        background, negatives_read = _add_negatives(leo, task, len(read), negative_files, phis)
        shots = len(read) / len(classes)
        temperature = leo.config.temperature_at(shots, len(classes))
        shift = 0.0
        if leo.background is not None:
            own_score = leo.background.own_score(examples, targets, task.weight.cpu().numpy(), task.bias.cpu().numpy())
            cohesion = None if report.cohesion is None else round(report.cohesion, DECIMALS)  # as the service stores it
            shift = leo.background.shift(shots, cohesion, round(own_score, DECIMALS))
        answered = 0
        with Answers(form, several=min(top, len(classes)) > 1) as answers:
            for some, (of_queries,) in _extract(query_files, leo, phis[:1]):
                logits = of_queries @ task.weight.T + task.bias  # [B, N]
                probabilities = (logits / temperature).softmax(dim=-1).cpu().numpy()
                known = _known(background, of_queries, logits, shots, shift)
                pairs = zip(probabilities, known, strict=True)
                answers.write(some, [_predict(classes, *pair, top, reject, threshold) for pair in pairs])
                answered += len(some)
    all_read = len(read) + negatives_read == len(files) + len(negative_files)
    if answered < len(query_files) or not all_read or not all_usable:
        raise typer.Exit(LEFT_OUT_STATUS if answered else 1)


def _extract_support(
    files: "list[File]", leo: "LatentEmbeddingOptimization", phis: "list[Phi]"
) -> "tuple[list[File], torch.Tensor, torch.Tensor]":
    """Extract the features of examples for the classifier and for the encoder, and say which cannot be read."""
    import torch

    extractors: list[Callable[[NDArray[np.uint8]], torch.Tensor]] = [
        partial(_support_features, leo, phis[0]),
        *phis[1:],
    ]
    read: list[File] = []
    parts = []
    for some, features in _extract(files, leo, extractors):
        read += some
        parts.append(features)
    of_classifier, of_encoder = (torch.cat([part[n] for part in parts] or [torch.empty(0)]) for n in (0, -1))
    return read, of_classifier, of_encoder


def _adapt(
    leo: "LatentEmbeddingOptimization",
    of_classifier: "torch.Tensor",
    of_encoder: "torch.Tensor",
    targets: "NDArray[np.int64]",
) -> "AdaptedTask":
    """Run the inner loop on examples' features [S,F], or [S,V,F], and class numbers [S]."""
    from model.serving.adapt import Adapter, Support

    (task,) = Adapter(leo).adapt([Support(of_classifier, of_encoder, targets)])
    if not task.is_finite:
        fail("the inner loop diverged on these examples: look for broken pictures or wrong labels among them")
    return task


def _add_negatives(
    leo: "LatentEmbeddingOptimization",
    task: "AdaptedTask",
    examples: int,
    negatives: "list[File]",
    phis: "list[Phi]",
) -> "tuple[TaskBackground | None, int]":
    """Make the task's background, with files of what is none of its classes. Return it, and how many could be read."""
    import numpy as np
    import torch

    from model.serving.task_background import background_of_task, code_scale

    read: list[File] = []
    every = [task]
    if leo.background is not None and negatives:
        read, of_classifier, of_encoder = _extract_support(negatives, leo, phis)
        # Each is the only example of a class of its own, as in the service.
        alone = code_scale(leo) is not None
        numbers = [[n] for n in range(len(read))] if alone else [list(range(len(read)))]
        every += [_adapt(leo, of_classifier[own], of_encoder[own], np.arange(len(own))) for own in numbers if own]
    heads = torch.cat([torch.cat([each.weight, each.bias.unsqueeze(1)], dim=1) for each in every])  # [N+M, F+1]
    codes = torch.cat([each.codes for each in every])
    of_all = heads.cpu().numpy(), codes.cpu().numpy()
    return background_of_task(leo, *of_all, len(task.codes), examples), len(read)


def _support_features(leo: "LatentEmbeddingOptimization", phi: "Phi", images: "NDArray[np.uint8]") -> "torch.Tensor":
    """Compute phi's features of examples in the model's views: of drawings the mean [B,F], of photos all [B,V,F]."""
    import torch

    features = phi(images)
    if not leo.views.copies:
        return features
    of_copies = phi(leo.views.of_bytes(torch.from_numpy(images).to(features.device)).cpu().numpy())
    return leo.views.join(features, of_copies)


def _extract(
    files: "list[File]",
    leo: "LatentEmbeddingOptimization",
    extractors: "Sequence[Callable[[NDArray[np.uint8]], torch.Tensor]]",
) -> "Iterator[tuple[list[File], list[torch.Tensor]]]":
    """Yield the features [B,F] of some files at a time, by each extractor, and say which files cannot be read."""
    import numpy as np

    from model.data.sources import DataError
    from model.images.reader import reader

    to_input = reader(leo.config)
    with ThreadPoolExecutor(2) as pool, counting(len(files)) as count:
        for some in chunks(files, AT_ONCE):
            read, arrays = [], []
            for file, array in zip(some, pool.map(lambda file: _try_to_read(file, to_input), some), strict=True):
                if isinstance(array, DataError):
                    note(array, heading="error: ", style="bold red")
                else:
                    read.append(file)
                    arrays.append(array)
            if read:
                images = np.stack(arrays)  # [B, R, R], or [B, R, R, 3]
                yield read, [extract(images) for extract in extractors]
            count(len(some))


def _try_to_read(file: "File", to_input: "Reader") -> "NDArray[np.uint8] | DataError":
    from model.data.classes import read_picture
    from model.data.sources import DataError

    try:
        return read_picture(file, to_input, to_input.draft)
    except DataError as error:
        return error


def _choose_weights(files: "list[File]") -> Path:
    """Choose the model for drawings or the one for photos, by what a few of the examples look like."""
    from model.data.classes import read_picture
    from model.data.sources import DataError
    from model.images.kinds import are_drawings, draft, drawing_evidence

    evidence = []
    for file in files[:: max(1, len(files) // SAMPLED_EXAMPLES)][:SAMPLED_EXAMPLES]:
        try:
            evidence.append(read_picture(file, drawing_evidence, draft))
        except DataError:  # said when it is read as an example
            continue
    return DEFAULT_WEIGHTS if are_drawings(evidence) else PHOTO_WEIGHTS


def _known(
    task: "TaskBackground | None",
    features: "torch.Tensor",
    logits: "torch.Tensor",
    shots: float,
    shift: float,
) -> "list[float] | list[None]":
    """Compute how much each query [B,F] looks like the task's classes, from its logits [B,N]; None: nobody knows."""
    if task is None:
        return [None] * len(features)
    scores = task.score(features.cpu().numpy(), logits.amax(dim=-1).cpu().numpy())
    known: list[float] = task.background.known(scores - shift, shots).tolist()
    return known


def _predict(
    classes: list[str],
    probabilities: "NDArray[np.float32]",
    known: float | None,
    top: int,
    reject: float,
    threshold: float,
) -> "Prediction":
    from leo_client import Prediction, Score

    best = (-probabilities).argsort(kind="stable")[:top]
    scores = [Score(classes[index], float(probabilities[index])) for index in best]
    unknown = scores[0].confidence < threshold or (known is not None and known < reject)
    return Prediction(scores[0].label, scores[0].confidence, scores, unknown, known)
