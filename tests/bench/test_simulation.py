"""Where the answer can be had by hand, the simulation gives it."""

import pytest

from bench.simulation import Stages, simulate


def test_one_client_waits_for_the_sum_of_the_stages() -> None:
    stages = Stages(client=0.001, loop=0.005, device=0.004, device_image=0.001)
    found = simulate(stages, cores=2, clients=1, seconds=10)
    assert found["p50_ms"] == pytest.approx(10, rel=0.01)
    assert found["p99_ms"] == pytest.approx(10, rel=0.01)
    assert found["a_second"] == pytest.approx(100, rel=0.01)


def test_the_busiest_stage_is_the_limit_and_cores_are_shared() -> None:
    loop = Stages(client=0.0001, loop=0.01, device=0.001, device_image=0.0)
    assert simulate(loop, cores=4, clients=8)["a_second"] == pytest.approx(100, rel=0.02)  # one loop, 10 ms each
    assert simulate(loop, cores=4, clients=8, replicas=2)["a_second"] == pytest.approx(200, rel=0.1)
    # Three loops on two cores.
    assert simulate(loop, cores=2, clients=12, replicas=3)["a_second"] == pytest.approx(2 / 0.0111, rel=0.1)


def test_what_queues_shares_a_batch() -> None:
    stages = Stages(client=1e-6, loop=1e-6, device=0.01, device_image=0.001)
    # The first goes alone, in 10 ms; meanwhile the seven others come and go together, in 16: all eight in 26.
    assert simulate(stages, cores=4, clients=8)["a_second"] == pytest.approx(8 / 0.026, rel=0.02)


def test_requests_at_random_wait_seldom_when_few_and_are_limited_by_the_loop_when_many() -> None:
    stages = Stages(client=0.0, loop=0.009, device=0.001, device_image=0.001)
    few = simulate(stages, cores=4, rate=2, seconds=300)
    assert few["a_second"] == pytest.approx(2, rel=0.1)
    assert few["p50_ms"] == pytest.approx(10, rel=0.01)
    assert few["p99_ms"] < 20
    many = simulate(stages, cores=4, rate=250, seconds=20)
    assert many["a_second"] <= 126
    assert many["p50_ms"] > 1000
