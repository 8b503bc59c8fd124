"""The hardware as it is, and the test suite's parts that run there."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.common import ROOT

#: Test folders by what they need beside PyTorch.
PARTS = {
    "tests/model": (),
    "tests/app/inference": ("fastapi", "starlette"),
    "tests/e2e/test_device_process.py": ("fastapi", "uvicorn", "structlog", "cachetools", "redis", "multipart"),
}
SMALL = {"tests/model/serving/test_stacked.py": ()}


def hardware() -> dict[str, Any]:
    """What nvidia-smi says, and the cores."""
    query = "name,driver_version,memory.total,clocks.max.sm,power.limit"
    try:
        asked = subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        gpus: Any = asked.stdout.splitlines()
    except OSError as error:
        gpus = str(error)
    return {"gpus": gpus, "cores": len(os.sched_getaffinity(0))}


def tests(seconds: float, small: bool) -> dict[str, Any]:
    """Run what can be run within so many seconds; what cannot is named with what it lacks."""
    found: dict[str, Any] = {"skipped_parts": {}}
    can_run = []
    for part, needs in (SMALL if small else PARTS).items():
        missing = [name for name in needs if importlib.util.find_spec(name) is None]
        if missing:
            found["skipped_parts"][part] = f"{', '.join(missing)} missing"
        else:
            can_run.append(part)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "filterwarnings=default"]
    if importlib.util.find_spec("xdist"):
        command += ["-n", str(max(1, min(12, len(os.sched_getaffinity(0)) - 2)))]
    environment = os.environ | {"LEO_TEST_DATA": os.environ.get("LEO_TEST_DATA", str(Path("nowhere")))}
    try:
        done = subprocess.run(
            [*command, *can_run],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        output, found["status"] = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        output = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else late.stdout or ""
        found["status"] = f"not finished within {seconds:.0f} s"
    lines = output.splitlines()
    found["summary"] = lines[-1] if lines else ""
    found["failed_tests"] = [line for line in lines if re.match(r"(FAILED|ERROR) ", line)][:40]
    found["errors"] = [line for line in lines if line.startswith("E  ")][:40]
    return found
