"""The quality report on a support set, in the form that a task's record stores."""

from typing import Any

from app.inference.support_features import SupportFeatures
from model.evaluation.support_report import report_on_support

DECIMALS = 3  # keeps records small, since every prediction of a task that is not cached reads one


def of_support(support: SupportFeatures) -> dict[str, Any]:
    """Report on a support set, with classes as numbers; `app.http.responses.quality_to_schema` adds the labels."""
    found = report_on_support(support.features, support.labels)
    return {
        "agreement": [None if share is None else round(share, DECIMALS) for share in found.agreement],
        "margin": [round(margin, DECIMALS) for margin in found.margin],
        "nearest": found.nearest,
        "suspects": [
            [each.index, int(support.labels[each.index]), each.looks_like, round(each.margin, DECIMALS)]
            for each in found.suspects
        ],
        "near_duplicates": [
            [each.first, each.second, round(each.similarity, DECIMALS)] for each in found.near_duplicates
        ],
    }
