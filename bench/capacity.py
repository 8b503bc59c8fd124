"""What one server does, stage by stage, and whether `bench.simulation` predicts its throughput and latency.

Starts `leo serve` with a Redis, measures the stages with one client, then loads the server with several and compares.
Writes bench/results/capacity.json; `python -m bench.scaling` puts it into docs/scaling.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from redis import Redis

from bench.common import read_results, replace_results, write_results
from bench.service import Service, cpu_seconds, metrics, redis_server
from bench.simulation import Stages, simulate
from bench.stages import MeasuredLoad, measure_device, stages_from
from bench.tasks import make_tasks, predict, predict_each
from tests.helpers.cluster import gateway
from tests.helpers.redis_server import RedisServer

CLIENTS = (1, 2, 4, 8, 16)
FITTED, FIT_SECONDS = 8, 20.0  # clients of the load that the simulation is fitted to; simulated seconds
TASKS = 200
ROUNDS = 3
FLEET_CORES = os.cpu_count() or 1  # of a replica in a fleet: as here
P99_MS = 50.0  # that a replica of a fleet must hold


def simulated_stages(found: dict[str, Any], together: float = 1.0) -> Stages:
    """The measured stages as the simulation takes them."""
    ms = found["stages"]
    around = (ms["loop_ms"] - ms["decode_in_loop_ms"]) / 2
    return Stages(
        client=ms["client_ms"] / 1000,
        receive=around / 1000,
        decode=ms["decode_in_loop_ms"] / 1000,
        answer=around / 1000,
        device=ms["device_ms"] / 1000,
        device_image=ms["device_further_image_ms"] / 1000,
        together=together,
        waits=ms["waits_ms"] / 1000,
        gateway=found["gateway_ms"] / 1000,
        pauses=tuple(pause / 1000 for pause in ms["pauses_ms"]),
        pause_every=ms["pause_every_ms"] / 1000,
    )


def fitted(found: dict[str, Any]) -> dict[str, float]:
    """Fit what the loop saves on a request behind another, which no stage tells, to the throughput of one load."""
    seen = next(load for load in found["loads"] if (load["clients"], load["replicas"]) == (FITTED, 1))

    def off(together: float) -> float:
        said = simulate(simulated_stages(found, together), cores=found["cores"], clients=FITTED, seconds=FIT_SECONDS)
        return abs(float(said["a_second"]) - float(seen["a_second"]))

    return {"clients": FITTED, "together": min((n / 50 for n in range(25, 51)), key=off)}


def compare(stages: Stages, cores: float, measured: dict[str, Any], replicas: int) -> dict[str, Any]:
    """What was measured, what the simulation says, and how far off it is."""
    said = simulate(stages, cores=cores, replicas=replicas, clients=measured["clients"], seconds=60)
    return {
        "replicas": replicas,
        **{key: measured[key] for key in ("clients", "a_second", "p50_ms", "p99_ms", "statuses")},
        "simulated": said,
        "off": {key: round(said[key] / measured[key] - 1, 3) for key in ("a_second", "p50_ms", "p99_ms")},
    }


def most_within(stages: Stages, cores: float, p99_ms: float) -> dict[str, Any]:
    """The highest rate of requests at random at which a replica holds a p99; `cores` as they were measured."""
    low, high, best = 0.0, 4000.0, {}
    for _ in range(12):
        rate = (low + high) / 2
        found = simulate(stages, cores=cores, rate=rate, seconds=20)
        if found["p99_ms"] <= p99_ms and found["a_second"] > 0.95 * rate:
            low, best = rate, found
        else:
            high = rate
    return {"cores": FLEET_CORES, "p99_within_ms": p99_ms, **best}


def measure_tasks(server: Service, redis: RedisServer, number: int) -> dict[str, Any]:
    """What a 5-way 1-shot task costs to make and to store, with its examples' features."""
    with Redis.from_url(redis.url) as client:
        held, written = (client.info("memory")["used_memory"], client.info("persistence")["aof_current_size"])
        cpu, began = cpu_seconds(server.process_id), time.monotonic()
        make_tasks(server.url, number, clients=8)
        took, used = time.monotonic() - began, cpu_seconds(server.process_id) - cpu
        held = client.info("memory")["used_memory"] - held
        written = client.info("persistence")["aof_current_size"] - written
    after = metrics(server.url)
    return {
        "made": number,
        "head_bytes": round(after["leo_cache_bytes"] / after["leo_cache_tasks"]),
        "a_second": round(number / took, 1),
        "server_cpu_ms": round(1000 * used / number, 2),
        "redis_bytes": round(held / number),
        "redis_disk_bytes": round(written / number),
    }


def measure_redis(redis: RedisServer) -> dict[str, float]:
    """Requests a second: reads of 2 KB, and writes that are on disk before they are answered."""
    found = {}
    for command in ("get", "set"):
        order = f"redis-benchmark -p {redis.port} -t {command} -d 2048 -n 50000 -c 64 --csv"
        lines = subprocess.run(order.split(), check=True, capture_output=True, text=True).stdout.strip().splitlines()
        found[f"{command}_a_second"] = float(lines[-1].split(",")[1].strip('"'))
    return found


def main() -> None:
    """Measure, compare, write."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=9.0, help="of each load, all rounds together")
    parser.add_argument("--only", choices=["measure", "simulate"], help="simulating needs no quiet machine")
    given = parser.parse_args()
    if given.only != "simulate":
        write_results("capacity", "leo serve, Redis and the clients on one machine", **measure(given.seconds))
    if given.only != "measure":
        found = read_results("capacity")
        fit = fitted(found)
        stages = simulated_stages(found, fit["together"])
        found["fitted"] = fit
        found["comparison"] = [compare(stages, found["cores"], one, one["replicas"]) for one in found["loads"]]
        found["a_replica"] = most_within(stages, found["cores"], P99_MS)
        replace_results("capacity", found)
    print(json.dumps(read_results("capacity"), indent=1))


def measure_cores(running: list[Service], tasks: list[str], seconds: float) -> float:
    """Throughput of a server and a client for each core over that of one alone: cores share caches and memory."""

    def one(server: Service) -> float:
        rate: float = predict(server.url, tasks, 1, seconds, warm_up=0.5)["a_second"]
        return rate

    alone = one(running[0])
    with ThreadPoolExecutor(len(running)) as pool:
        return round(sum(pool.map(one, running)) / alone, 3)


def measure(seconds: float) -> dict[str, Any]:
    """All that needs servers."""
    with redis_server() as redis, Service(LEO_STORE_URL=redis.url) as server, Service(LEO_STORE_URL=redis.url) as other:
        running = [server, other]
        tasks = make_tasks(server.url, TASKS)
        for each in running:
            predict_each(each.url, tasks, 1)
        with tempfile.TemporaryDirectory() as folder, gateway(Path(folder), running) as url:
            loads = [MeasuredLoad(server, server.url, tasks, asking, 1) for asking in CLIENTS]
            loads += [MeasuredLoad(server, url, tasks, asking, 2) for asking in (1, 8)]
            cores = []
            for _ in range(ROUNDS):
                for load in loads:
                    load.measure(seconds / ROUNDS)
                cores.append(measure_cores(running, tasks, seconds / ROUNDS))
        one, through = loads[0], loads[len(CLIENTS)]
        stages = stages_from(one) | measure_device(server, tasks, seconds / ROUNDS)
        made = measure_tasks(server, redis, 500)
        rates = measure_redis(redis)
    with redis_server() as redis, Service(LEO_STORE_URL=redis.url, LEO_CACHE_BYTES="0") as cold:
        tasks = make_tasks(cold.url, TASKS)
        without = predict(cold.url, tasks, 1, seconds, warm_up=0.5)
    return {
        "stages": stages,
        "cores": round(statistics.mean(cores), 3),
        "gateway_ms": round(max(0.0, statistics.median(through.took) - stages["p50_ms"]), 3),
        "loads": [load.found() for load in loads],
        "cold": {"mean_ms": without["mean_ms"], "p50_ms": without["p50_ms"]},
        "task": made,
        "redis": rates,
    }


if __name__ == "__main__":
    main()
