"""When the service is ready and when it gives up, with a real engine that is made to fail."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
import torch

from app.inference.batcher import Batcher
from app.inference.engine import Engine
from app.inference.readiness import Readiness
from app.inference.work import Decode, Predict, Result, Work
from app.problems import Problem
from app.settings import Settings
from tests.helpers.waiting import wait_in_loop_until


class Device:
    """A real engine that fails as the test wants."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.fault: Callable[[list[Work]], object] = lambda batch: None
        self.predictions = 0  # each readiness test ends with one

    def run(self, batch: list[Work]) -> list[Result]:
        self.fault(batch)
        results = self._engine.run(batch)
        self.predictions += sum(isinstance(work, Predict) for work in batch)
        return results


class Watched:
    """A device, its queue, and its readiness under watch; `gave_up` holds the reasons."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.batcher = Batcher(device.run, max_images=100, timeout=10)
        self.gave_up: list[str] = []
        self.readiness = Readiness(self.batcher, lambda: ("", (28, 28)), 1.0, self.gave_up.append)
        self.codes = np.zeros((2, 64), dtype=np.float32)


@pytest.fixture(scope="module")
def engine(settings: Settings) -> Engine:
    return Engine(settings.weights, "cpu")


def run(engine: Engine, scenario: Callable[[Watched], Coroutine[Any, Any, None]]) -> None:
    watched = Watched(Device(engine))
    watched.batcher.start()

    async def bounded() -> None:
        async with asyncio.timeout(30):
            assert watched.readiness.reason_not_ready() == "no test has run yet"
            await watched.readiness.test()
            assert watched.readiness.reason_not_ready() is None
            await scenario(watched)

    try:
        asyncio.run(bounded())
    finally:
        watched.batcher.close(5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("fault", ["hang", "die", "memory", "wrong"])
def test_a_lost_device_is_given_up_and_no_request_waits_for_it(engine: Engine, fault: str) -> None:
    let_go = threading.Event()

    def fail(_: list[Work]) -> None:
        if fault == "hang":
            let_go.wait(20)
        elif fault == "die":
            raise SystemExit
        elif fault == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory")
        else:
            raise ValueError("CUDA error: an illegal memory access was encountered")

    async def scenario(watched: Watched) -> None:
        watched.device.fault = fail
        waiting = [asyncio.create_task(watched.batcher.submit(Decode(watched.codes))) for _ in range(3)]
        await watched.readiness.watch()
        assert len(watched.gave_up) == 1
        refused = await asyncio.gather(*waiting, return_exceptions=True)
        assert {problem.status for problem in refused if isinstance(problem, Problem)} <= {500, 503}
        assert all(isinstance(problem, Problem) for problem in refused)
        reason = watched.readiness.reason_not_ready()
        expected = {"hang": "hung for over 1 s", "die": "thread is dead", "memory": "too little memory"}
        assert expected.get(fault, "3 readiness tests in a row failed") in str(reason)
        with pytest.raises(Problem, match="stopping"):
            await watched.batcher.submit(Decode(watched.codes))
        let_go.set()

    run(engine, scenario)


def test_requests_that_fail_alone_do_not_count_against_the_device(engine: Engine) -> None:
    guilty = np.ones((2, 64), dtype=np.float32)

    def fail(batch: list[Work]) -> None:
        if any(isinstance(work, Decode) and work.codes is guilty for work in batch):
            raise ValueError("only this one")

    async def scenario(watched: Watched) -> None:
        watched.device.fault = fail
        watching = asyncio.create_task(watched.readiness.watch())
        for _ in range(5):
            tested = watched.device.predictions
            with pytest.raises(Problem, match="ValueError"):
                await watched.batcher.submit(Decode(guilty))
            await wait_in_loop_until(lambda tested=tested: watched.device.predictions > tested)
            assert watched.readiness.reason_not_ready() is None
        watching.cancel()
        assert watched.gave_up == []

    run(engine, scenario)


def test_a_stopping_service_is_not_ready(engine: Engine) -> None:
    async def scenario(watched: Watched) -> None:
        watched.readiness.stopping = True
        assert watched.readiness.reason_not_ready() == "the service is stopping"

    run(engine, scenario)
