"""A support set's report on itself: from features to what a record keeps, and from there to what callers see."""

from typing import Any

from app.inference.support_features import SupportFeatures
from model.evaluation.support_report import report_on_support

PLACES = 3  # a record is read with every cold prediction: it stays small


def of_support(support: SupportFeatures) -> dict[str, Any]:
    """What the record keeps: numbers by class and by example, names left to `shown`."""
    found = report_on_support(support.features, support.labels)
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
