"""The queue's promises, with a device that the test holds up and lets go."""

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
import torch

from app.inference.batcher import INLINE_SECONDS, INLINE_SECONDS_WHEN_IDLE, LOOP_SLICE, Batcher, OutOfMemory
from app.inference.work import Decode, Predict, Result, Work
from app.problems import Problem


class Device:
    """Answers each piece of work with itself; fails on those in `guilty`; waits while `gate` is closed."""

    def __init__(self) -> None:
        self.batches: list[list[Work]] = []
        self.guilty: list[Work] = []
        self.most, self.most_images = 1000, 1000  # more than this in a batch is too much for its memory
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.gate.set()

    def run(self, batch: list[Work]) -> list[Result]:
        self.batches.append(batch)
        self.entered.set()
        assert self.gate.wait(10)
        images = sum(len(work.images) for work in batch if not isinstance(work, Decode))
        if len(batch) > self.most or images > self.most_images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if any(work is bad for work in batch for bad in self.guilty):
            raise RuntimeError("out of order")
        return list(batch)  # type: ignore[arg-type]


def work(images: int = 1) -> Work:
    return Predict(np.zeros((images, 2, 2), dtype=np.uint8), None, np.zeros((2, 2), dtype=np.float32))


def run(
    scenario: Callable[[Batcher, Device], Coroutine[Any, Any, None]], device: Device | None = None, **limits: Any
) -> None:
    device = device or Device()
    batcher = Batcher(device.run, **{"max_images": 100, "timeout": 10} | limits)
    batcher.start()

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario(batcher, device)

    try:
        asyncio.run(bounded())
    finally:
        device.gate.set()
        batcher.close()


async def occupy(batcher: Batcher, device: Device) -> "asyncio.Task[Result]":
    """Give the device something to do behind a closed gate."""
    device.entered.clear()
    device.gate.clear()
    task = asyncio.create_task(batcher.submit(work()))
    assert await asyncio.to_thread(device.entered.wait, 10)
    return task


def test_work_that_queues_while_the_device_is_busy_shares_one_batch() -> None:
    async def scenario(batcher: Batcher, device: Device) -> None:
        first = await occupy(batcher, device)
        items = [work(n) for n in range(1, 6)]
        waiting = [asyncio.create_task(batcher.submit(item)) for item in items]
        await asyncio.sleep(0)
        device.gate.set()
        assert await asyncio.gather(*waiting) == items  # everyone gets their own result
        await first
        assert [len(batch) for batch in device.batches] == [1, 5]

    run(scenario)


def test_an_idle_device_starts_at_once() -> None:
    async def scenario(batcher: Batcher, device: Device) -> None:
        for _ in range(3):
            await batcher.submit(work())
        assert [len(batch) for batch in device.batches] == [1, 1, 1]

    run(scenario)


def test_a_full_queue_refuses_at_once_with_retry_after() -> None:
    async def scenario(batcher: Batcher, device: Device) -> None:
        first = await occupy(batcher, device)
        waiting = asyncio.create_task(batcher.submit(work(8)))
        await asyncio.sleep(0)
        with pytest.raises(Problem) as refused:
            await batcher.submit(work(3))
        assert (refused.value.status, refused.value.retry_after) == (503, 1)
        fits = asyncio.create_task(batcher.submit(work(2)))
        await asyncio.sleep(0)
        device.gate.set()
        await asyncio.gather(first, waiting, fits)
        await batcher.submit(work(50))  # more than the queue holds, but nothing else waits

    run(scenario, max_images=10)


def test_work_that_missed_its_deadline_is_refused_and_not_run() -> None:
    async def scenario(batcher: Batcher, device: Device) -> None:
        first = await occupy(batcher, device)
        late = work()
        results = await asyncio.gather(batcher.submit(late), return_exceptions=True)
        assert isinstance(results[0], Problem)
        assert results[0].status == 503
        device.gate.set()
        await asyncio.gather(first, return_exceptions=True)
        await batcher.submit(work())
        assert not any(late is item for batch in device.batches for item in batch)

    run(scenario, timeout=0.2)


def test_work_whose_client_has_left_is_not_run() -> None:
    async def scenario(batcher: Batcher, device: Device) -> None:
        first = await occupy(batcher, device)
        gone = work()
        leaving = asyncio.create_task(batcher.submit(gone))
        staying = asyncio.create_task(batcher.submit(work()))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        device.gate.set()
        await asyncio.gather(first, staying)
        assert not any(gone is item for batch in device.batches for item in batch)

    run(scenario)


def test_only_the_guilty_request_fails() -> None:
    async def scenario(batcher: Batcher, device: Device) -> None:
        first = await occupy(batcher, device)
        items = [work(), work(), work()]
        device.guilty = [items[1]]
        waiting = [asyncio.create_task(batcher.submit(item)) for item in items]
        await asyncio.sleep(0)
        device.gate.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        await first
        assert results[0] is items[0]
        assert isinstance(results[1], Problem)
        assert results[1].status == 500
        assert results[2] is items[2]
        assert batcher.alive

    run(scenario)


def test_closing_finishes_what_was_accepted_and_takes_no_more() -> None:
    async def scenario(batcher: Batcher, device: Device) -> None:
        first = await occupy(batcher, device)
        waiting = asyncio.create_task(batcher.submit(Decode(np.zeros((2, 2), dtype=np.float32))))
        await asyncio.sleep(0)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await asyncio.sleep(0)
        device.gate.set()
        await asyncio.gather(first, waiting, closing)
        assert not batcher.alive
        with pytest.raises(Problem, match="stopping"):
            await batcher.submit(work())

    run(scenario)


def test_an_abandoned_device_ends_when_it_comes_back() -> None:
    async def scenario(batcher: Batcher, device: Device) -> None:
        first = await occupy(batcher, device)
        waiting = asyncio.create_task(batcher.submit(work()))
        await asyncio.sleep(0)
        batcher.abandon("the device hangs")
        for asked in (first, waiting):
            with pytest.raises(Problem, match="the device hangs"):
                await asked
        batcher.close(0)  # the service stops while it hangs
        device.gate.set()
        await asyncio.to_thread(batcher.close, 10)
        assert not batcher.alive
        assert len(device.batches) == 1

    run(scenario)


def test_out_of_memory_halves_the_batch_until_it_fits() -> None:
    async def scenario(batcher: Batcher, device: Device) -> None:
        first = await occupy(batcher, device)
        items = [work() for _ in range(7)]
        device.most = 2
        waiting = [asyncio.create_task(batcher.submit(item)) for item in items]
        await asyncio.sleep(0)
        device.gate.set()
        assert await asyncio.gather(*waiting) == items
        await first
        assert [len(batch) for batch in device.batches] == [1, 7, 3, 1, 2, 4, 2, 2]
        assert batcher.failed == 0

    run(scenario)


def test_one_request_too_large_for_the_memory_fails_alone() -> None:
    async def scenario(batcher: Batcher, device: Device) -> None:
        first = await occupy(batcher, device)
        items = [work(1), work(9), work(1)]
        device.most_images = 5
        waiting = [asyncio.create_task(batcher.submit(item)) for item in items]
        await asyncio.sleep(0)
        device.gate.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        await first
        assert (results[0], results[2]) == (items[0], items[2])
        assert isinstance(results[1], OutOfMemory)
        assert (results[1].status, results[1].retry_after) == (503, 1)

    run(scenario)


def test_a_batch_ends_with_the_entry_that_fills_it() -> None:
    async def scenario(batcher: Batcher, device: Device) -> None:
        first = await occupy(batcher, device)
        items = [work(1), work(50), work(1), work(1)]
        waiting = [asyncio.create_task(batcher.submit(item)) for item in items]
        await asyncio.sleep(0)
        device.gate.set()
        await asyncio.gather(first, *waiting)
        assert [len(batch) for batch in device.batches] == [1, 2, 2]  # nobody waits for more than one full batch

    run(scenario, batch_images=lambda: 10)


# -- work that the event loop does itself ------------------------------------------------------------------------------


def quick(images: int = 1) -> Work:
    return work(images)


def by_images(each: Work) -> float:
    """A single image is quick, several are so where there is nothing else, many never are."""
    images = 0 if isinstance(each, Decode) else len(each.images)
    return {0: 0.0, 1: INLINE_SECONDS}.get(images, INLINE_SECONDS_WHEN_IDLE if images < 10 else 1.0)


class Lanes(Device):
    """A device that notes who runs it, and whose gate holds up large pieces only."""

    def __init__(self) -> None:
        super().__init__()
        self.by: list[str] = []

    def run(self, batch: list[Work]) -> list[Result]:
        self.by.append(threading.current_thread().name)
        if all(isinstance(each, Decode) or len(each.images) < 10 for each in batch):
            self.batches.append(batch)
            if any(each is bad for each in batch for bad in self.guilty):
                raise RuntimeError("out of order")
            return list(batch)  # type: ignore[arg-type]
        return super().run(batch)


def run_lanes(scenario: Callable[[Batcher, Lanes], Coroutine[Any, Any, None]], **limits: Any) -> None:
    run(scenario, device=Lanes(), seconds=by_images, **limits)  # type: ignore[arg-type]


def test_the_loop_runs_quick_work_in_shared_batches() -> None:
    async def scenario(batcher: Batcher, device: Lanes) -> None:
        most = round(LOOP_SLICE / INLINE_SECONDS)
        items = [quick() for _ in range(2 * most + 5)]
        assert await asyncio.gather(*[batcher.submit(item) for item in items]) == items
        assert [len(batch) for batch in device.batches] == [most, most, 5]  # others had a turn between
        assert set(device.by) == {"MainThread"}
        assert batcher.waiting_images == 0

    run_lanes(scenario)


def test_a_request_still_being_read_shares_the_pass_of_those_before_it() -> None:
    async def scenario(batcher: Batcher, device: Lanes) -> None:
        async def after(steps: int) -> Result:
            for _ in range(steps):  # of the loop, as reading a request takes
                await asyncio.sleep(0)
            return await batcher.submit(quick())

        await asyncio.gather(*map(after, (0, 0, 1, 2)))
        assert [len(batch) for batch in device.batches] == [4]
        await batcher.submit(quick())  # alone, it waits for nobody
        assert len(device.batches) == 2

    run_lanes(scenario)


def test_quick_work_never_waits_behind_a_large_piece() -> None:
    async def scenario(batcher: Batcher, device: Lanes) -> None:
        device.gate.clear()
        large = asyncio.create_task(batcher.submit(work(50)))
        assert await asyncio.to_thread(device.entered.wait, 10)
        item, decoding = quick(), Decode(np.zeros((2, 2), dtype=np.float32))
        assert await asyncio.gather(batcher.submit(item), batcher.submit(decoding)) == [item, decoding]
        assert not large.done()
        device.gate.set()
        await large
        assert device.by == ["device", "MainThread"]

    run_lanes(scenario)


def test_the_loop_runs_a_middling_piece_only_if_there_is_nothing_else() -> None:
    async def scenario(batcher: Batcher, device: Lanes) -> None:
        await batcher.submit(work(5))
        assert device.by == ["MainThread"]
        items = [quick(), work(5)]
        assert await asyncio.gather(*[batcher.submit(item) for item in items]) == items
        assert sorted(device.by) == ["MainThread", "MainThread", "device"]

    run_lanes(scenario)


def test_of_quick_work_only_the_guilty_fails_and_cancelled_work_is_not_run() -> None:
    async def scenario(batcher: Batcher, device: Lanes) -> None:
        items = [quick() for _ in range(4)]
        device.guilty = [items[1]]
        waiting = [asyncio.create_task(batcher.submit(item)) for item in items]
        asyncio.get_running_loop().call_soon(waiting[3].cancel)  # after they queued, before their turn
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert (results[0], results[2]) == (items[0], items[2])
        assert isinstance(results[1], Problem)
        assert results[1].status == 500
        assert not any(items[3] is each for batch in device.batches for each in batch)

    run_lanes(scenario)


def test_quick_work_that_comes_too_late_or_is_given_up_is_refused() -> None:
    async def late(batcher: Batcher, device: Lanes) -> None:
        with pytest.raises(Problem, match="not free within") as refused:
            await batcher.submit(quick())
        assert (refused.value.status, device.batches) == (503, [])

    async def given_up(batcher: Batcher, device: Lanes) -> None:
        waiting = asyncio.create_task(batcher.submit(quick()))
        asyncio.get_running_loop().call_soon(batcher.abandon, "the device hangs")
        with pytest.raises(Problem, match="the device hangs"):
            await waiting
        assert device.batches == []

    run_lanes(late, timeout=-1.0)
    run_lanes(given_up)


def test_out_of_memory_lets_go_of_the_failed_pass_before_it_tries_again() -> None:
    """What the failed pass had allocated is free when its half runs, or halving would not help."""

    class Hungry(Device):
        def __init__(self) -> None:
            super().__init__()
            self.tensors: list[weakref.ref[torch.Tensor]] = []
            self.held: list[int] = []

        def run(self, batch: list[Work]) -> list[Result]:
            self.held.append(sum(tensor() is not None for tensor in self.tensors))
            activations = torch.zeros(1000)
            self.tensors.append(weakref.ref(activations))
            if len(batch) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().run(batch)

    async def scenario(batcher: Batcher, device: Device) -> None:
        first = await occupy(batcher, device)
        waiting = [asyncio.create_task(batcher.submit(work())) for _ in range(4)]
        await asyncio.sleep(0)
        device.gate.set()
        await asyncio.gather(first, *waiting)
        assert isinstance(device, Hungry)
        assert len(device.held) == 1 + 3 + 4  # the first, a whole and two halves that fail, and four alone
        assert set(device.held) == {0}

    run(scenario, device=Hungry())
