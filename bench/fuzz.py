"""Calls made from the OpenAPI document by schemathesis, and how many were answered wrongly: bench/results/fuzz.json.

The calls are counted by the server itself, in its metrics.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from bench.common import ROOT, write_results
from bench.service import Service, metrics

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,use_after_free,ensure_resource_availability"
)
PATIENCE = "3600"  # seconds: whoever shares the machine may stop everything for a while
PHASES = ("examples,coverage,fuzzing", "stateful")


def by_status(service: Service) -> Counter[str]:
    """Requests by the hundreds of their status, since the server's start."""
    counts: Counter[str] = Counter()
    for name, number in metrics(service.url).items():
        if name.startswith("leo_http_requests_total/"):
            counts[f"{name.rpartition('/')[2][0]}xx"] += int(number)
    return counts


def run(service: Service, folder: Path, phases: str, examples: int, head: Path) -> dict[str, Any]:
    """One run of schemathesis, and what it found. `head` is a file that `POST /tasks/import` takes."""
    report, before = folder / "report.json", by_status(service)
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", "--checks", CHECKS, "--continue-on-failure"]
    options = ["--phases", phases, "-n", str(examples), "--report", "json", "--report-json-path", str(report)]
    options += ["--request-timeout", PATIENCE]
    hooks = {"SCHEMATHESIS_HOOKS": "tests.hostile.fuzz_hooks", "PYTHONPATH": str(ROOT), "LEO_FUZZ_HEAD": str(head)}
    subprocess.run([*command, *options, f"{service.url}/openapi.json"], env=os.environ | hooks, cwd=folder)
    found, counts = json.loads(report.read_text()), by_status(service) - before
    return {
        "phases": phases,
        "seed": str(found["seed"]),
        "calls": counts.total(),
        "by_status": dict(sorted(counts.items())),
        "with_failures": found["test_cases"]["with_failures"],
        "errors": len(found["errors"]),
        "failures": [f"{one['code']} {one['title']}: {one['operations']}" for one in found["failures"]],
    }


def main() -> None:
    """Call the server until enough was sent; fail on any 5xx, and on any answer that OpenAPI does not describe."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--examples", type=int, default=150, help="most cases for one operation in a run")
    given = parser.parse_args()
    runs: list[dict[str, Any]] = []
    patient = {"LEO_REQUEST_TIMEOUT": PATIENCE, "LEO_DECODE_DEADLINE": PATIENCE}
    with tempfile.TemporaryDirectory() as temporary, Service(**patient) as service:
        folder = Path(temporary)
        head = folder / "head.safetensors"
        head.write_bytes(httpx.get(f"{service.url}/tasks/{service.created()}/parameters").content)
        while sum(one["calls"] for one in runs) < given.calls:
            runs.append(run(service, folder, PHASES[len(runs) % 2], given.examples, head))
            print({key: runs[-1][key] for key in ("phases", "calls", "with_failures")}, flush=True)
        tracebacks = service.log.read_text().count("Traceback")
    statuses = sum((Counter(one["by_status"]) for one in runs), Counter[str]())
    counts = {
        "calls": sum(one["calls"] for one in runs),
        "stateful_calls": sum(one["calls"] for one in runs if one["phases"] == "stateful"),
        "by_status": dict(sorted(statuses.items())),
        "with_failures": sum(one["with_failures"] for one in runs),
        "errors": sum(one["errors"] for one in runs),
        "tracebacks_in_the_log": tracebacks,
    }
    write_results("fuzz", f"schemathesis, checks {CHECKS}", **counts, runs=runs)
    print(json.dumps(counts, indent=2))
    sys.exit(bool(counts["with_failures"] or counts["errors"] or tracebacks or statuses["5xx"]))


if __name__ == "__main__":
    main()
