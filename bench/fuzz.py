"""schemathesis against a running server, examples, coverage, fuzzing and stateful; into bench/results/fuzz.json."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.latency import RESULTS, ROOT
from model.card import machine, today
from tests.e2e.conftest import Server

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,use_after_free,ensure_resource_availability"
)


def main() -> None:
    """Call the server until enough was sent; fail on any 5xx, and on any answer that OpenAPI does not describe."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--examples", type=int, default=300, help="most cases for one operation in a run")
    given = parser.parse_args()
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", "--checks", CHECKS, "--continue-on-failure"]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.hostile.fuzz_hooks", "PYTHONPATH": str(ROOT)}
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        server, report = Server(Path(folder) / "data"), Path(folder) / "report.json"
        try:
            server.start()
            while sum(run["calls"] for run in runs) < given.calls:
                options = ["-n", str(given.examples), "--report", "json", "--report-json-path", str(report)]
                subprocess.run([*command, *options, f"{server.url}/openapi.json"], env=environment, cwd=folder)
                found = json.loads(report.read_text())
                runs.append(
                    {
                        "seed": str(found["seed"]),
                        "calls": found["test_cases"]["generated"],
                        "with_failures": found["test_cases"]["with_failures"],
                        "errors": len(found["errors"]),
                        "failures": [f"{one['code']} {one['title']}: {one['operations']}" for one in found["failures"]],
                    }
                )
            made = len(server.log.read_text().split("Traceback")) - 1
        finally:
            server.close()
    counts = {
        "calls": sum(run["calls"] for run in runs),
        "with_failures": sum(run["with_failures"] for run in runs),
        "tracebacks_in_the_log": made,
    }
    written = {"what": f"schemathesis, checks {CHECKS}", "date": today(), "machine": machine(), **counts, "runs": runs}
    (RESULTS / "fuzz.json").write_text(json.dumps(written, indent=2) + "\n")
    print(json.dumps(counts, indent=2))
    sys.exit(1 if counts["with_failures"] or made else 0)


if __name__ == "__main__":
    main()
