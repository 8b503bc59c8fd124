"""Converts the report on a task's answers into the answer of the API, which names the classes."""

from app.http import schemas
from app.store import TaskRecord
from app.tasks.asking import Evaluated
from model.evaluation.labelled_answers import AnswerReport


def evaluation_to_schema(evaluated: Evaluated, files: list[str] | None) -> schemas.Evaluation:
    """Convert the report; `files` are the images' names, if they came in a zip."""
    record, report, labels = evaluated.record, evaluated.report, evaluated.labels
    return schemas.Evaluation(
        task_id=record.task_id,
        revision=record.revision,
        model_version=record.model_version,
        images=len(report.answers),
        accuracy=schemas.Accuracy(**vars(report.accuracy)),
        calibration=_calibration(report),
        classes=_classes(report, record, labels),
        confusion=schemas.Confusion(labels=labels, answers=record.labels, counts=report.confusion.tolist()),
        wrong=[
            schemas.WrongAnswer(
                index=index,
                file=files[index] if files else None,
                label=labels[evaluated.numbers[index]],
                answer=labels[report.answers[index]],
                confidence=float(report.confidences[index]),
                worth_adding=index in report.worth_adding,
            )
            for index in report.wrong
        ],
    )


def _calibration(report: AnswerReport) -> schemas.CalibrationReport:
    bins = zip(report.reliability.counts, report.reliability.confidence, report.reliability.accuracy, strict=True)
    return schemas.CalibrationReport(
        ece=report.reliability.ece,
        bins=[schemas.CalibrationBin(count=count, confidence=mean, accuracy=share) for count, mean, share in bins],
    )


def _classes(report: AnswerReport, record: TaskRecord, labels: list[str]) -> list[schemas.ClassAnswers]:
    return [
        schemas.ClassAnswers(
            label=label,
            is_class=label in record.shots,
            images=found.images,
            right=found.right,
            recall=found.right / found.images if found.images else None,
            precision=found.right / found.answered if found.answered else None,
            taken_for=None if found.taken_for is None else labels[found.taken_for],
        )
        for label, found in zip(labels, report.classes, strict=True)
    ]
