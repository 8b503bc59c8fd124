"""schemathesis against a running server: examples, coverage and fuzzing, then stateful; into bench/results/fuzz.json.

The calls are counted by the server itself, in its metrics.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from bench.latency import RESULTS, ROOT
from model.evaluation.card import machine, today
from tests.e2e.conftest import Server
from tests.helpers.drawn import CHARACTERS, png

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,use_after_free,ensure_resource_availability"
)
PATIENCE = "3600"  # seconds: the whole may be stopped and continued, on a machine where others measure
PHASES = ("examples,coverage,fuzzing", "stateful")
COUNTED = re.compile(r'leo_http_requests_total\{.*status="(\d)\d\d"\} ([\d.]+)')


def received(server: Server) -> Counter[str]:
    """Requests by the hundreds of their status, since the server's start."""
    counts: Counter[str] = Counter()
    for status, number in COUNTED.findall(httpx.get(f"{server.url}/metrics").text):
        counts[f"{status}xx"] += int(float(number))
    return counts


def exported_head(server: Server, folder: Path) -> Path:
    """A file that `POST /tasks/import` takes."""
    names = list(CHARACTERS)[:3]
    images = [("images", (name, png(name), "image/png")) for name in names]
    task = httpx.post(f"{server.url}/tasks", data={"labels": names}, files=images).json()["task_id"]
    head = folder / "head.safetensors"
    head.write_bytes(httpx.get(f"{server.url}/tasks/{task}/parameters").content)
    return head


def run(server: Server, folder: Path, phases: str, examples: int, environment: dict[str, str]) -> dict[str, Any]:
    """One run of schemathesis, and what it found."""
    report, before = folder / "report.json", received(server)
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", "--checks", CHECKS, "--continue-on-failure"]
    options = ["--phases", phases, "-n", str(examples), "--report", "json", "--report-json-path", str(report)]
    options += ["--request-timeout", PATIENCE]
    subprocess.run([*command, *options, f"{server.url}/openapi.json"], env=environment, cwd=folder)
    found, counts = json.loads(report.read_text()), received(server) - before
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
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        server = Server(folder / "data", LEO_REQUEST_TIMEOUT=PATIENCE, LEO_DECODE_DEADLINE=PATIENCE)
        try:
            server.start()
            environment = os.environ | {
                "SCHEMATHESIS_HOOKS": "tests.hostile.fuzz_hooks",
                "PYTHONPATH": str(ROOT),
                "LEO_FUZZ_HEAD": str(exported_head(server, folder)),
            }
            while sum(one["calls"] for one in runs) < given.calls:
                runs.append(run(server, folder, PHASES[len(runs) % 2], given.examples, environment))
                print({key: runs[-1][key] for key in ("phases", "calls", "with_failures")}, flush=True)
            tracebacks = server.log.read_text().count("Traceback")
        finally:
            server.close()
    statuses = sum((Counter(one["by_status"]) for one in runs), Counter[str]())
    counts = {
        "calls": sum(one["calls"] for one in runs),
        "stateful_calls": sum(one["calls"] for one in runs if one["phases"] == "stateful"),
        "by_status": dict(sorted(statuses.items())),
        "with_failures": sum(one["with_failures"] for one in runs),
        "errors": sum(one["errors"] for one in runs),
        "tracebacks_in_the_log": tracebacks,
    }
    written = {"what": f"schemathesis, checks {CHECKS}", "date": today(), "machine": machine(), **counts, "runs": runs}
    (RESULTS / "fuzz.json").write_text(json.dumps(written, indent=2) + "\n")
    print(json.dumps(counts, indent=2))
    sys.exit(1 if counts["with_failures"] or counts["errors"] or tracebacks or statuses["5xx"] else 0)


if __name__ == "__main__":
    main()
