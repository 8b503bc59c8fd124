"""Tests of holding classes back for validation."""

import pytest

from model.data.sources import DataError
from model.data.splits import held_back


@pytest.mark.parametrize(
    ("groups", "chosen"),
    [
        ("aabbccddeeff", "aaff"),  # every fifth group
        ("abcdefghijk", "afk"),
        ("abcdef", "af"),
        ("abcde", "ae"),  # too few for every fifth, so every fourth
        ("abcd", "ad"),
        ("aabb", "aa"),
        ("aabbcc", "aa"),
    ],
)
def test_every_fifth_group_or_more_of_few(groups: str, chosen: str) -> None:
    held = held_back(list(groups))
    assert "".join(group for group, own in zip(groups, held, strict=True) if own) == chosen


def test_of_one_group_single_classes_are_held_back() -> None:
    assert held_back(["a"] * 7) == [True, False, False, False, False, True, False]
    assert sum(held_back(["a"] * 12)) == 3


@pytest.mark.parametrize("groups", ["", "a", "abc", "aaa"])
def test_too_few_classes_are_an_error(groups: str) -> None:
    with pytest.raises(DataError, match="too few"):
        held_back(list(groups))
