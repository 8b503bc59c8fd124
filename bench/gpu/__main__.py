"""Holds a GPU against the CPU and measures it; writes bench/results/gpu.json. At most five minutes.

    python3 -m bench.gpu                    # on the GPU
    python3 -m bench.gpu --device cpu       # the same without one, to test this script
    python3 -m bench.gpu --only agreement,engine --out /tmp/gpu.json

It needs PyTorch and no network. Packages that the machine lacks are taken from the folder `.wheels`; on a machine with
a network `make gpu-wheels` fills it. One step that fails, or finds no time left, does not stop the others: the results
say which and why. They are written after every step.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
WHEELS = ROOT / ".wheels"
NEEDED = ("pydantic", "safetensors", "onnx", "onnxruntime", "scipy", "PIL")  # for anything at all
UNPACKED = "LEO_GPU_WHEELS"  # set once the wheels have been unpacked


def with_wheels() -> None:
    """Start again with the packages of `.wheels`, if they are there. Uses the standard library only."""
    wheels = sorted(WHEELS.glob("*.whl"))
    if os.environ.get(UNPACKED) or not wheels or importlib.util.find_spec("fastapi"):
        return
    folder = tempfile.mkdtemp(prefix="leo-wheels-")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-compile",
        "--no-cache-dir",
    ]
    done = subprocess.run([*pip, "--target", folder, *map(str, wheels)], capture_output=True, text=True)
    if done.returncode:
        print(f"the wheels in {WHEELS} could not be unpacked: {done.stderr[-500:]}", flush=True)
    path = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {UNPACKED: folder, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    os.execve(sys.executable, [sys.executable, "-m", "bench.gpu", *sys.argv[1:]], environment)  # noqa: S606


class Run:
    """The steps of one run, and what has come of them."""

    def __init__(self, out: Path, seconds: float) -> None:
        self._out, self._until = out, time.monotonic() + seconds
        self.results: dict[str, Any] = {"what": __doc__.splitlines()[0] if __doc__ else "", "steps": {}}

    @property
    def left(self) -> float:
        """Seconds that are left for everything."""
        return self._until - time.monotonic()

    def step(self, name: str, measure: Callable[[], Any], needs: float = 5.0) -> None:
        """Run a step if there are `needs` seconds left, and keep its figures or what went wrong."""
        began = time.monotonic()
        if self.left < needs:
            found: Any = {"skipped": f"{self.left:.0f} s were left, and it needs {needs:g}"}
        else:
            try:
                found = measure()
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                found = {"failed": f"{type(error).__name__}: {error}"[:2000], "where": traceback.format_exc()[-2000:]}
        self.results["steps"][name] = found
        self.results.setdefault("seconds", {})[name] = round(time.monotonic() - began, 1)
        self.save()
        print(name, json.dumps(found)[:3000], flush=True)

    def save(self) -> None:
        """Write what there is."""
        self._out.parent.mkdir(parents=True, exist_ok=True)
        self._out.write_text(json.dumps(self.results, indent=2) + "\n")


def main() -> None:
    """Run all steps, or those asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=4.8)
    parser.add_argument("--only", default="", help="steps, separated by commas; all if empty")
    parser.add_argument("--small", action="store_true", help="few tasks and images, to test this script")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results" / "gpu.json")
    given = parser.parse_args()
    with_wheels()
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(
            f"{', '.join(missing)} are missing: carry wheels in {WHEELS.name}/ (`make gpu-wheels`), or install them"
        )
    run = Run(given.out, 60 * given.minutes)
    small = given.small or given.device == "cpu"

    from bench.gpu import agreement, engine, service, suite, training
    from model.evaluation.provenance import machine, today

    run.results |= {"date": today(), "machine": machine(), "device": given.device, "small": small}
    steps: dict[str, tuple[Callable[[], Any], float]] = {
        "hardware": (suite.hardware, 1),
        "linear_solvers": (partial(engine.linear_solvers, given.device), 3),
        "engine": (partial(engine.measure, given.device, small), 10),
        "agreement": (partial(agreement.measure, given.device, small), 20),
        "service": (lambda: service.measure(given.device, small, min(70.0, run.left - 60)), 40),
        "training": (partial(training.measure, given.device, small), 15),
        "suite": (lambda: suite.tests(min(110.0, run.left - 5), small), 30),
    }
    wanted = [name.strip() for name in given.only.split(",") if name.strip()] or list(steps)
    for name in wanted:
        measure, needs = steps[name]
        run.step(name, measure, needs)
    failed = [name for name, found in run.results["steps"].items() if "failed" in found]
    print(f"written to {given.out}" + (f"; failed: {', '.join(failed)}" if failed else ""), flush=True)


if __name__ == "__main__":
    main()
