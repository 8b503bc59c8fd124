"""Unicode's form NFC of a text from outside, in a time that grows with its length only."""

import unicodedata

#: That may follow one another. UAX #15 finds 30 enough for every natural text (its stream-safe format).
MOST_MARKS = 30


def compose(text: str) -> str:
    """The text in the form NFC; a text with a heap of marks as it is.

    Such a heap would be sorted in quadratic time, during which no other thread of the process runs.
    """
    return text if has_heap_of_marks(text) else unicodedata.normalize("NFC", text)


def has_heap_of_marks(text: str) -> bool:
    """Whether more than `MOST_MARKS` marks follow one another, joiners between them left out."""
    if text.isascii() or len(text) <= MOST_MARKS:
        return False
    in_row = 0
    for character in text:
        # By the category: a few marks whose own class says nothing are taken apart into marks that are sorted.
        category = unicodedata.category(character)
        if category[0] == "M":
            in_row += 1
        elif category != "Cf":
            in_row = 0
        if in_row > MOST_MARKS:
            return True
    return False
