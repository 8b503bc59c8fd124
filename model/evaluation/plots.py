"""Plots of a sweep on one page: accuracy, gain by inner steps, calibration, and the pairs of classes most confused."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from model.data.omniglot import Drawings
from model.evaluation.accuracy import AccuracyRow
from model.evaluation.diagnostics import Diagnostics
from model.evaluation.sweep import Curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

PAIRS = 8  # confused pairs shown
SAMPLES = 3  # drawings shown of each class
INK = "#1b3a5c"


def draw_plots(
    title: str,
    diagnostics: list[Diagnostics],
    curves: Curves,
    drawings: Drawings,
    png: Path,
) -> None:
    """Draw the diagnostics of some settings, one for each, and the curves of a sweep, into a PNG file.

    Raises `ModuleNotFoundError` without matplotlib, which the extra `train` installs.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 9.5), layout="constrained")
    figure.suptitle(title, fontsize=13)
    grid = figure.add_gridspec(2, 1, height_ratios=[1, 1.15], hspace=0.04)
    charts, pictures = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    accuracy, steps, calibration = charts.subplots(1, 3)
    _plot_accuracy(accuracy, [one.row for one in diagnostics])
    _plot_steps(steps, curves)
    _plot_calibration(calibration, diagnostics)
    _show_confusions(pictures, diagnostics, drawings)
    figure.savefig(png, dpi=110)


def _plot_accuracy(axes: "Axes", rows: list[AccuracyRow]) -> None:
    """Plot accuracy over the number of ways, a line for each number of shots. The ways are evenly spaced."""
    ways = sorted({row.way for row in rows})
    for shot in sorted({row.shot for row in rows}, key=lambda shot: (isinstance(shot, str), shot)):
        of_shot = sorted((row for row in rows if row.shot == shot), key=lambda row: row.way)
        axes.errorbar(
            [ways.index(row.way) for row in of_shot],
            [100 * row.accuracy for row in of_shot],
            [100 * row.ci95 for row in of_shot],
            marker="o",
            markersize=4,
            capsize=3,
            label=f"{shot}-shot",
        )
    axes.set_xticks(range(len(ways)), [str(way) for way in ways])
    axes.set(title="Accuracy", xlabel="ways", ylabel="%, with 95 % intervals")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _plot_steps(axes: "Axes", curves: Curves) -> None:
    for label, points in curves.items():
        steps = [step for step, _, _ in points]
        gains = torch.tensor([[100 * gain, 100 * ci95] for _, gain, ci95 in points])  # [steps, 2]
        (line,) = axes.plot(steps, gains[:, 0].tolist(), marker="o", markersize=4, label=label)
        low, high = (gains[:, 0] - gains[:, 1]).tolist(), (gains[:, 0] + gains[:, 1]).tolist()
        axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(
        title="What the inner steps add", xlabel="inner steps", ylabel="points over no step, same tasks, 95 % intervals"
    )
    axes.grid(alpha=0.3)
    if curves:
        axes.legend(fontsize=8)


def _plot_calibration(axes: "Axes", diagnostics: list[Diagnostics]) -> None:
    """Plot reliability for the settings of fewest and most ways and shots. More lines would hide each other."""
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle="--")
    for one in _extreme_settings(diagnostics):
        counts, total = one.reliability.counts, sum(one.reliability.counts)
        points = [
            (confidence, accuracy)
            for confidence, accuracy, count in zip(
                one.reliability.confidence, one.reliability.accuracy, counts, strict=True
            )
            # Bins with few queries are noise.
            if confidence is not None and accuracy is not None and count >= max(20, 0.0005 * total)
        ]
        axes.plot(
            *zip(*points, strict=True),
            marker="o",
            markersize=4,
            label=f"{setting_name(one)}: ECE {100 * one.reliability.ece:.1f} %",
        )
    axes.set(title="Calibration", xlabel="probability of the top class", ylabel="how often it was right")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left")


def _show_confusions(figure: "SubFigure", diagnostics: list[Diagnostics], drawings: Drawings) -> None:
    confusion = torch.stack([one.confusion for one in diagnostics]).sum(dim=0)  # [C, C]
    co_occurrence = torch.stack([one.co_occurrence for one in diagnostics]).sum(dim=0)  # [C, C]
    pairs = confused_pairs(confusion, co_occurrence, PAIRS)
    figure.suptitle("Most confused pairs: how often queries of either were taken for the other, all settings together")
    grid = figure.subplots(2, PAIRS // 2, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (a, b, share) in zip(grid.flat, pairs, strict=False):
        shown = torch.stack([_sample_drawings(drawings, a), _sample_drawings(drawings, b)])  # [2, 3, 105, 105]
        rows = [torch.nn.functional.pad(torch.cat(list(row), dim=-1), (2, 2, 2, 2)) for row in shown.float()]
        axes.imshow(torch.cat(rows).numpy(), cmap="Greys", vmin=0, vmax=1, interpolation="antialiased")
        axes.axhline(rows[0].shape[0] - 0.5, color=INK, linewidth=0.8)
        axes.set_title(
            f"{_short_name(drawings.names[a])}  |  {_short_name(drawings.names[b])}\n{100 * share:.1f} %", fontsize=8.5
        )


def confused_pairs(confusion: torch.Tensor, co_occurrence: torch.Tensor, most: int) -> list[tuple[int, int, float]]:
    """Find the pairs of classes most often confused, from the counts [C,C] of `Diagnostics`: (a, b, share).

    The share is that of queries of a in tasks with b, and of b in tasks with a, that were taken for the other class.
    """
    wrong, chances = confusion + confusion.T, co_occurrence + co_occurrence.T
    # In a pair that occurs in few tasks, one odd drawing could make a large share.
    often = chances.triu(diagonal=1) >= 0.2 * chances.double().mean()
    share = torch.where(often & (wrong > 0), wrong / chances.clamp(min=1), 0).triu(diagonal=1)
    best = share.flatten().topk(min(most, share.numel()))
    size = share.shape[1]
    return [(i // size, i % size, s) for i, s in zip(best.indices.tolist(), best.values.tolist(), strict=True) if s > 0]


def setting_name(one: Diagnostics) -> str:
    """Return a setting's name for a legend: 5-way 1-shot."""
    within = f" in one {one.setting.within}" if one.setting.within else ""
    return f"{one.setting.way}-way {one.row.shot}-shot{within}"


def _extreme_settings(diagnostics: list[Diagnostics]) -> list[Diagnostics]:
    def key(one: Diagnostics) -> tuple[int, tuple[int, int]]:
        return one.setting.way, one.setting.shots

    ways, shots = {one.setting.way for one in diagnostics}, {one.setting.shots for one in diagnostics}
    corners = {(way, shot) for way in (min(ways), max(ways)) for shot in (min(shots), max(shots))}
    return [one for one in diagnostics if key(one) in corners]


def _sample_drawings(drawings: Drawings, label: int) -> torch.Tensor:
    count = min(SAMPLES, int(drawings.counts[label]))
    return drawings.images[label, [i % count for i in range(SAMPLES)]]


def _short_name(path: str) -> str:
    """Shorten a class's name: Sanskrit/character07 -> Sanskrit 07."""
    alphabet, character = path.rsplit("/", 1)
    return f"{alphabet.split('_')[0][:12]} {character.removeprefix('character')}"
