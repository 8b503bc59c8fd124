"""As many workers as memory allows."""

from app.process.memory import workers_that_fit
from app.settings import Settings

GIB = 2**30


def test_workers_fit_into_memory_with_their_caches_full() -> None:
    settings = Settings(cache_bytes=512 * 2**20)
    assert [workers_that_fit(settings, memory) for memory in (0, GIB, 4 * GIB, 16 * GIB)] == [1, 1, 4, 20]
    assert workers_that_fit(Settings(cache_bytes=0), 4 * GIB) == 13


def test_this_machine_has_room_for_one() -> None:
    assert workers_that_fit(Settings()) >= 1
