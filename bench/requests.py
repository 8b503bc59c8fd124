"""Requests for benchmarks, whole: drawings of Omniglot's size and kind, made by code."""

from functools import cache

from app.cli.load import form_request, multipart
from tests.helpers.drawn import CHARACTERS, canvas, encoded, shaky

NAMES = list(CHARACTERS)[:5]


@cache
def picture(name: str, hand: int) -> bytes:
    """A character drawn by one of many hands: a 1-bit PNG of 105x105, as Omniglot's are."""
    return encoded(canvas(shaky(CHARACTERS[name], hand), 105, 3, ink=0, paper=1, mode="1"))


def query(hand: int) -> bytes:
    """A drawing by a hand that drew no support set; its class is `NAMES[hand % 5]`."""
    return picture(NAMES[hand % 5], 1000 + hand)


def creation(hand: int) -> bytes:
    """A request for a 5-way 1-shot task."""
    return form_request("/tasks", multipart([picture(name, hand) for name in NAMES], NAMES))


def prediction(task_id: str, hand: int, images: int = 1) -> bytes:
    """A request for predictions of a task."""
    form = multipart([query(hand + 5 * n) for n in range(images)])
    return form_request(f"/tasks/{task_id}/predict", form)


def litserve_prediction(task: int, hand: int) -> bytes:
    """The same drawing as `bench.peer_litserve` takes it."""
    return form_request("/predict", multipart([query(hand)], options={"task": str(task)}))
