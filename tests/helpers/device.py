"""A device for the batcher that the test holds up and lets go."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import torch

from app.inference.batcher import Batcher
from app.inference.work import Decode, Predict, Result, Work


class Device:
    """A device that answers each work with itself, fails on those in `guilty`, and waits while `gate` is closed."""

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
    """Return a prediction for so many images."""
    return Predict(np.zeros((images, 2, 2), dtype=np.uint8), None, np.zeros((2, 2), dtype=np.float32))


def run(
    scenario: Callable[[Batcher, Device], Coroutine[Any, Any, None]], device: Device | None = None, **limits: Any
) -> None:
    """Run a scenario with a batcher in front of the device."""
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
    """Close the gate and give the device something to do behind it."""
    device.entered.clear()
    device.gate.clear()
    task = asyncio.create_task(batcher.submit(work()))
    assert await asyncio.to_thread(device.entered.wait, 10)
    return task
