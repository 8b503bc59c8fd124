"""Figures over tasks as results files hold them: a mean with half its 95 % interval."""

from torch import Tensor

from model.evaluation.accuracy import Setting, mean_and_ci95


def with_ci95(**values: Tensor) -> dict[str, dict[str, float]]:
    """The mean and half its interval of each of several figures, one value a task [T]."""
    return {name: dict(zip(("mean", "ci95"), mean_and_ci95(each), strict=True)) for name, each in values.items()}


def in_percent(figures: dict[str, dict[str, float]]) -> dict[str, str]:
    """The same for people to read while a command runs."""
    return {name: f"{100 * each['mean']:+.2f} ±{100 * each['ci95']:.2f}" for name, each in figures.items()}


def as_row(setting: Setting) -> dict[str, int | str]:
    """The columns that say of which tasks a row is."""
    return {"way": setting.way, "shot": setting.shots[0], "within": setting.within}


def mean_in_points(figures: list[dict[str, float]]) -> str:
    """The mean of independent figures with its interval, in points, as tables show it."""
    mean = sum(figure["mean"] for figure in figures) / len(figures)
    ci95 = sum(figure["ci95"] ** 2 for figure in figures) ** 0.5 / len(figures)
    return f"{100 * mean:+.2f} ± {100 * ci95:.2f}"
