"""A discrete-event model of the service, from measured stage times: what machines would do, before buying them.

A prediction goes from its client to the event loop, where small pictures are decoded too, waits for the store, goes to
the device (which takes all that waits as one batch) and back over the loop. The loop and the device's thread share one
interpreter, which runs one of them at a time: the device's thread waits for its turn before and after what it computes
without it, and now and then for as long as CPython lets a thread go on (`sys.getswitchinterval`). Whatever runs shares
the machine's cores evenly, and is held up by it now and then. A client asks again as soon as it is answered, or
requests come at random at a given rate.
"""

import heapq
import itertools
import random
import statistics
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Then = Callable[[], None]
SWITCH = sys.getswitchinterval()


@dataclass(frozen=True)
class Stages:
    """Seconds of one core that a one-image prediction takes, measured with one client."""

    client: float  # in the process that asks
    receive: float  # in the event loop: until the store is asked
    decode: float  # in the event loop: from the store's answer to the device's queue
    answer: float  # in the event loop: from the device's result to the answer
    device: float  # for the first image of a batch, without the interpreter
    device_image: float  # for each further one
    python: float = 0.0  # in the device's thread with the interpreter, for each image; half before, half after the rest
    held: float = 0.0  # how often the loop keeps the interpreter for as long as it may, although that thread waits
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


class Interpreter:
    """Runs one piece of Python at a time: the loop's, first come first served, or the device's thread's."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._loop: deque[tuple[float, Then]] = deque()
        self._device: tuple[float, float, Then] | None = None  # from when on it is its turn
        self._busy = False

    def on_loop(self, seconds: float, then: Then) -> None:
        self._loop.append((seconds, then))
        self._next()

    def in_thread(self, seconds: float, then: Then, patience: float) -> None:
        """When the loop pauses, or when it has gone on for so long."""
        self._device = (self._machine.now + patience, seconds, then)
        self._next()

    def _next(self) -> None:
        if self._busy:
            return
        if self._device and (not self._loop or self._machine.now >= self._device[0]):
            (_, seconds, then), self._device = self._device, None
        elif self._loop:
            seconds, then = self._loop.popleft()
        else:
            return
        self._busy = True

        def done() -> None:
            self._busy = False
            then()
            self._next()

        self._machine.work(seconds, done)


class Replica:
    """One process: an event loop, and a device that works in batches."""

    def __init__(self, machine: Machine, stages: Stages, chance: random.Random) -> None:
        self._machine, self._stages, self._chance = machine, stages, chance
        self._python = Interpreter(machine)
        self._waiting: list[Then] = []
        self._busy = False

    def predict(self, then: Then) -> None:
        """Answer one request."""
        stages, on_loop = self._stages, self._python.on_loop

        def queue() -> None:
            self._waiting.append(lambda: on_loop(stages.answer, then))
            self._next_batch()

        def decode() -> None:
            on_loop(stages.decode, queue)

        def ask_store() -> None:
            self._machine.at(self._machine.now + stages.waits, decode)

        on_loop(stages.receive, ask_store)

    def _next_batch(self) -> None:
        if self._busy or not self._waiting:
            return
        batch, self._waiting, self._busy = self._waiting, [], True
        stages = self._stages

        def in_thread(then: Then) -> None:
            patience = SWITCH if self._chance.random() < stages.held else 0.0
            self._python.in_thread(stages.python * len(batch) / 2, then, patience)

        def compute() -> None:
            self._machine.work(stages.device + stages.device_image * (len(batch) - 1), lambda: in_thread(done))

        def done() -> None:
            self._busy = False
            for answered in batch:
                answered()
            self._next_batch()

        in_thread(compute)


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
    servers = [Replica(machine, stages, chance) for _ in range(replicas)]
    asking = Interpreter(machine)  # one process is all the clients
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
            asking.on_loop(stages.client / 2, received)

        def send() -> None:
            machine.work(gateway, lambda: chance.choice(servers).predict(back))

        asking.on_loop(stages.client / 2, send)

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
