"""What the container image weighs, and how long it takes to build and to start: `make bench-image`.

DOCKER names another program with Docker's commands `build` and `run`.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator

import httpx

from bench.common import ROOT, read_results, write_results
from bench.tables import between_marks, where_and_when
from tests.helpers.drawn import png
from tests.helpers.ports import free_port

DOCKER = shlex.split(os.environ.get("DOCKER", "docker"))
IMAGE = "leo-service"
DOCUMENT = ROOT / "docs" / "deployment.md"


def build() -> float:
    """Build the image, and return the seconds that took."""
    began = time.perf_counter()
    subprocess.run([*DOCKER, "build", "-t", IMAGE, "."], cwd=ROOT, check=True)
    return time.perf_counter() - began


def output_of(*command: str) -> str:
    """What a command prints in the image."""
    run = [*DOCKER, "run", "--rm", "--user", "root", IMAGE, *command]
    return subprocess.run(run, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


@contextlib.contextmanager
def running() -> Iterator[tuple[str, float]]:
    """Run a container. Gives its address, and the seconds until it was ready."""
    port = free_port()
    url, began = f"http://127.0.0.1:{port}", time.perf_counter()
    command = [*DOCKER, "run", "--rm", "-p", f"127.0.0.1:{port}:8000", IMAGE]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        try:
            while True:
                if process.poll() is not None or time.perf_counter() - began > 300:
                    log.seek(0)
                    raise SystemExit(f"the container is not ready:\n{log.read().decode(errors='replace')}")
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                        break
                time.sleep(0.05)
            yield url, time.perf_counter() - began
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def check(url: str) -> list[str]:
    """Create a task of drawings and ask it. Returns the names of the loaded models."""
    files = [("images", png(name, 1)) for name in ("ring", "ex")]
    task = (
        httpx.post(f"{url}/tasks", files=files, data={"labels": ["ring", "ex"]}, timeout=60).raise_for_status().json()
    )
    predicted = httpx.post(f"{url}/tasks/{task['task_id']}/predict", files={"images": png("ex", 5)}, timeout=60)
    if predicted.raise_for_status().json()["predictions"][0]["label"] != "ex":
        raise SystemExit(f"the container answers wrong: {predicted.text}")
    return [model["name"] for model in httpx.get(f"{url}/models", timeout=60).json()["models"]]


def memory(url: str) -> float:
    """Resident megabytes of all processes in the container."""
    lines = httpx.get(f"{url}/metrics", timeout=60).text.splitlines()
    (line,) = [line for line in lines if line.startswith("process_resident_memory_bytes ")]
    return float(line.split()[1]) / 1e6


def figures() -> str:
    """What the results file says, in words."""
    found = read_results("image")
    if not found:
        return ""
    kind = "GPUs" if found["cuda"] else "CPUs"
    return (
        f"With PyTorch's build for {kind} (torch {found['torch']}) the image has {found['size_gb']} GB, of which "
        f"{found['of_dependencies_gb']} GB are dependencies. It was built in {found['build_seconds']} s, is ready "
        f"{found['start_seconds']} s after `docker run`, and then takes {found['memory_mb']} MB of memory with the "
        f"models {' and '.join(found['models'])} ({where_and_when(found)}, load {found['load_average']}; base image of "
        f"Debian {found['base']}): `make bench-image`."
    )


def written(document: str) -> str:
    """The document with its figures brought up to date."""
    return between_marks(document, figures(), "image")


def main() -> None:
    """Build, run, measure, write."""
    build_seconds = build()
    kilobytes = {folder: int(output_of("du", "-skx", folder).split()[0]) for folder in ("/", "/opt/venv")}
    torch = output_of("python", "-c", "import torch; print(torch.__version__, torch.version.cuda)").split()
    starts = []
    for _ in range(3):
        with running() as (url, seconds):
            starts.append(seconds)
            models, megabytes = check(url), memory(url)
    write_results(
        "image",
        "the container image: its size, the time to build it with the base image and no layer of it here, and the time "
        "from `docker run` until it is ready, the median of three",
        size_gb=round(kilobytes["/"] * 1024 / 1e9, 2),
        of_dependencies_gb=round(kilobytes["/opt/venv"] * 1024 / 1e9, 2),
        torch=torch[0],
        cuda=torch[1] != "None",
        build_seconds=round(build_seconds),
        start_seconds=round(sorted(starts)[1], 1),
        memory_mb=round(megabytes),
        models=models,
        base=output_of("cat", "/etc/debian_version").strip(),
        load_average=round(os.getloadavg()[2], 1),
    )
    DOCUMENT.write_text(written(DOCUMENT.read_text()))


if __name__ == "__main__":
    main()
