"""How labels and names are spelled."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.problems import Problem
from app.tasks.spelling import match_classes, spell

ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cرود",  # Persian, with a ZWNJ
        "ශ්\u200dරී",  # Sinhala, with a ZWJ
        "क्\u200dष",
        "👩\u200d👩\u200d👧",
        "❤\ufe0f\u200d🔥",
        ENGLAND,
        "東京\u3000駅",
        "prix\u00a0: 5",
        "葛\U000e0100",  # a variant that a name is spelled with
        "a b",
        "Å",
        "ﬁ",
        "\U0001fae9",  # an emoji of Unicode 16
    ],
)
def test_spelling_stays_as_it_is(text: str) -> None:
    assert spell(text, "label", 100) == text


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("cat ", "cat"),
        ("\u3000cat\u00a0\n", "cat"),
        ("\ufeffcat\u200b \u2060", "cat"),
        ("cafe\u0301", "café"),
        ("\u212b", "\u00c5"),  # the sign of the unit is the letter
        ("cat\u200d", "cat"),
        ("\u200ccat", "cat"),
        ("می\u200c\u200cرود", "می\u200cرود"),
        (" \u200d ", None),
        ("", None),
        ("\u3164", None),
        ("\u2800 \u115f", None),
        ("\ufe0f", None),
        ("\u180b\U000e0100", None),
        ("\u0f77", "\u0f77"),  # marks alone are seen, on a dotted circle
        (" \u0301", "\u0301"),
        ("\u093e", "\u093e"),
        ("\u20dd", "\u20dd"),
    ],
)
def test_what_is_not_seen_is_taken_away(text: str, spelled: str | None) -> None:
    if spelled is None:
        with pytest.raises(Problem, match="a label is empty"):
            spell(text, "label", 100)
    else:
        assert spell(text, "label", 100) == spelled


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a\0b", "U+0000 NULL, one of the control characters"),
        ("a\x1b[31m", "U+001B ESCAPE"),
        ("a\nb", "U+000A LINE FEED"),
        ("a\tb", "U+0009 CHARACTER TABULATION"),
        ("a\x9bb", "U+009B, one of the control characters"),
        ("a\u202eb", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("a\u2066b", "U+2066 LEFT-TO-RIGHT ISOLATE"),
        ("a\u200bb", "U+200B ZERO WIDTH SPACE"),
        ("a\u00adb", "U+00AD SOFT HYPHEN"),
        ("a\u2028b", "U+2028 LINE SEPARATOR"),
        ("a\ud800b", "U+D800, half of a character"),
        ("a\ue000b", "U+E000, a private character"),
        ("a\uffffb", "U+FFFF, which is no character"),
        ("a\ufdd0b", "U+FDD0, which is no character"),
        ("a\U000e0067", "U+E0067 TAG LATIN SMALL LETTER G"),
        ("a" + ENGLAND + "\U000e007f", "U+E007F CANCEL TAG"),
    ],
)
def test_a_refusal_names_the_character(text: str, named: str) -> None:
    with pytest.raises(Problem) as refused:
        spell(text, "name", 100)
    assert refused.value.status == 422
    assert refused.value.detail.startswith(f"a name holds {named}")


def test_the_length_counts_what_is_stored() -> None:
    assert spell("e\u0301" * 100, "label", 100) == "é" * 100
    for text in ("a" * 101, "e\u0301" * 101, "a" * 20_000_000):
        with pytest.raises(Problem, match="at most 100"):
            spell(text, "label", 100)


def test_labels_that_look_the_same_are_one_class() -> None:
    assert match_classes(["ice cream", "ice\u00a0cream", "ice  cream", "Ice cream"], []) == ["ice cream"] * 3 + [
        "Ice cream"
    ]
    old = ["cat ", "cafe\u0301"]  # stored before labels were normalised
    assert match_classes(["cat", "café", "dog"], old) == ["cat ", "cafe\u0301", "dog"]
    assert match_classes(["cat"], ["cat ", "cat"]) == ["cat"]


@given(st.text(max_size=30))
@example("\u200d \u200c")
@example("e \u0301")
def test_spelling_twice_changes_nothing(text: str) -> None:
    try:
        spelled = spell(text, "label", 100)
    except Problem as problem:
        problem.detail.encode()
        return
    assert spell(spelled, "label", 100) == spelled
    assert unicodedata.is_normalized("NFC", spelled)
    spelled.encode()
