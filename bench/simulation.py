"""A discrete-event model of the service, from measured stage times: what machines would do, before buying them.

A prediction goes from its client to the event loop, where small pictures are decoded too (one request at a time:
Python), to the device (which takes all that waits as one batch), and back. Whatever runs shares the machine's cores
evenly. A client asks again as soon as it is answered, or requests come at random at a given rate.
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Then = Callable[[], None]


@dataclass(frozen=True)
class Stages:
    """Seconds of one core that a one-image prediction takes, measured with one client."""

    client: float  # in the process that asks
    loop: float  # in the event loop, before and after the rest
    device: float  # for the first image of a batch
    device_image: float  # for each further one
    waits: float = 0.0  # for the store, the network and threads to wake: no core is busy
    # What requests took one after the other, as shares of their mean, which is `step` seconds. A machine is slow for a
    # while and not for a request, so this is played back by the clock.
    trace: tuple[float, ...] = (1.0,)
    step: float = 1.0

    def slow(self, now: float) -> float:
        """How many times its usual time something takes that begins now."""
        return self.trace[int(now / self.step) % len(self.trace)]


class Machine:
    """Time, and cores that all running work shares evenly."""

    def __init__(self, cores: float, slow: Callable[[float], float] = lambda _: 1.0) -> None:
        self.now, self._cores, self._slow = 0.0, cores, slow
        self._left: dict[int, tuple[float, Then]] = {}  # running work: core-seconds to go, what follows
        self._later: list[tuple[float, int, Then]] = []
        self._ids = itertools.count()

    def work(self, seconds: float, then: Then) -> None:
        self._left[next(self._ids)] = (seconds * self._slow(self.now), then)

    def at(self, when: float, then: Then) -> None:
        heapq.heappush(self._later, (when, next(self._ids), then))

    def run(self, until: float) -> None:
        while self.now < until and (self._left or self._later):
            speed = min(1.0, self._cores / len(self._left)) if self._left else 1.0
            first = min(self._left, key=lambda one: self._left[one][0]) if self._left else None
            ends = self.now + self._left[first][0] / speed if first is not None else float("inf")
            comes = self._later[0][0] if self._later else float("inf")
            passed = min(ends, comes) - self.now
            self.now += passed
            self._left = {one: (left - passed * speed, then) for one, (left, then) in self._left.items()}
            if ends <= comes and first is not None:
                self._left.pop(first)[1]()
            else:
                heapq.heappop(self._later)[2]()


class Line:
    """Workers that take one piece of work each, first come first served."""

    def __init__(self, machine: Machine, workers: int) -> None:
        self._machine, self._idle = machine, workers
        self._waiting: deque[tuple[float, Then]] = deque()

    def put(self, seconds: float, then: Then) -> None:
        self._waiting.append((seconds, then))
        self._next()

    def _next(self) -> None:
        if self._idle and self._waiting:
            self._idle -= 1
            seconds, then = self._waiting.popleft()

            def done() -> None:
                self._idle += 1
                self._next()
                then()

            self._machine.work(seconds, done)


class Replica:
    """One process: an event loop, and a device that works in batches."""

    def __init__(self, machine: Machine, stages: Stages) -> None:
        self._machine, self._stages = machine, stages
        self._loop = Line(machine, 1)
        self._waiting: list[Then] = []
        self._busy = False

    def predict(self, then: Then) -> None:
        """Answer one request."""
        stages = self._stages

        def back() -> None:
            self._loop.put(stages.loop / 2, then)

        def to_device() -> None:
            self._waiting.append(back)
            self._next_batch()

        def wait() -> None:
            self._machine.at(self._machine.now + stages.waits, to_device)

        self._loop.put(stages.loop / 2, wait)

    def _next_batch(self) -> None:
        if self._busy or not self._waiting:
            return
        batch, self._waiting, self._busy = self._waiting, [], True
        usual = self._stages.device + self._stages.device_image * (len(batch) - 1)

        def done() -> None:
            self._busy = False
            self._next_batch()
            for then in batch:
                then()

        self._machine.work(usual, done)


def simulate(
    stages: Stages,
    *,
    cores: float,
    replicas: int = 1,
    clients: int | None = None,
    rate: float | None = None,
    seconds: float = 30.0,
    warm_up: float = 2.0,
    seed: int = 0,
) -> dict[str, Any]:
    """`clients` that ask again and again from this machine too, or requests from elsewhere at `rate` a second.

    Gives predictions a second and milliseconds, as `bench.tasks` does.
    """
    machine, chance = Machine(cores, stages.slow), random.Random(seed)
    servers = [Replica(machine, stages) for _ in range(replicas)]
    asking = Line(machine, 1)
    took: list[float] = []

    def answered(sent: float) -> None:
        if machine.now > warm_up:
            took.append(1000 * (machine.now - sent))

    def ask_again() -> None:
        sent = machine.now

        def received() -> None:
            answered(sent)
            ask_again()

        def back() -> None:
            asking.put(stages.client / 2, received)

        asking.put(stages.client / 2, lambda: chance.choice(servers).predict(back))

    def arrive() -> None:
        sent = machine.now
        chance.choice(servers).predict(lambda: answered(sent))
        machine.at(machine.now + chance.expovariate(rate or 1.0), arrive)

    if clients is not None:
        for _ in range(clients):
            ask_again()
    else:
        machine.at(0.0, arrive)
    machine.run(warm_up + seconds)
    took.sort()
    found = {"a_second": round(len(took) / seconds, 1)}
    if took:
        found |= {f"p{p}_ms": round(took[min(len(took) - 1, int(len(took) * p / 100))], 2) for p in (50, 90, 99)}
    return found
