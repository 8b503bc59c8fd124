"""Permits to work: who gets the next one, who waits and who is refused."""

import asyncio

import pytest

from app.http.turns import (
    ALL_PERMITS,
    ALONE_SECONDS,
    CALM_SECONDS,
    OVERLOAD_SECONDS,
    PERMITS,
    PERMITS_ALONE,
    Permit,
    Share,
    TooMany,
    Turns,
    slot_of,
)
from app.problems import Problem
from app.shared_state import SharedState

ANN, BOB, CAT = (Share(name, "small") for name in ("ann", "bob", "cat"))
OWN, ALONE = PERMITS["small"], PERMITS_ALONE["small"]


class Asked:
    """Requests that have asked for permits, and the order in which they got them."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.order: list[Share] = []
        self.refused: list[Share] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def ask(self, share: Share, count: int = 1) -> None:
        self.tasks += [asyncio.create_task(self._take(share)) for _ in range(count)]
        await asyncio.sleep(0)

    async def _take(self, share: Share) -> None:
        try:
            await self._turns.take(share)
        except TooMany:
            self.refused.append(share)
        else:
            self.order.append(share)

    async def end(self, share: Share) -> None:
        """One request of the share is done."""
        self._turns.give_back(share)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def test_shares_take_turns() -> None:
    async def scenario() -> None:
        asked = Asked(Turns(100, 30.0))
        await asked.ask(ANN, 50)
        await asked.ask(BOB, 3)
        assert asked.order == [ANN] * OWN + [BOB] * 3  # a share leaves permits to others
        others = [Share(f"other{n}", "small") for n in range(ALL_PERMITS // OWN)]
        for share in others:
            await asked.ask(share, OWN)
        assert len(asked.order) == ALL_PERMITS  # all are given: of the last one's requests some wait
        await asked.ask(CAT, 3)
        for share in (ANN, BOB, BOB, ANN, others[0]):
            await asked.end(share)
        assert asked.order[ALL_PERMITS:] == [ANN, *others[-2:], CAT, ANN]
        for task in asked.tasks:
            task.cancel()
        await asyncio.gather(*asked.tasks, return_exceptions=True)

    asyncio.run(scenario())


def test_an_owner_that_is_alone_has_more_permits() -> None:
    now = 1000.0

    async def scenario() -> None:
        nonlocal now
        asked = Asked(Turns(100, 30.0, clock=lambda: now))
        await asked.ask(ANN, 50)
        assert len(asked.order) == OWN
        now += ALONE_SECONDS
        await asked.end(ANN)
        assert len(asked.order) == ALONE + 1
        await asked.ask(BOB)
        assert asked.order[-1] == BOB  # at once,
        for _ in range(ALONE - OWN + 1):
            assert asked.order[-1] == BOB  # and the other has only as many as it may have beside someone
            await asked.end(ANN)
        assert asked.order[-1] == ANN
        for task in asked.tasks:
            task.cancel()
        await asyncio.gather(*asked.tasks, return_exceptions=True)

    asyncio.run(scenario())


def test_large_requests_and_reads_of_an_owner_leave_room_for_its_small_ones() -> None:
    async def scenario() -> None:
        asked = Asked(Turns(100, 30.0))
        large, read = Share("ann", "large"), Share("ann", "read")
        for share in (large, read, ANN):
            await asked.ask(share, 50)
        given = [large] * PERMITS["large"] + [read] * PERMITS["read"] + [ANN] * OWN
        assert asked.order == given
        assert len(given) <= ALL_PERMITS
        await asked.end(ANN)
        assert asked.order[len(given) :] == [ANN]
        for task in asked.tasks:
            task.cancel()
        await asyncio.gather(*asked.tasks, return_exceptions=True)

    asyncio.run(scenario())


def test_a_share_that_asks_for_too_many_is_refused_until_it_is_calm() -> None:
    now = 1000.0

    async def scenario() -> None:
        nonlocal now
        shared_state = SharedState()
        turns = Turns(20, 30.0, shared_state, clock=lambda: now)
        asked = Asked(turns)
        await asked.ask(BOB, 20)
        await asked.ask(ANN, 20)
        with pytest.raises(TooMany):
            await turns.take(ANN)
        await asyncio.sleep(0)
        assert asked.refused == [ANN] * (20 - OWN)  # those that waited too
        assert shared_state.load.own(slot_of(ANN)) == OWN
        assert not turns.admits(ANN)
        await asked.end(ANN)
        assert turns.admits(ANN)  # none waits
        await asked.ask(ANN)
        assert asked.order.count(ANN) == OWN + 1
        assert not turns.admits(ANN)
        now += CALM_SECONDS
        assert turns.admits(ANN)
        assert BOB not in asked.refused
        for task in asked.tasks:
            task.cancel()
        await asyncio.gather(*asked.tasks, return_exceptions=True)

    asyncio.run(scenario())


def test_a_request_whose_permit_is_laid_down_is_told_if_it_is_refused() -> None:
    async def scenario() -> None:
        shared_state = SharedState()
        turns = Turns(OWN + 1, 30.0, shared_state)
        asked = Asked(turns)
        await asked.ask(ANN, OWN)
        permit, back = Permit(turns, ANN), asyncio.Event()

        async def wait_for_something() -> None:
            async with permit.laid_down():
                await back.wait()

        waiting = asyncio.create_task(wait_for_something())
        await asyncio.sleep(0)
        await asked.ask(ANN)  # has the permit
        back.set()
        await asyncio.sleep(0)
        assert not turns.admits(ANN)
        with pytest.raises(Problem, match="under way") as refused:
            await waiting
        assert refused.value.status == 503
        permit.give_back()
        assert shared_state.load.own(slot_of(ANN)) == OWN

    asyncio.run(scenario())


def test_a_share_that_goes_on_asking_for_too_many_may_fill_its_queue_again_after_a_while() -> None:
    now = 1000.0

    async def scenario() -> None:
        nonlocal now
        turns = Turns(2 * ALONE, 30.0, clock=lambda: now)
        asked = Asked(turns)
        await asked.ask(ANN, 2 * ALONE)
        for _ in range(int(2 * OVERLOAD_SECONDS / CALM_SECONDS)):
            assert not turns.admits(ANN)
            now += CALM_SECONDS / 2
        await asked.end(ANN)
        assert turns.admits(ANN)
        for task in asked.tasks:
            task.cancel()
        await asyncio.gather(*asked.tasks, return_exceptions=True)

    asyncio.run(scenario())


def test_another_share_is_admitted_beside_one_that_overloads() -> None:
    async def scenario() -> None:
        turns = Turns(20, 30.0)
        asked = Asked(turns)
        await asked.ask(ANN, 20)
        assert not turns.admits(ANN)
        await asked.ask(BOB, 20)
        assert asked.order.count(BOB) == OWN
        for task in asked.tasks:
            task.cancel()
        await asyncio.gather(*asked.tasks, return_exceptions=True)

    asyncio.run(scenario())


def test_what_another_worker_has_of_a_share_counts() -> None:
    shared_state = SharedState(2)
    shared_state.join(1)
    shared_state.load.count(slot_of(ANN), 20)
    shared_state.join(0)

    async def scenario() -> None:
        turns = Turns(20 + OWN, 30.0, shared_state)
        for _ in range(OWN):  # as many as work here are always admitted
            await turns.take(ANN)
        with pytest.raises(TooMany):
            await turns.take(ANN)

    asyncio.run(scenario())


def test_who_waits_too_long_is_refused_and_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        shared_state = SharedState()
        turns = Turns(100, 0.01, shared_state)
        for _ in range(OWN):
            await turns.take(ANN)
        for _ in range(3):
            with pytest.raises(Problem, match=r"turn did not come within 0\.01 s") as refused:
                await turns.take(ANN)
            assert refused.value.status == 503
        assert shared_state.load.own(slot_of(ANN)) == OWN
        for _ in range(OWN):
            turns.give_back(ANN)
        assert shared_state.load.own(slot_of(ANN)) == 0
        for _ in range(ALL_PERMITS):  # every permit is there again
            for share in (ANN, BOB):
                assert not await turns.take(share)
                turns.give_back(share)

    asyncio.run(scenario())


def test_a_permit_that_comes_as_its_request_is_cancelled_is_not_lost() -> None:
    async def scenario() -> None:
        shared_state = SharedState()
        turns = Turns(100, 30.0, shared_state)
        for _ in range(OWN):
            await turns.take(ANN)
        for cancel_first in (True, False):
            waits = asyncio.create_task(turns.take(ANN))
            await asyncio.sleep(0)
            steps = [waits.cancel, lambda: turns.give_back(ANN)]
            for step in steps if cancel_first else reversed(steps):
                step()
            with pytest.raises(asyncio.CancelledError):
                await waits
            assert not await turns.take(ANN)
        assert shared_state.load.own(slot_of(ANN)) == OWN

    asyncio.run(scenario())


def test_a_permit_that_is_laid_down_goes_to_the_next_and_comes_back_in_turn() -> None:
    async def scenario() -> None:
        shared_state = SharedState()
        turns = Turns(100, 30.0, shared_state)
        asked = Asked(turns)
        await asked.ask(ANN, OWN + 1)
        assert asked.order == [ANN] * OWN
        permit, back = Permit(turns, ANN), asyncio.Event()
        released = []
        permit.when_over(lambda: released.append(True))

        async def wait_for_something() -> None:
            async with permit.laid_down():
                await back.wait()

        waiting = asyncio.create_task(wait_for_something())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert asked.order == [ANN] * (OWN + 1)  # another has it
        assert shared_state.load.own(slot_of(ANN)) == OWN + 1  # and the request counts as under way
        back.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()  # until one is given back
        await asked.end(ANN)
        await waiting
        for _ in range(2):  # the second time changes nothing
            permit.give_back()
        assert (shared_state.load.own(slot_of(ANN)), released) == (OWN - 1, [True])

    asyncio.run(scenario())


def test_a_request_that_fails_while_its_permit_is_laid_down_gives_back_only_its_place() -> None:
    async def scenario() -> None:
        shared_state = SharedState()
        turns = Turns(100, 30.0, shared_state)
        assert await turns.take(ANN) is False
        permit = Permit(turns, ANN)
        with pytest.raises(ValueError, match="no answer"):
            async with permit.laid_down():
                raise ValueError("no answer")
        permit.give_back()
        assert shared_state.load.own(slot_of(ANN)) == 0
        asked = Asked(turns)
        await asked.ask(ANN, OWN + 1)
        assert len(asked.order) == OWN  # no permit was made or lost

    asyncio.run(scenario())
