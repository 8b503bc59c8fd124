"""A support set's report on itself: from features to what a record keeps, and from there to what callers see."""

from typing import Any

from app.http import schemas
from app.inference.support_features import SupportFeatures
from model.evaluation.support_report import examine

PLACES = 3  # a record is read with every cold prediction: it stays small


def of_support(support: SupportFeatures) -> dict[str, Any]:
    """What the record keeps: numbers by class and by example, names left to `shown`."""
    found = examine(support.features, support.labels)
    return {
        "agreement": [None if share is None else round(share, PLACES) for share in found.agreement],
        "margin": [round(margin, PLACES) for margin in found.margin],
        "nearest": found.nearest,
        "suspects": [
            [each.index, int(support.labels[each.index]), each.looks_like, round(each.margin, PLACES)]
            for each in found.suspects
        ],
        "near_duplicates": [
            [each.first, each.second, round(each.similarity, PLACES)] for each in found.near_duplicates
        ],
    }


def to_schema(kept: dict[str, Any] | None, labels: list[str]) -> schemas.QualityReport | None:
    """A kept report with the classes' names."""
    if kept is None:
        return None
    by_class = zip(labels, kept["agreement"], kept["margin"], kept["nearest"], strict=True)
    return schemas.QualityReport(
        classes=[
            schemas.ClassQuality(label=label, agreement=agreement, margin=margin, nearest=labels[nearest])
            for label, agreement, margin, nearest in by_class
        ],
        suspects=[
            schemas.Suspect(index=index, label=labels[own], looks_like=labels[other], margin=margin)
            for index, own, other, margin in kept["suspects"]
        ],
        near_duplicates=[
            schemas.NearDuplicate(first=first, second=second, similarity=similarity)
            for first, second, similarity in kept["near_duplicates"]
        ],
    )
