"""The long versions of tests/e2e/test_cluster.py: kills, a pause, a failover; counts into bench/results/chaos.json."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from bench.latency import RESULTS
from model.card import machine, today
from tests.e2e import chaos
from tests.e2e.cluster import running


def main() -> None:
    """Run all three one after another on one cluster, write what came of them, and fail if anything was lost."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pause", type=float, default=10.0, help="seconds")
    parser.add_argument("--between", type=int, default=1000, help="predictions before, between and after the two")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as cluster:
        counts = {
            "kills_under_load": chaos.kills(cluster, given.kills),
            "redis_paused": chaos.pause(cluster, given.pause),
            "one_killed_one_stopped": chaos.failover(cluster, between=given.between),
        }
    written = {"what": "nginx, three replicas, one Redis, on one machine", "date": today(), "machine": machine()}
    target = RESULTS / "chaos.json"
    target.write_text(json.dumps(written | counts, indent=2) + "\n")
    print(json.dumps(counts, indent=2))
    lost = counts["kills_under_load"]["lost"] + counts["redis_paused"]["warm_failed"]
    sys.exit(1 if lost + counts["one_killed_one_stopped"]["failed"] else 0)


if __name__ == "__main__":
    main()
