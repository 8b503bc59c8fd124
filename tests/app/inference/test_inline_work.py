"""What the batcher promises of quick work, which the event loop does itself."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from app.inference.batcher import INLINE_SECONDS, INLINE_SECONDS_WHEN_IDLE, LOOP_SLICE, Batcher
from app.inference.work import Decode, Result, Work
from app.problems import Problem
from tests.helpers.device import Device, run, work


def by_images(each: Work) -> float:
    """Estimate the time of a work: one image is quick, several are middling, ten or more are slow."""
    images = 0 if isinstance(each, Decode) else len(each.images)
    return {0: 0.0, 1: INLINE_SECONDS}.get(images, INLINE_SECONDS_WHEN_IDLE if images < 10 else 1.0)


class ThreadRecordingDevice(Device):
    """A device that records which threads run it, and whose gate holds up large work only."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[str] = []

    def run(self, batch: list[Work]) -> list[Result]:
        self.threads.append(threading.current_thread().name)
        if all(isinstance(each, Decode) or len(each.images) < 10 for each in batch):
            self.batches.append(batch)
            if any(each is bad for each in batch for bad in self.guilty):
                raise RuntimeError("out of order")
            return list(batch)  # type: ignore[arg-type]
        return super().run(batch)


def run_inline(scenario: Callable[[Batcher, ThreadRecordingDevice], Coroutine[Any, Any, None]], **limits: Any) -> None:
    run(scenario, device=ThreadRecordingDevice(), seconds=by_images, **limits)  # type: ignore[arg-type]


def test_the_loop_runs_quick_work_in_shared_batches() -> None:
    async def scenario(batcher: Batcher, device: ThreadRecordingDevice) -> None:
        most = round(LOOP_SLICE / INLINE_SECONDS)
        items = [work() for _ in range(2 * most + 5)]
        assert await asyncio.gather(*[batcher.submit(item) for item in items]) == items
        assert [len(batch) for batch in device.batches] == [most, most, 5]  # others had a turn between
        assert set(device.threads) == {"MainThread"}
        assert batcher.waiting_images == 0

    run_inline(scenario)


def test_a_request_still_being_read_shares_the_pass_of_those_before_it() -> None:
    async def scenario(batcher: Batcher, device: ThreadRecordingDevice) -> None:
        async def after(steps: int) -> Result:
            for _ in range(steps):  # of the loop, as reading a request takes
                await asyncio.sleep(0)
            return await batcher.submit(work())

        await asyncio.gather(*map(after, (0, 0, 1, 2)))
        assert [len(batch) for batch in device.batches] == [4]
        await batcher.submit(work())  # alone, it waits for nobody
        assert len(device.batches) == 2

    run_inline(scenario)


def test_quick_work_never_waits_behind_a_large_piece() -> None:
    async def scenario(batcher: Batcher, device: ThreadRecordingDevice) -> None:
        device.gate.clear()
        large = asyncio.create_task(batcher.submit(work(20)))
        assert await asyncio.to_thread(device.entered.wait, 10)
        item, decoding = work(), Decode(np.zeros((2, 2), dtype=np.float32))
        assert await asyncio.gather(batcher.submit(item), batcher.submit(decoding)) == [item, decoding]
        assert not large.done()
        device.gate.set()
        await large
        assert device.threads == ["device", "MainThread"]

    run_inline(scenario)


def test_the_loop_runs_a_middling_piece_only_if_there_is_nothing_else() -> None:
    async def scenario(batcher: Batcher, device: ThreadRecordingDevice) -> None:
        await batcher.submit(work(5))
        assert device.threads == ["MainThread"]
        items = [work(), work(5)]
        assert await asyncio.gather(*[batcher.submit(item) for item in items]) == items
        assert sorted(device.threads) == ["MainThread", "MainThread", "device"]

    run_inline(scenario)


def test_of_quick_work_only_the_guilty_fails_and_cancelled_work_is_not_run() -> None:
    async def scenario(batcher: Batcher, device: ThreadRecordingDevice) -> None:
        items = [work() for _ in range(4)]
        device.guilty = [items[1]]
        waiting = [asyncio.create_task(batcher.submit(item)) for item in items]
        asyncio.get_running_loop().call_soon(waiting[3].cancel)  # after they queued, before their turn
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert (results[0], results[2]) == (items[0], items[2])
        assert isinstance(results[1], Problem)
        assert results[1].status == 500
        assert not any(items[3] is each for batch in device.batches for each in batch)

    run_inline(scenario)


def test_quick_work_that_comes_too_late_or_is_given_up_is_refused() -> None:
    async def late(batcher: Batcher, device: ThreadRecordingDevice) -> None:
        with pytest.raises(Problem, match="not free within") as refused:
            await batcher.submit(work())
        assert (refused.value.status, device.batches) == (503, [])

    async def given_up(batcher: Batcher, device: ThreadRecordingDevice) -> None:
        waiting = asyncio.create_task(batcher.submit(work()))
        asyncio.get_running_loop().call_soon(batcher.abandon, "the device hangs")
        with pytest.raises(Problem, match="the device hangs"):
            await waiting
        assert device.batches == []

    run_inline(late, timeout=-1.0)
    run_inline(given_up)
