"""What is lost when replicas and Redis are killed, paused and failed over; writes bench/results/chaos.json."""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.common import read_results, write_section
from tests.helpers import chaos
from tests.helpers.cluster import Cluster, running


def main() -> None:
    """The long versions of tests/e2e/test_cluster.py, on one cluster; fail if anything was lost."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--only", choices=["kills", "pause", "failover"], help="the others' last results stay")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pause", type=float, default=10.0, help="seconds")
    parser.add_argument("--between", type=int, default=1000, help="predictions before, between and after the two")
    given = parser.parse_args()
    scenarios: dict[str, Callable[[Cluster], dict[str, Any]]] = {
        "kills": lambda cluster: chaos.kills(cluster, given.kills),
        "pause": lambda cluster: chaos.pause(cluster, given.pause),
        "failover": lambda cluster: chaos.failover(cluster, between=given.between),
    }
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as cluster:
        for name, scenario in scenarios.items():
            if given.only in (None, name):
                write_section("chaos", name, scenario(cluster))
    written = read_results("chaos")
    bad = [written.get(name, {}).get(count, 0) for name, count in (("kills", "lost"), ("pause", "warm_failed"))]
    sys.exit(1 if sum(bad) + written.get("failover", {}).get("failed", 0) else 0)


if __name__ == "__main__":
    main()
