"""What the batcher promises of work that waits for the device."""

import asyncio
import weakref

import numpy as np
import pytest
import torch

from app.inference.batcher import PART_IMAGES, Batcher
from app.inference.failed_batches import OutOfMemory
from app.inference.work import Decode, Predict, Predicted, Result, Work
from app.problems import Problem
from tests.helpers.device import Device, occupy, run, work


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


class Classifier(Device):
    """A device whose probabilities are the images' first pixels."""

    def run(self, batch: list[Work]) -> list[Result]:
        super().run(batch)
        predictions = [work for work in batch if isinstance(work, Predict)]
        return [Predicted(work.images[:, :1, 0].astype(np.float32), work.head) for work in predictions]


def test_many_images_run_in_parts_and_what_others_ask_between_them() -> None:
    images = np.zeros((2 * PART_IMAGES + 10, 2, 2), dtype=np.uint8)
    images[:, 0, 0] = np.arange(len(images))

    async def scenario(batcher: Batcher, device: Device) -> None:
        first = await occupy(batcher, device)
        large = asyncio.create_task(batcher.submit(Predict(images, None, np.zeros((2, 2), dtype=np.float32))))
        small = asyncio.create_task(batcher.submit(work()))
        await asyncio.sleep(0)
        device.gate.set()
        predicted = await large
        assert isinstance(predicted, Predicted)
        assert predicted.probabilities[:, 0].tolist() == list(range(len(images)))
        await asyncio.gather(first, small)
        sizes = [sum(len(entry.images) for entry in batch if isinstance(entry, Predict)) for batch in device.batches]
        assert sizes == [1, PART_IMAGES + 1, PART_IMAGES, 10]

    run(scenario, Classifier(), max_images=1000)


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
        await batcher.submit(work(20))  # more than the queue holds, but nothing else waits

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
        items = [work(1), work(20), work(1), work(1)]
        waiting = [asyncio.create_task(batcher.submit(item)) for item in items]
        await asyncio.sleep(0)
        device.gate.set()
        await asyncio.gather(first, *waiting)
        assert [len(batch) for batch in device.batches] == [1, 2, 2]  # nobody waits for more than one full batch

    run(scenario, batch_images=lambda: 10)


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
