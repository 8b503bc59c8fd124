"""Pages of metrics are shared by those who wait, and leave time for everything else."""

import asyncio
import itertools
import time

import pytest

from app.observability.scrapes import REST, Scrapes


def test_who_asks_while_a_page_is_made_shares_the_next() -> None:
    async def scenario() -> None:
        begun = [asyncio.Event() for _ in range(3)]
        done = [asyncio.Event() for _ in range(3)]
        numbers = itertools.count()

        async def make() -> bytes:
            number = next(numbers)
            begun[number].set()
            await done[number].wait()
            return b"page %d" % number

        scrapes = Scrapes(make)
        async with asyncio.timeout(30):
            first = [asyncio.create_task(scrapes.page()) for _ in range(3)]
            await begun[0].wait()
            later = [asyncio.create_task(scrapes.page()) for _ in range(50)]
            await asyncio.sleep(0)
            later[0].cancel()
            done[0].set()
            assert await asyncio.gather(*first) == [b"page 0"] * 3
            await begun[1].wait()
            done[1].set()
            assert await asyncio.gather(*later[1:]) == [b"page 1"] * 49
        assert not begun[2].is_set()

    asyncio.run(scenario())


def test_a_page_rests_for_longer_than_it_took() -> None:
    async def scenario() -> None:
        begun, ended = [], []

        async def make() -> bytes:
            begun.append(time.monotonic())
            while time.monotonic() < begun[-1] + 0.01:
                pass
            ended.append(time.monotonic())
            return b""

        scrapes = Scrapes(make)
        for _ in range(3):
            await scrapes.page()
        for end, start, next_start in zip(ended, begun, begun[1:], strict=False):
            assert next_start - end >= 0.95 * REST * (end - start)

    asyncio.run(scenario())


def test_a_page_that_fails_is_made_again() -> None:
    async def scenario() -> None:
        answers = [RuntimeError("no metrics"), b"metrics"]

        async def make() -> bytes:
            answer = answers.pop(0)
            if isinstance(answer, RuntimeError):
                raise answer
            return answer

        scrapes = Scrapes(make)
        with pytest.raises(RuntimeError, match="no metrics"):
            await scrapes.page()
        assert await scrapes.page() == b"metrics"

    asyncio.run(scenario())
