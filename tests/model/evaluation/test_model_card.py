"""Tests of what all model cards share."""

from pathlib import Path

from model.evaluation.model_card import columns_of, ece_and_auroc, markdown_table, percent, points, shape_of, write_page
from tests.helpers.models import tiny


def test_figures_are_formatted_in_per_cent_and_points() -> None:
    assert percent(0.98104, 0.00196) == "98.10 ± 0.20"
    assert points(0.01204, 0.002) == "+1.20 ± 0.20"
    assert points(-0.0004, 0.002) == "-0.04 ± 0.20"
    assert ece_and_auroc({"ece": 0.0123, "auroc": 0.97449}) == ["1.2", "0.974"]
    assert ece_and_auroc({"ece": 0.0123, "auroc": None}) == ["1.2", "-"]
    measured = {"ece": 0.0123, "auroc": 0.97449, "foreign_accepted": 0.0407}
    assert ece_and_auroc(measured) == ["1.2", "0.974", "4.1"]
    assert len(columns_of(["ECE", "AUROC"], [measured])) == 3


def test_a_table_has_a_line_for_each_row() -> None:
    assert markdown_table(("way", "shot"), [["5", "1"], ["20", "5"]]) == [
        "| way | shot |",
        "|---|---|",
        "| 5 | 1 |",
        "| 20 | 5 |",
    ]


def test_a_page_has_facts_then_figures_then_limits(tmp_path: Path) -> None:
    write_page(
        tmp_path, "name", "0abc", {"date": "2026-11-27"}, "For signs.", {"Seed": "0"}, ["figures", ""], "Only drawings."
    )
    assert (tmp_path / "README.md").read_text() == (
        "# name\n\nFor signs.\n\nVersion `0abc`, trained 2026-11-27. Written by `leo train`.\n\n"
        "- **Seed**: 0\n\nfigures\n\n**Limits.** Only drawings.\n"
    )


def test_the_parameters_of_a_shape_are_those_that_are_stored() -> None:
    leo = tiny(decoder_skip=True)
    shape = shape_of(leo)
    assert (shape["resolution"], shape["feature_dim"], shape["latent_dim"]) == (8, 8, 32)
    assert 0 < shape["parameters"] <= sum(p.numel() for p in leo.parameters())
