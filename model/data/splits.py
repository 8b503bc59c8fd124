"""Splits of any folder of classes: which classes are held back for validation, and never trained on."""

from collections.abc import Sequence

from model.data.sources import DataError

SPLITS = ("all", "train", "validation")
EVERY = 5  # every fifth group, by name, is for validation
FEWEST = 2  # classes of a split, as a task has at least two ways


class TooFewClasses(DataError):
    """A split would have too few classes, or none; the split `all` always has them."""


def check_split(name: str) -> None:
    """Raise `DataError` if no split has this name."""
    if name not in SPLITS:
        raise DataError(f"no split called {name!r}; there are {', '.join(SPLITS)}")


def held_back(groups: Sequence[str]) -> list[bool]:
    """Return for each class, by its group, whether it is for validation: those of every fifth group.

    Groups are kept whole, since their classes look alike. Where there are too few groups, more of them are held back,
    or else single classes. Raises `DataError` if either part would have fewer than two classes.
    """
    numbers = [str(number).zfill(9) for number in range(len(groups))]
    for units in (groups, numbers):
        order = {unit: place for place, unit in enumerate(sorted(set(units)))}
        for every in range(EVERY, 1, -1):
            chosen = [order[unit] % every == 0 for unit in units]
            if FEWEST <= sum(chosen) <= len(chosen) - FEWEST:
                return chosen
    raise TooFewClasses(
        f"{len(groups)} classes are too few to hold some back for validation: give at least {2 * FEWEST}"
    )
