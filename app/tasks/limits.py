"""What a task may hold: classes, examples, labels, a lifetime."""

from collections.abc import Sequence

from app.problems import Problem
from app.settings import Settings
from app.tasks.options import TaskLifetime


def check_lifetime(options: TaskLifetime, settings: Settings) -> None:
    """Raises `Problem` for a name or time to live that may not be."""
    if options.name is not None:
        check_text(options.name, "name", settings)
    if options.ttl_seconds is not None and options.ttl_seconds > settings.max_ttl_seconds:
        raise Problem(422, f"ttl_seconds may be at most {settings.max_ttl_seconds}")


def check_count(images: Sequence[bytes], settings: Settings) -> None:
    if not images:
        raise Problem(422, "no images: send at least one in the field 'images' (JSON: 'support' or 'images')")
    if len(images) > settings.max_images:
        raise Problem(422, f"{len(images)} images, but one request may hold {settings.max_images}")


def check_ways(labels: Sequence[str], settings: Settings) -> None:
    ways = len(set(labels))
    if ways < 2:
        raise Problem(422, f"a task needs at least 2 classes, this one has {ways}")
    if ways > settings.max_ways:
        raise Problem(422, f"{ways} classes, but a task may have {settings.max_ways}")


def check_text(text: str, what: str, settings: Settings) -> None:
    if not text.strip():
        raise Problem(422, f"a {what} is empty")
    if len(text) > settings.max_label_length:
        raise Problem(422, f"a {what} has {len(text)} characters, at most {settings.max_label_length} are allowed")
    if not text.isprintable():
        raise Problem(422, f"a {what} holds control characters")
