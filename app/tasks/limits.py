"""What a task may hold, whatever door it comes in by: classes, examples, labels, a name, a lifetime."""

from collections.abc import Mapping, Sequence

from app.problems import Problem
from app.settings import Settings
from app.tasks.options import TaskLifetime

FEWEST_WAYS = 2


def check_shots(shots: Mapping[str, int], settings: Settings) -> None:
    """Check a task's classes and how many examples each has. Raises `Problem` 422 saying what to change."""
    for label in shots:
        check_text(label, "label", settings)
    ways, examples = len(shots), sum(shots.values())
    if ways < FEWEST_WAYS:
        raise Problem(422, f"a task needs at least {FEWEST_WAYS} classes, this one has {ways}")
    if ways > settings.max_ways:
        raise Problem(422, f"{ways} classes, but a task may have {settings.max_ways}")
    if examples > settings.max_images:
        raise Problem(422, f"{examples} examples in all, but a task may have {settings.max_images}")


def check_image_count(images: Sequence[bytes], settings: Settings) -> None:
    """Check that a request holds images, and not too many. Raises `Problem` 422."""
    if not images:
        raise Problem(422, "no images: send at least one in the field 'images' (JSON: 'support' or 'images')")
    if len(images) > settings.max_images:
        raise Problem(422, f"{len(images)} images, but one request may hold {settings.max_images}")


def check_lifetime(options: TaskLifetime, settings: Settings) -> None:
    """Check a task's name and time to live. Raises `Problem` 422."""
    if options.name is not None:
        check_text(options.name, "name", settings)
    if options.ttl_seconds is not None and options.ttl_seconds > settings.max_ttl_seconds:
        raise Problem(422, f"ttl_seconds may be at most {settings.max_ttl_seconds}")


def check_text(text: str, what: str, settings: Settings) -> None:
    """Check a label or a name. Raises `Problem` 422."""
    if not text.strip():
        raise Problem(422, f"a {what} is empty")
    if len(text) > settings.max_label_length:
        raise Problem(422, f"a {what} has {len(text)} characters, at most {settings.max_label_length} are allowed")
    if not text.isprintable():
        raise Problem(422, f"a {what} holds control characters")
