"""Large images, which take a core for long, leave one to others' smaller images."""

import asyncio
import multiprocessing
from collections.abc import Callable

import pytest

from app import shared_state as module
from app.inference.decoding import ImageDecoder
from app.problems import Problem
from app.settings import Settings
from app.shared_state import SharedState
from model.images.reader import DrawingReader
from tests.helpers.drawn import png
from tests.helpers.hostile_files import bare_png

fork = multiprocessing.get_context("fork")
BLANK = bare_png(3000, 3000, b"\0" * 3001 * 3000)

StatusIn = Callable[[SharedState, int, float], int]


@pytest.fixture
def status_in(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> StatusIn:
    """Have a worker of this number decode a large blank image within so many seconds; the status of its refusal."""
    monkeypatch.setattr(module, "SMALLER_SECONDS", 600.0)

    def status_in(shared_state: SharedState, worker: int, seconds: float) -> int:
        ours, theirs = fork.Pipe()

        def work() -> None:
            shared_state.join(worker)
            decoder = ImageDecoder(settings.model_copy(update={"decode_deadline": seconds}), shared_state)
            with pytest.raises(Problem) as refused:
                asyncio.run(decoder.decode([BLANK], DrawingReader(28)))
            theirs.send(refused.value.status)

        process = fork.Process(target=work)
        process.start()
        try:
            return int(ours.recv())
        finally:
            process.kill()
            process.join()

    return status_in


@pytest.mark.parametrize(("workers", "at_once"), [(2, 1), (3, 2)])
@pytest.mark.parametrize("smaller", [[png("tee")], [png("tee")] * 30], ids=["on the loop", "in threads"])
def test_beside_smaller_ones_one_fewer_are_decoded_at_once_than_there_are_workers(
    workers: int, at_once: int, smaller: list[bytes], status_in: StatusIn, settings: Settings
) -> None:
    shared_state = SharedState(workers)
    asyncio.run(ImageDecoder(settings, shared_state).decode(smaller, DrawingReader(28)))
    with shared_state.leaving_a_core():
        for worker in range(1, at_once):
            assert status_in(shared_state, worker, 60.0) == 422  # shows no drawing
        assert status_in(shared_state, at_once, 0.2) == 503  # its turn did not come
    assert status_in(shared_state, at_once, 60.0) == 422


def test_large_ones_alone_have_all_cores(status_in: StatusIn) -> None:
    shared_state = SharedState(2)
    with shared_state.leaving_a_core():
        assert status_in(shared_state, 1, 60.0) == 422


def test_a_worker_that_was_killed_holds_no_place(status_in: StatusIn) -> None:
    shared_state = SharedState(2)
    shared_state.smaller_image_came()
    ours, theirs = fork.Pipe()

    def hold() -> None:
        shared_state.join(1)
        with shared_state.leaving_a_core():
            theirs.send("held")
            theirs.recv()

    process = fork.Process(target=hold)
    process.start()
    assert ours.recv() == "held"
    assert status_in(shared_state, 0, 0.2) == 503
    process.kill()
    process.join()
    assert status_in(shared_state, 0, 60.0) == 422
