"""Where the answer can be had by hand, the simulation gives it."""

from typing import Any

import pytest

from bench.simulation import Stages, simulate


def stages(*, client: float, loop: float, device: float, device_image: float = 0.0, **more: Any) -> Stages:
    """With a third of the loop's work before the store, a third before the device, a third after it."""
    third = loop / 3
    return Stages(
        client=client, receive=third, decode=third, answer=third, device=device, device_image=device_image, **more
    )


def test_one_client_waits_for_the_sum_of_the_stages() -> None:
    given = stages(client=0.001, loop=0.005, device=0.004)
    found = simulate(given, cores=2, clients=1, seconds=10)
    assert found["p50_ms"] == pytest.approx(10, rel=0.01)
    assert found["p99_ms"] == pytest.approx(10, rel=0.01)
    assert found["a_second"] == pytest.approx(100, rel=0.01)


def test_the_busiest_stage_is_the_limit_and_cores_are_shared() -> None:
    loop = stages(client=0.0001, loop=0.01, device=0.0)
    assert simulate(loop, cores=4, clients=8)["a_second"] == pytest.approx(100, rel=0.02)  # one loop, 10 ms each
    # Two: each request to either, so that one has none now and then; n clients and k loops give n / (n + k - 1).
    assert simulate(loop, cores=4, clients=8, replicas=2)["a_second"] == pytest.approx(200 * 8 / 9, rel=0.05)
    # Three loops on two cores.
    assert simulate(loop, cores=2, clients=12, replicas=3)["a_second"] == pytest.approx(2 / 0.0101, rel=0.1)


def test_what_queues_shares_a_batch() -> None:
    given = stages(client=1e-6, loop=1e-6, device=0.01, device_image=0.001)
    # The first goes alone, in 10 ms, and so does the next, whose turn the loop took down before it heard of more; six
    # came meanwhile and go together, in 15: all eight in 35.
    assert simulate(given, cores=4, clients=8)["a_second"] == pytest.approx(8 / 0.035, rel=0.02)


def test_requests_at_random_wait_seldom_when_few_and_are_limited_by_the_loop_when_many() -> None:
    given = stages(client=0.0, loop=0.009, device=0.001, device_image=0.001)
    few = simulate(given, cores=4, rate=2, seconds=100)
    assert few["a_second"] == pytest.approx(2, rel=0.2)
    assert few["p50_ms"] == pytest.approx(10, rel=0.01)
    assert few["p99_ms"] < 20
    many = simulate(given, cores=4, rate=250, seconds=20)
    assert many["a_second"] <= 101
    assert many["p50_ms"] > 1000


def test_pauses_come_with_work_and_not_with_time() -> None:
    paused = stages(client=0.0, loop=0.009, device=0.001, pauses=(0.05,), pause_every=0.5)
    found = simulate(paused, cores=4, rate=5, seconds=600)
    assert found["p50_ms"] == pytest.approx(10, rel=0.01)
    assert found["p90_ms"] < 20  # one in fifty requests, and what comes meanwhile
    assert found["p99_ms"] > 40
