"""What a task may hold, whatever door it comes in by: classes, examples, labels, a name, a lifetime."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from app.problems import Problem
from app.settings import Settings
from app.tasks.options import TaskLifetime
from app.tasks.spelling import match_classes, spell

FEWEST_WAYS = 2
MOST_SCORES = 100_000  # in one answer: the classes of the largest request and task by default; a few MB of JSON

Lifetime = TypeVar("Lifetime", bound=TaskLifetime)


def spell_labels(labels: Sequence[str], settings: Settings, known: Iterable[str] = ()) -> list[str]:
    """Each label as its class is called, among classes that are `known` already and new ones.

    Raises `Problem` 422 for a label that is no label, with the index of the first example that has it.
    """
    spelled: dict[str, str] = {}
    for index, label in enumerate(labels):
        if label not in spelled:
            try:
                spelled[label] = spell(label, "label", settings.max_label_length)
            except Problem as problem:
                raise Problem(problem.status, problem.detail, index=index) from None
    return match_classes([spelled[label] for label in labels], known)


def check_shots(shots: Mapping[str, int], settings: Settings) -> None:
    """Check how many classes a task has, and how many examples. Raises `Problem` 422 saying what to change."""
    ways, examples = len(shots), sum(shots.values())
    if ways < FEWEST_WAYS:
        raise Problem(422, f"a task needs at least {FEWEST_WAYS} classes, this one has {ways}")
    if ways > settings.max_ways:
        raise Problem(422, f"{ways} classes, but a task may have {settings.max_ways}")
    if examples > settings.max_images:
        raise Problem(422, f"{examples} examples in all, but a task may have {settings.max_images}")


def check_negatives(images: int, negatives: int, settings: Settings) -> None:
    """Check the number of negatives that come with so many examples. Raises `Problem` 422.

    A prediction compares a picture with each of them, as with each class.
    """
    if negatives > settings.max_ways:
        raise Problem(422, f"{negatives} negatives, but a task may have {settings.max_ways}: send fewer")
    if images + negatives > settings.max_images:
        raise Problem(
            422, f"{images} examples and {negatives} negatives, but a task may have {settings.max_images} in all"
        )


@contextlib.contextmanager
def numbering_negatives(images: int) -> Iterator[None]:
    """Say which negative a problem is with, if its index is beyond that of so many other images."""
    try:
        yield
    except Problem as problem:
        index = problem.extra.get("index", -1)
        if index >= images:
            problem.detail += f"; it is negative {index - images}, counted from 0"
        raise


def check_image_count(images: Sequence[bytes], settings: Settings) -> None:
    """Check that a request holds images, and not too many. Raises `Problem` 422."""
    if not images:
        raise Problem(422, "no images: send at least one in the field 'images' (JSON: 'support' or 'images')")
    if len(images) > settings.max_images:
        raise Problem(422, f"{len(images)} images, but one request may hold {settings.max_images}")


def check_answer(images: int, classes: int) -> None:
    """Check the size of an answer that lists so many classes for each image. Raises `Problem` 422."""
    if images * classes > MOST_SCORES:
        raise Problem(
            422,
            f"{images} images with {classes} classes each would make an answer of {images * classes} scores, at most "
            f"{MOST_SCORES} are allowed: ask for top_k={MOST_SCORES // images} or less, or about fewer images",
        )


def most_header_bytes(settings: Settings) -> int:
    """The largest header of a task's exported head: its reports, and labels of characters that are all escaped."""
    return 2**16 + settings.max_ways * (14 * settings.max_label_length + 16)


def check_lifetime(options: Lifetime, settings: Settings) -> Lifetime:
    """Check a task's name and time to live, and return them with the name spelled. Raises `Problem` 422."""
    if options.ttl_seconds is not None and options.ttl_seconds > settings.max_ttl_seconds:
        raise Problem(422, f"ttl_seconds may be at most {settings.max_ttl_seconds}")
    if options.name is None:
        return options
    return options.model_copy(update={"name": spell(options.name, "name", settings.max_label_length)})
