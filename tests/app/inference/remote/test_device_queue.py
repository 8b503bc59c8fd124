"""Workers and the device process: answers, batches across workers, leavers, deaths, and what is left of them."""

import asyncio
import contextlib
import gc
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.inference.remote import device_queue, server
from app.inference.remote.board import Board
from app.inference.remote.device_queue import DeviceQueue
from app.inference.remote.protocol import HELLO, PREDICT, READY, Request, work_to_arrays
from app.inference.remote.slots import Piece, Slots, write
from app.inference.work import Predict, Predicted, Result, Work
from app.problems import Problem
from tests.helpers.device_server import CONFIG, FakeModels, ServerThread, answer_to, new_board, question
from tests.helpers.waiting import wait_in_loop_until, wait_until

Scenario = Callable[[DeviceQueue, FakeModels], Coroutine[Any, Any, None]]


@contextlib.asynccontextmanager
async def connected(board: Board, **limits: Any) -> AsyncIterator[DeviceQueue]:
    defaults: dict[str, Any] = {"max_images": 5000, "timeout": 20, "slots_bytes": 8 * 2**20}
    queue = DeviceQueue(board, lambda _: CONFIG, **defaults | limits)
    queue.start()
    try:
        yield queue
    finally:
        queue.close()
        await asyncio.sleep(0)


def run(folder: Path, scenario: Scenario, **limits: Any) -> None:
    """Run a scenario with a worker's queue and a device process's server."""
    with new_board(folder) as board:
        run_on(board, scenario, FakeModels(), **limits)


def run_on(board: Board, scenario: Scenario, models: FakeModels, **limits: Any) -> None:
    thread = ServerThread(board, models)

    async def bounded() -> None:
        async with asyncio.timeout(60), connected(board, **limits) as queue:
            await queue.wait_until_ready()
            await scenario(queue, models)

    try:
        asyncio.run(bounded())
    finally:
        models.gate.set()
        thread.close()


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    with new_board(tmp_path) as made:
        yield made


def check(result: Result, work: Work) -> None:
    assert isinstance(result, Predicted)
    expected = answer_to(work)
    assert isinstance(expected, Predicted)
    np.testing.assert_array_equal(result.probabilities, expected.probabilities)


def slots_of(queue: DeviceQueue) -> int:
    return sum(link.slots.taken for link in queue._links)


def test_each_gets_its_own_answer_and_gives_its_slots_back(tmp_path: Path) -> None:
    async def scenario(queue: DeviceQueue, models: FakeModels) -> None:
        works = [question(n % 256, images=1 + n % 7, ways=2 + n % 5) for n in range(300)]
        for work, result in zip(works, await asyncio.gather(*map(queue.submit, works)), strict=True):
            check(result, work)
        assert slots_of(queue) == 0
        assert queue.waiting_images == 0
        assert queue.last_success is not None
        assert len(models.batches) < len(works)

    run(tmp_path, scenario)


def test_work_that_cannot_be_written_fails_alone(tmp_path: Path) -> None:
    async def scenario(queue: DeviceQueue, models: FakeModels) -> None:
        models.gate.clear()
        before = asyncio.create_task(queue.submit(question(1)))
        bad = question(2)
        assert isinstance(bad, Predict)
        strange = replace(bad, codes=bad.codes.astype(np.complex64))  # a type that shared memory has no number for
        with pytest.raises(Problem) as caught:
            await queue.submit(strange)
        assert caught.value.status == 500
        after = asyncio.create_task(queue.submit(question(3)))
        models.gate.set()
        check(await before, question(1))
        check(await after, question(3))
        assert slots_of(queue) == 0

    run(tmp_path, scenario)


def test_requests_of_several_workers_share_a_batch(board: Board) -> None:
    models = FakeModels()
    thread = ServerThread(board, models)

    async def scenario() -> None:
        async with asyncio.timeout(30), connected(board) as one, connected(board) as other:
            await asyncio.gather(one.wait_until_ready(), other.wait_until_ready())
            models.gate.clear()
            first = asyncio.create_task(one.submit(question(1)))
            await asyncio.to_thread(models.entered.wait, 20)
            others = [asyncio.create_task(queue.submit(question(n))) for n, queue in enumerate((one, other) * 3)]
            # They have reached the device process once it would be the next to answer them.
            await asyncio.sleep(0)
            models.gate.set()
            for task in (first, *others):
                await task
        assert max(map(len, models.batches)) > 1

    try:
        asyncio.run(scenario())
    finally:
        models.gate.set()
        thread.close()


def test_many_images_are_classified_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_queue, "BATCH_IMAGES", 4)

    async def scenario(queue: DeviceQueue, models: FakeModels) -> None:
        work = question(9, images=19)
        check(await queue.submit(work), work)
        assert [len(each.images) for batch in models.batches for each in batch if isinstance(each, Predict)] == [
            4,
            4,
            4,
            4,
            3,
        ]

    run(tmp_path, scenario)


def test_what_finds_no_room_waits_for_it(tmp_path: Path) -> None:
    async def scenario(queue: DeviceQueue, models: FakeModels) -> None:
        works = [question(n, images=200) for n in range(12)]  # each takes a seventh of the memory
        for work, result in zip(works, await asyncio.gather(*map(queue.submit, works)), strict=True):
            check(result, work)
        with pytest.raises(Problem, match="more than this service computes at once") as refused:
            await queue.submit(question(0, ways=400_000))
        assert refused.value.status == 413
        check(await queue.submit(works[0]), works[0])
        assert slots_of(queue) == 0

    run(tmp_path, scenario, slots_bytes=2**20)


def test_a_full_queue_refuses_at_once(tmp_path: Path) -> None:
    async def scenario(queue: DeviceQueue, models: FakeModels) -> None:
        models.gate.clear()
        held = [asyncio.create_task(queue.submit(question(1, images=5))) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Problem) as refused:
            await queue.submit(question(2, images=1))
        assert refused.value.status == 503
        models.gate.set()
        await asyncio.gather(*held)
        check(await queue.submit(question(2, images=50)), question(2, images=50))  # more than fits, but nothing waits

    run(tmp_path, scenario, max_images=10)


def test_work_that_waits_too_long_is_given_up(tmp_path: Path) -> None:
    async def scenario(queue: DeviceQueue, models: FakeModels) -> None:
        models.gate.clear()
        with pytest.raises(Problem, match="not free within") as late:
            await queue.submit(question(1))
        assert late.value.status == 503
        models.gate.set()
        await wait_in_loop_until(lambda: slots_of(queue) == 0)

    run(tmp_path, scenario, timeout=0.3)


def test_a_thousand_leavers_leave_no_slot_taken_and_cost_the_device_nothing(tmp_path: Path) -> None:
    async def scenario(queue: DeviceQueue, models: FakeModels) -> None:
        models.gate.clear()
        first = asyncio.create_task(queue.submit(question(1)))
        await asyncio.to_thread(models.entered.wait, 20)
        for round_ in range(10):
            leavers = [asyncio.create_task(queue.submit(question(n % 256, images=1 + n % 3))) for n in range(100)]
            await asyncio.sleep(0.001 * (round_ % 2))
            for leaver in leavers:
                leaver.cancel()
            await asyncio.gather(*leavers, return_exceptions=True)
        models.gate.set()
        check(await first, question(1))
        await wait_in_loop_until(lambda: slots_of(queue) == 0)
        assert queue.waiting_images == 0
        # At most those that were taken in one batch before they could be cancelled were computed in vain.
        assert sum(map(len, models.batches)) < 500
        check(await queue.submit(question(7)), question(7))

    run(tmp_path, scenario)


def test_a_device_process_that_dies_is_retried_once_at_the_next(board: Board) -> None:
    killed = [FakeModels() for _ in range(2)]
    for models in killed:
        models.gate.clear()
    last = FakeModels()

    async def scenario() -> None:
        async with asyncio.timeout(60), connected(board) as queue:
            thread = ServerThread(board, killed[0])
            await queue.wait_until_ready()
            doomed = [asyncio.create_task(queue.submit(question(n))) for n in range(20)]
            assert await asyncio.to_thread(killed[0].entered.wait, 20)
            end(thread, killed[0])
            await wait_in_loop_until(lambda: queue.unavailable is not None)
            thread = ServerThread(board, killed[1])
            assert await asyncio.to_thread(killed[1].entered.wait, 20)
            late = [asyncio.create_task(queue.submit(question(n))) for n in range(20)]
            await asyncio.sleep(0.01)
            end(thread, killed[1])
            for task in doomed:
                with pytest.raises(Problem, match="died twice") as failed:
                    await task
                assert failed.value.status == 503
            thread = ServerThread(board, last)
            for n, task in enumerate(late):  # these have met one death only
                check(await task, question(n))
            assert slots_of(queue) == 0
            thread.close()

    asyncio.run(scenario())


def end(thread: ServerThread, models: FakeModels) -> None:
    """End a server as a kill would: nobody gets an answer any more."""
    for worker in list(thread.server.workers):
        worker.connection.shutdown(socket.SHUT_RDWR)
    models.gate.set()
    thread.close()


def test_a_thousand_dead_workers_leave_nothing_behind(board: Board) -> None:
    models = FakeModels()
    thread = ServerThread(board, models)

    def die(number: int) -> None:
        """Connect as a worker, ask, and end: before the answer, or even before it is asked."""
        slots = Slots(2**16)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.connect(str(board.paths[0]))
            if number % 5:
                socket.send_fds(connection, [HELLO], [slots.descriptor])
            if number % 5 > 1:
                assert connection.recv(64) == READY
                for n in range(number % 5):
                    piece = slots.take(1)
                    assert piece is not None
                    write(slots.view(piece), work_to_arrays(question(number % 256))[1])
                    connection.send(Request(PREDICT, n, piece, "").pack())
            if number % 7 == 0:
                connection.send(b"what?")
            if number % 11 == 0:
                with contextlib.suppress(OSError):
                    connection.send(Request(PREDICT, 9, Piece(2**40, 2**20), "").pack())
        slots.close()

    def mapped() -> int:
        models.batches.clear()  # whose images are in the memory of their workers
        gc.collect()
        return Path("/proc/self/maps").read_text().count("leo-slots")

    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    try:
        die(2)
        wait_until(lambda: not thread.server.workers and not mapped())
        before = opened()
        for number in range(1000):
            die(number)
        wait_until(lambda: not thread.server.workers)
        wait_until(lambda: not mapped() and opened() <= before)
        assert thread.server.images == 0

        async def still_serves() -> None:
            async with asyncio.timeout(20), connected(board) as queue:
                check(await queue.submit(question(5)), question(5))

        asyncio.run(still_serves())
    finally:
        thread.close()


def test_the_least_busy_device_is_asked(tmp_path: Path) -> None:
    with new_board(tmp_path, devices=2) as board:
        ask_the_least_busy(board)


def ask_the_least_busy(board: Board) -> None:
    models = [FakeModels(), FakeModels()]
    threads = [ServerThread(board, each, number) for number, each in enumerate(models)]

    async def scenario() -> None:
        async with asyncio.timeout(60), connected(board) as queue:
            await wait_in_loop_until(lambda: all(link.is_ready for link in queue._links))
            models[0].gate.clear()
            held = asyncio.create_task(queue.submit(question(1, images=20)))
            assert await asyncio.to_thread(models[0].entered.wait, 20)
            for n in range(10):
                check(await queue.submit(question(n)), question(n))
            assert len(models[0].batches) == 1
            models[0].gate.set()
            await held
            models[1].gate.clear()
            end(threads[1], models[1])  # and where one is lost, the other is
            for n in range(10):
                check(await queue.submit(question(n)), question(n))

    try:
        asyncio.run(scenario())
    finally:
        for each in models:
            each.gate.set()
        threads[0].close()


def test_one_bad_request_fails_alone(tmp_path: Path) -> None:
    async def scenario(queue: DeviceQueue, models: FakeModels) -> None:
        def fail(batch: list[Work]) -> None:
            if any(isinstance(work, Predict) and work.images[0, 0, 0] == 13 for work in batch):
                raise RuntimeError("unlucky")

        models.fail = fail
        works = [question(n) for n in range(11, 16)]
        results = await asyncio.gather(*map(queue.submit, works), return_exceptions=True)
        for work, result in zip(works, results, strict=True):
            if work.images[0, 0, 0] == 13:
                assert isinstance(result, Problem)
                assert result.status == 500
            else:
                assert isinstance(result, Predicted)
                check(result, work)
        assert queue.failed == 1

    run(tmp_path, scenario)


def test_where_memory_runs_out_batches_are_halved_and_then_requests(tmp_path: Path) -> None:
    async def scenario(queue: DeviceQueue, models: FakeModels) -> None:
        most = 3

        def fail(batch: list[Work]) -> None:
            if sum(len(work.images) for work in batch if isinstance(work, Predict)) > most:
                raise torch.OutOfMemoryError("CUDA out of memory")

        models.fail = fail
        works = [question(n, images=1 + n % 2) for n in range(9)] + [question(99, images=20)]
        for work, result in zip(works, await asyncio.gather(*map(queue.submit, works)), strict=True):
            check(result, work)
        most = 0
        with pytest.raises(Problem, match="too little memory for 1 images") as failed:
            await queue.submit(question(1, images=4))
        assert failed.value.status == 503
        assert slots_of(queue) == 0

    run(tmp_path, scenario)


def test_a_model_that_is_not_loaded_yet_is_loaded_and_a_strange_one_refused(tmp_path: Path) -> None:
    async def scenario(queue: DeviceQueue, models: FakeModels) -> None:
        models.on_disk = {"new"}
        works = [question(n, version="new") for n in range(5)]
        for work, result in zip(works, await asyncio.gather(*map(queue.submit, works)), strict=True):
            check(result, work)
        with pytest.raises(Problem) as refused:
            await queue.submit(question(1, version="strange"))
        assert refused.value.status == 409
        check(await queue.submit(question(3)), question(3))

    run(tmp_path, scenario)


def test_a_lost_device_ends_its_process() -> None:
    assert server.is_device_lost(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not server.is_device_lost(RuntimeError("CUDA error: out of memory"))
    assert not server.is_device_lost(RuntimeError("shapes differ"))
