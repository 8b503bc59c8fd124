"""Requests for benchmarks: drawings of Omniglot's size and kind, made by code."""

from functools import cache

from bench.latency import BOUNDARY, multipart
from bench.load import request
from tests.helpers.drawn import CHARACTERS, canvas, encoded, shaky

NAMES = list(CHARACTERS)[:5]


@cache
def picture(name: str, hand: int) -> bytes:
    """A 1-bit PNG of 105x105, as Omniglot's are."""
    return encoded(canvas(shaky(CHARACTERS[name], hand), 105, 3, ink=0, paper=1, mode="1"))


def support(hand: int, names: list[str] | None = None, shots: int = 1) -> tuple[list[bytes], list[str]]:
    """Pictures and labels of a task; more classes than there are characters are the same ones under other names."""
    names = names or NAMES
    given = [
        (picture(list(CHARACTERS)[n % len(CHARACTERS)], hand + 100 * shot + n // len(CHARACTERS)), name)
        for n, name in enumerate(names)
        for shot in range(shots)
    ]
    return [image for image, _ in given], [label for _, label in given]


def creation(hand: int, ways: int = 5, shots: int = 1) -> bytes:
    names = NAMES if ways == 5 else [f"class {n}" for n in range(ways)]
    return request("/tasks", multipart(*support(hand, names, shots)), BOUNDARY)


def prediction(task_id: str, hand: int) -> bytes:
    """One drawing of a class, by a hand that drew no support set."""
    return request(f"/tasks/{task_id}/predict", multipart([picture(NAMES[hand % 5], 1000 + hand)], []), BOUNDARY)


def litserve_prediction(task: int, hand: int) -> bytes:
    """The same drawing as `bench.peer_litserve` takes it."""
    form = multipart([picture(NAMES[hand % 5], 1000 + hand)], [])
    end = f"--{BOUNDARY}--\r\n".encode()
    field = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="task"\r\n\r\n{task}\r\n'.encode()
    return request("/predict", form.removesuffix(end) + field + end, BOUNDARY)
