"""A discrete-event simulation of the service, from measured stage times: throughput and latency of other machines.

A prediction goes from its client to the event loop, where small pictures are decoded too, and waits for the store.
Then it waits for the device, whose work is the loop's too where it is quick: at its turn the loop takes all that waits
as one batch, and answers. Whatever runs shares the machine's cores evenly, and is held up by it now and then. A client
asks again as soon as it is answered, or requests come at random at a given rate.
"""

import heapq
import itertools
import random
import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Then = Callable[[], None]


@dataclass(frozen=True)
class Stages:
    """Seconds of one core that a one-image prediction takes, measured with one client."""

    client: float  # in the process that asks
    receive: float  # in the event loop: until the store is asked
    decode: float  # in the event loop: from the store's answer to the device's queue
    answer: float  # in the event loop: from the device's result to the answer
    device: float  # in the event loop: for the first image of a batch
    device_image: float  # for each further one
    together: float = 1.0  # of the loop's seconds, what a request takes behind another: nothing is cold then
    waits: float = 0.0  # for the store, the network and threads to wake: no core is busy
    gateway: float = 0.0  # before several replicas
    # How long the machine holds up what runs on it, one drawn each time; and after how much work that happens.
    pauses: tuple[float, ...] = ()
    pause_every: float = 1.0


class Machine:
    """Time, and cores that all running work shares evenly, but for pauses."""

    def __init__(self, cores: float, pauses: tuple[float, ...], every: float, chance: random.Random) -> None:
        self.now, self._cores = 0.0, cores
        self._pauses, self._every, self._chance = pauses, every, chance
        self._left: dict[int, tuple[float, Then]] = {}  # running work: core-seconds to go, what follows
        self._later: list[tuple[float, int, Then]] = []
        self._ids = itertools.count()

    def work(self, seconds: float, then: Then) -> None:
        if self._pauses and self._chance.random() < seconds / self._every:
            seconds += self._chance.choice(self._pauses)
        self._left[next(self._ids)] = (seconds, then)

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


class Loop:
    """Does one thing at a time, first come first served."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._things: deque[Callable[[], tuple[float, Then]]] = deque()
        self._busy = False

    def soon(self, seconds: float, then: Then) -> None:
        self.at_its_turn(lambda: (seconds, then))

    def at_its_turn(self, begin: Callable[[], tuple[float, Then]]) -> None:
        """How long a thing takes, and what follows, is asked when it begins."""
        self._things.append(begin)
        self._next()

    def _next(self) -> None:
        if self._busy or not self._things:
            return
        self._busy = True
        seconds, then = self._things.popleft()()

        def done() -> None:
            self._busy = False
            then()
            self._next()

        self._machine.work(seconds, done)


class Replica:
    """One process: an event loop, which is the device too."""

    def __init__(self, machine: Machine, stages: Stages) -> None:
        self._machine, self._stages, self._loop = machine, stages, Loop(machine)
        self._waiting: list[Then] = []
        self._under_way = 0

    def predict(self, then: Then) -> None:
        """Answer one request."""
        stages = self._stages
        self._under_way += 1

        def soon(seconds: float, then: Then) -> None:
            self._loop.at_its_turn(lambda: (self._at_pace(seconds), then))

        def answered() -> None:
            self._under_way -= 1
            then()

        def queue() -> None:
            self._waiting.append(lambda: soon(stages.answer, answered))
            if len(self._waiting) == 1:
                self._loop.at_its_turn(self._batch)

        def decode() -> None:
            soon(stages.decode, queue)

        def ask_store() -> None:
            self._machine.at(self._machine.now + stages.waits, decode)

        soon(stages.receive, ask_store)

    def _batch(self) -> tuple[float, Then]:
        batch, self._waiting = self._waiting, []

        def done() -> None:
            for answered in batch:
                answered()

        return self._at_pace(self._stages.device + self._stages.device_image * (len(batch) - 1)), done

    def _at_pace(self, seconds: float) -> float:
        several = max(1, self._under_way)  # one of which finds everything cold
        return seconds * (1 + (several - 1) * self._stages.together) / several


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
    chance = random.Random(seed)
    machine = Machine(cores, stages.pauses, stages.pause_every, chance)
    servers = [Replica(machine, stages) for _ in range(replicas)]
    asking = Loop(machine)  # one process is all the clients
    gateway = stages.gateway if replicas > 1 else 0.0
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
            asking.soon(stages.client / 2, received)

        def send() -> None:
            machine.work(gateway, lambda: chance.choice(servers).predict(back))

        asking.soon(stages.client / 2, send)

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
    found = {"a_second": round(len(took) / seconds, 1)}
    if len(took) > 1:
        cuts = statistics.quantiles(took, n=100)
        found |= {f"p{p}_ms": round(cuts[p - 1], 2) for p in (50, 90, 99)}
    return found
