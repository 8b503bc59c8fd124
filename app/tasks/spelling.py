"""How labels and names are spelled: trimmed, in one Unicode form, and without characters that nobody sees."""

import re
import unicodedata
from collections.abc import Iterable

from app.problems import Problem
from model.data.unicode import MOST_MARKS, compose, has_heap_of_marks

ZERO_WIDTH_SPACES = "\u200b\u2060\ufeff"  # the last one is also the mark with which some files begin
SPACES = "".join(filter(str.isspace, map(chr, range(0x3001))))  # Unicode has none further on
JOINERS = "\u200c\u200d"  # ZWNJ and ZWJ: spelling in Persian, Sinhala and others, and in emoji of several persons
# Kinds of characters that a joiner changes: letters without case, marks such as a virama, and emoji.
JOINABLE = ("Lo", "Lm", "Mn", "Mc", "Me", "So", "Sk")
BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"  # fillers, which Unicode counts as letters, marks or symbols
# What is not seen inside a label: fillers, and the selectors between forms of a character. A blank cell of braille is
# seen as a space is.
UNSEEN = dict.fromkeys([*map(ord, BLANK), *range(0x180B, 0x180E), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)])
UNSEEN[0x2800] = " "
# A flag of England is a black flag and "gbeng" in characters that are not seen elsewhere.
FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")
ARABIC_NUMBER_SIGNS = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u08e2"  # seen, although they count as format
CONTROL_NAMES = ("NULL", "BACKSPACE", "CHARACTER TABULATION", "LINE FEED", "CARRIAGE RETURN", "ESCAPE", "DELETE")
NAMES = {unicodedata.lookup(name): name for name in CONTROL_NAMES}


def spell(text: str, what: str, max_length: int) -> str:
    """The text as it is stored: without spaces around it, in the form NFC, without joiners that join nothing.

    Raises `Problem` 422 if nothing that can be seen is left, if it is too long, or if it holds a character that is no
    spelling, such as a line break or a change of direction; the problem names the character.
    """
    text = _trim(text)
    # Normalising shortens a text to a quarter at most, and takes long for a very long one.
    if len(text) <= 4 * max_length and not (text.isascii() and text.isprintable()):
        _refuse_unseen(text, what)
        if has_heap_of_marks(text):
            raise Problem(422, f"a {what} holds over {MOST_MARKS} marks on one character: remove some")
        text = normalise(text)
    if len(text) > max_length:
        raise Problem(422, f"a {what} has {len(text)} characters, at most {max_length} are allowed")
    if not text or all(_is_blank(character) for character in text):
        raise Problem(422, f"a {what} is empty: send at least one character that can be seen")
    return text


def normalise(text: str) -> str:
    """The text as `spell` writes it, whatever it holds."""
    return _trim(_drop_idle_joiners(compose(_trim(text))))


def match_classes(labels: Iterable[str], known: Iterable[str]) -> list[str]:
    """Each label as the class that it means: the first one, known or new, that looks the same.

    Spaces that only differ in their kind, such as a no-break space, look the same. So do the labels of old tasks, which
    were stored as they had been sent.
    """
    as_known = dict.fromkeys(known)
    classes: dict[str, str] = {}
    for label in as_known:
        classes.setdefault(_look(label), label)
    return [label if label in as_known else classes.setdefault(_look(label), label) for label in labels]


def _trim(text: str) -> str:
    return text.strip(SPACES + ZERO_WIDTH_SPACES)


def _look(label: str) -> str:
    """What two labels have in common that look the same."""
    seen = label if label.isascii() else compose(label.translate(UNSEEN))
    return " ".join(seen.split())


def _drop_idle_joiners(text: str) -> str:
    if not any(joiner in text for joiner in JOINERS):
        return text
    kept = ""
    for character in text:
        if character not in JOINERS or (kept and unicodedata.category(kept[-1]) in JOINABLE):
            kept += character
    return kept


def _is_blank(character: str) -> bool:
    """Whether nothing is seen of a character that stands alone. Marks such as vowel signs are seen."""
    return character in JOINERS or ord(character) in UNSEEN or unicodedata.category(character) == "Zs"


def _refuse_unseen(text: str, what: str) -> None:
    """Raise `Problem` 422 for the first character that is no spelling."""
    for character in FLAG.sub("", text):
        if reason := _reason_against(character):
            name = NAMES.get(character) or unicodedata.name(character, "")
            shown = f"U+{ord(character):04X}" + (f" {name}" if name else "")
            raise Problem(422, f"a {what} holds {shown}, {reason}: remove it")


def _reason_against(character: str) -> str | None:
    """Why a label may not hold this character; None if it may."""
    category, code = unicodedata.category(character), ord(character)
    if category == "Cc":
        return "one of the control characters"
    if category == "Cs":
        return "half of a character (a lone surrogate)"
    if category in ("Zl", "Zp"):
        return "a line break"
    if category == "Co":
        return "a private character, which every font shows differently"
    if category == "Cf" and character not in JOINERS and character not in ARABIC_NUMBER_SIGNS:
        return "which cannot be seen"
    # Other unassigned characters are letters and emoji of later versions of Unicode.
    if category == "Cn" and (code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF or 0xE0000 <= code <= 0xE0FFF):
        return "which is no character"
    return None
