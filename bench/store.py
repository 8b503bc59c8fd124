"""How many tasks a second the embedded store takes, each on disk before it is acknowledged, without any model.

Writers wait for their task before they send the next one, as clients do. They are spread over processes, as over the
workers of a service. Writes bench/results/store.json; takes a minute.
"""

import asyncio
import json
import multiprocessing
import os
import secrets
import tempfile
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from app.cli.load import percentiles
from app.store.sqlite import SQLiteStore
from bench.common import ROOT, median_ms, write_results
from tests.helpers.records import five_way_record

SECONDS = 3.0
PROCESSES, WRITERS = (1, 2, 4, 8), (1, 16, 64)
PAYLOAD = secrets.token_bytes(5 * 64 * 2 + 200)  # features of five drawings, F = 64


def write(path: Path, writers: int, start: Barrier, results: "Queue[list[float]]") -> None:
    """Write from one process; puts the milliseconds of each write."""

    async def run() -> list[float]:
        store, took = await SQLiteStore.open(path), []
        start.wait()
        until = time.perf_counter() + SECONDS

        async def writer() -> None:
            while (began := time.perf_counter()) < until:
                await store.add(five_way_record(secrets.token_hex(12)), support=PAYLOAD)
                took.append(1000 * (time.perf_counter() - began))

        await asyncio.gather(*[writer() for _ in range(writers)])
        await store.close()
        return took

    results.put(asyncio.run(run()))


def measure(processes: int, writers: int) -> dict[str, Any]:
    """Writes a second of so many processes with so many writers altogether."""
    fork = multiprocessing.get_context("fork")
    start, results = fork.Barrier(processes), fork.Queue()
    with tempfile.TemporaryDirectory(dir=ROOT) as folder:  # not in memory, as /tmp may be
        path = Path(folder) / "tasks.sqlite3"
        work = (path, writers // processes, start, results)
        running = [fork.Process(target=write, args=work) for _ in range(processes)]
        for each in running:
            each.start()
        took = [results.get() for _ in running]
        for each in running:
            each.join()
    together = [milliseconds for own in took for milliseconds in own]
    return {
        "processes": processes,
        "writers": writers,
        "per_second": round(len(together) / SECONDS, 1),
        **percentiles(together),
        "fewest_to_most_of_a_process": round(min(map(len, took)) / max(map(len, took)), 3),
    }


def disk_ms() -> float:
    """Median milliseconds of writing 16 KB and waiting for the disk."""
    with tempfile.TemporaryFile(dir=ROOT, buffering=0) as file:

        def write_and_wait() -> None:
            file.write(bytes(16384))
            os.fdatasync(file.fileno())

        return median_ms(write_and_wait)


def main() -> None:
    """Measure and write."""
    rows = []
    for writers in WRITERS:
        for processes in PROCESSES:
            if processes <= writers:
                rows.append(measure(processes, writers))
                print(json.dumps(rows[-1]), flush=True)
    what = "tasks written a second to the embedded store, by processes and writers that wait for each"
    write_results("store", what, seconds=SECONDS, one_wait_for_the_disk_ms=disk_ms(), rows=rows)


if __name__ == "__main__":
    main()
