"""`leo serve` where it cannot start."""

import os
import subprocess
import sys


def test_too_little_memory_is_told_in_one_line() -> None:
    command = ["bash", "-c", f"ulimit -v 2000000; exec {sys.executable} -m app.cli serve"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"LEO_PORT": "0"})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: there is too little memory to load PyTorch")
