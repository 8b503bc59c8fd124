"""A device process's server in a thread of the test, with a model that the test controls."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import numpy as np

from app.inference.models import Models
from app.inference.remote.board import Board
from app.inference.remote.server import DeviceServer
from app.inference.work import Decode, Predict, Predicted, Result, Work
from app.problems import Problem
from model.config import LEOConfig

CONFIG = LEOConfig(resolution=28, latent_dim=64)


class FakeModels:
    """Answers a prediction with its images' first pixels, over 1,000. It waits while `gate` is closed."""

    def __init__(self) -> None:
        self.batches: list[list[Work]] = []
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()
        self.versions, self.on_disk = {""}, set[str]()  # of models that are loaded, and that a reload would find
        self.fail: Callable[[list[Work]], object] = lambda batch: None  # raises where the test wants it

    def knows(self, work: Work) -> bool:
        return work.model_version in self.versions

    def reload(self) -> None:
        self.versions |= self.on_disk

    def begin(self, batch: list[Work]) -> Callable[[], list[Result | Problem]]:
        self.batches.append(batch)
        self.fail(batch)
        answers = [answer_to(work) if self.knows(work) else Problem(409, "unloaded") for work in batch]

        def results() -> list[Result | Problem]:
            self.entered.set()
            assert self.gate.wait(20)
            return answers

        return results


def answer_to(work: Work) -> Result:
    """What the fake model answers."""
    assert isinstance(work, Predict | Decode)
    pixels = work.images[:, 0, 0] if isinstance(work, Predict) else np.zeros(1)
    return Predicted(np.repeat(pixels[:, None] / np.float32(1000), len(work.codes), axis=1).astype(np.float32), None)


def question(pixel: int, images: int = 1, version: str = "", ways: int = 3) -> Predict:
    """A prediction whose answer is known."""
    asked = np.full((images, 28, 28), pixel, dtype=np.uint8)
    return Predict(asked, None, np.zeros((ways, 64), dtype=np.float32), version)


class ServerThread:
    """Serves device 0 of a board until it is closed, when its workers lose their connections."""

    def __init__(self, board: Board, models: FakeModels, number: int = 0) -> None:
        self.server = DeviceServer(board.listeners[number], cast(Models, models), models.reload, board, number)
        self._stopped = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stopped:
            self.server.turn()

    def close(self) -> None:
        self._stopped = True
        self._thread.join(20)
        assert not self._thread.is_alive()
        self.server.close()


@contextlib.contextmanager
def new_board(folder: Path, devices: int = 1) -> Iterator[Board]:
    """A board whose sockets are in the folder."""
    board = Board(["cpu"] * devices, folder)
    try:
        yield board
    finally:
        board.close()
