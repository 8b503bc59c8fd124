"""Writes the figures of docs/scaling.md from results files, so that none is typed in."""

import math
from typing import Any

from bench.common import ROOT, read_results
from bench.tables import between_marks

GUIDE = ROOT / "docs" / "scaling.md"
RATES, TASKS = (10**3, 10**5), (10**6, 10**9)

# Assumptions, which docs/scaling.md states.
FULL = 0.7  # of what a replica or a Redis can do, at most
CREATIONS = 0.01  # of all requests
REPLICA_GB = 2
NODE_GB = 64  # of a Redis node
COPIES = 2  # a primary and its replica
CORE_MONTH, GB_MONTH = 25.0, 4.0  # dollars: about what large clouds ask


def fleet(found: dict[str, Any], rate: float) -> dict[str, float]:
    """Machines, memory and money for a rate of requests."""
    task, replica = found["task"], found["a_replica"]
    # A creation counts as so many predictions as it takes of their processor time.
    weight = 1 - CREATIONS + CREATIONS * task["server_cpu_ms"] / found["stages"]["server_cpu_ms"]
    replicas = math.ceil(rate * weight / (FULL * replica["a_second"]))
    primaries = max(1, math.ceil(rate / (FULL * found["redis"]["get_a_second"])))
    writers = max(1, math.ceil(CREATIONS * rate / (FULL * found["redis"]["set_a_second"])))
    cores = replicas * replica["cores"]
    dollars = cores * CORE_MONTH + replicas * REPLICA_GB * GB_MONTH
    return {
        "replicas": replicas,
        "cores": cores,
        "gb": replicas * REPLICA_GB,
        "redis": max(primaries, writers),
        "dollars": dollars,
    }


def store(found: dict[str, Any], tasks: int) -> dict[str, float]:
    """Machines, memory and money for a number of tasks."""
    gb = tasks * found["task"]["redis_bytes"] / 1e9
    disk = tasks * found["task"]["redis_disk_bytes"] / 1e9
    primaries = math.ceil(gb / (FULL * NODE_GB))
    return {"gb": gb, "disk": disk, "primaries": primaries, "dollars": COPIES * primaries * NODE_GB * GB_MONTH}


def figures(found: dict[str, Any], ray: dict[str, Any]) -> dict[str, str]:
    """The tables between the guide's marks, by name."""
    return {"stages": stages(found), "simulation": simulation(found), "fleets": fleets(found), "ray": on_ray(ray)}


def stages(found: dict[str, Any]) -> str:
    """Where a prediction's time goes."""
    measured, task, redis = found["stages"], found["task"], found["redis"]
    rows = [
        ("a prediction of one image, one client", f"{measured['mean_ms']:.2f} ms"),
        ("of which the event loop: HTTP, parsing, decoding", f"{measured['loop_ms']:.2f} ms"),
        ("the device: φ and the head", f"{measured['device_ms']:.2f} ms"),
        ("each further image in its batch", f"{measured['device_further_image_ms']:.2f} ms"),
        ("waits: Redis, threads, the network", f"{measured['waits_ms']:.2f} ms"),
        ("the client itself", f"{measured['client_ms']:.2f} ms"),
        ("nginx, where it stands before the service", f"{found['gateway_ms']:.2f} ms"),
        ("the server's processor time for it", f"{measured['server_cpu_ms']:.2f} ms"),
        ("the same prediction of a task that is not in the cache", f"{found['cold']['mean_ms']:.2f} ms"),
        ("a new 5-way 1-shot task, the server's processor time", f"{task['server_cpu_ms']:.1f} ms"),
        ("new tasks a second, eight clients", f"{task['a_second']:.0f}"),
        ("a task in Redis, its examples kept", f"{task['redis_bytes']:,} bytes"),
        ("its head in a replica's cache", f"{task['head_bytes']:,} bytes"),
        ("reads of 2 KB from one Redis", f"{redis['get_a_second']:,.0f} a second"),
        ("durable writes of 2 KB", f"{redis['set_a_second']:,.0f} a second"),
    ]
    where = found["machine"]
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""]
    return "\n".join([*lines, f"{where['processor']}, {where['cores']} cores, {found['date']}: `make capacity`."])


def simulation(found: dict[str, Any]) -> str:
    """Measured beside simulated."""
    lines = ["| clients, replicas | a second: measured, simulated | p99 ms: measured, simulated |", "|---|---|---|"]
    predicted = []
    for one in found["comparison"]:
        said, off = one["simulated"], one["off"]
        rates = f"{one['a_second']:.0f}, {said['a_second']:.0f} ({100 * off['a_second']:+.0f} %)"
        slow = f"{one['p99_ms']:.1f}, {said['p99_ms']:.1f} ({100 * off['p99_ms']:+.0f} %)"
        if one["clients"] == 1:
            from_it = ": stages"
        elif (one["clients"], one["replicas"]) == (found["fitted"]["clients"], 1):
            from_it = ": fitted"
        else:
            from_it = ""
            predicted.append(off)
        lines.append(f"| {one['clients']}, {one['replicas']}{from_it} | {rates} | {slow} |")
    rate, p99 = (max((off[what] for off in predicted), key=abs) for what in ("a_second", "p99_ms"))
    lines += ["", f"Furthest off where nothing was taken from: throughput {100 * rate:+.0f} %, p99 {100 * p99:+.0f} %."]
    return "\n".join(lines)


def fleets(found: dict[str, Any]) -> str:
    """Machines, memory and money."""
    one = found["a_replica"]
    lines = [
        f"A replica with {one['cores']} cores holds {one['a_second']:.0f} predictions a second at a p99 of "
        f"{one['p99_within_ms']:.0f} ms (simulated, requests at random).",
        "",
        "| requests a second | replicas | cores | memory | Redis primaries for the reads | dollars a month |",
        "|---|---|---|---|---|---|",
    ]
    for rate in RATES:
        need = fleet(found, rate)
        lines.append(
            f"| {rate:,} | {need['replicas']:,} | {need['cores']:,.0f} | {need['gb']:,} GB | {need['redis']} "
            f"| {need['dollars']:,.0f} |"
        )
    lines += [
        "",
        "| tasks | memory | disk | Redis primaries | dollars a month, a copy of each |",
        "|---|---|---|---|---|",
    ]
    for tasks in TASKS:
        keep = store(found, tasks)
        lines.append(
            f"| {tasks:,} | {keep['gb']:,.0f} GB | {keep['disk']:,.0f} GB | {keep['primaries']:,.0f} "
            f"| {keep['dollars']:,.0f} |"
        )
    return "\n".join(lines)


def on_ray(found: dict[str, Any]) -> str:
    """What Ray Serve did on one machine."""
    lines: list[str] = []
    if "throughput" in found:
        lines += ["| | predictions a second, by round | p99 ms, by round |", "|---|---|---|"]
        for name, rounds in found["throughput"]["rounds"].items():
            rates = ", ".join(f"{one['a_second']:.0f}" for one in rounds)
            slow = ", ".join(f"{one['p99_ms']:.0f}" for one in rounds)
            lines.append(f"| {name} | {rates} | {slow} |")
        lines.append("")
    if "affinity" in found:
        kept = found["affinity"]
        lines.append(
            f"{kept['tasks']:,} tasks on {kept['replicas']} replicas behind HAProxy, {kept['predictions_a_task']} "
            f"predictions each: {100 * kept['hit_rate']:.1f} % found the head in their replica's cache. Of those that "
            f"did not, {kept['misses_in_each_tasks_first_prediction']} were a task's first, as a task is made on any "
            f"replica, and {kept['misses_later']} a later one. With one replica more {100 * kept['share_moved']:.1f} % "
            "of the tasks moved."
        )
        lines.append("")
    if "node_killed" in found:
        killed = found["node_killed"]
        lines.append(
            f"One of two nodes killed under load: of {killed['requests']:,} requests "
            f"{killed['failed_after_retries']} failed after the client's own retries, the slowest took "
            f"{killed['slowest_seconds']:.1f} s, and of {killed['acknowledged_tasks']} acknowledged tasks "
            f"{killed['lost']} were lost."
        )
    return "\n".join(lines)


def written(guide: str) -> str:
    """The guide with its figures brought up to date."""
    for name, table in figures(read_results("capacity"), read_results("ray")).items():
        guide = between_marks(guide, table, name)
    return guide


if __name__ == "__main__":
    GUIDE.write_text(written(GUIDE.read_text()))
