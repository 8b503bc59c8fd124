"""The supervisor of worker processes, with workers that do nothing. tests/e2e/test_workers.py has real ones."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from app.settings import PROJECT

# One worker serves, and the other fails to start in the moment in which the service is stopped.
SCRIPT = """
import signal, sys, time
from app.process.workers import Workers
from app.shared_state import SharedState

state = SharedState(2)

def serve(listen, ready):
    if state.others_are_ready:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        print("starting", flush=True)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        ready()
    time.sleep(60)

sys.exit(Workers(state, serve, lambda: [], lambda: None, 20, 60).run())
"""


def test_a_worker_that_fails_to_start_while_the_service_stops_is_no_failure_of_it() -> None:
    service = subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=PROJECT, stdout=subprocess.PIPE)
    assert service.stdout is not None
    with service, service.stdout as said:
        assert said.readline() == b"starting\n"
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0


# One worker serves. The other stands still at its first start after its death, and says when it serves again.
STANDS_STILL = """
import os, pathlib, signal, socket, sys, time
from app.process.workers import Workers
from app.shared_state import SharedState

state, folder = SharedState(2), pathlib.Path(sys.argv[1])

def serve(listen, ready):
    starts = folder / str(state._own)
    starts.write_bytes(starts.read_bytes() + b"." if starts.exists() else b".")
    if state._own == 1 and starts.read_bytes() == b"..":
        print("standing still", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
    listen()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ready()
    if state._own == 1:
        print("serving", os.getpid(), flush=True)
    while True:
        state.beat()
        time.sleep(0.1)

def listen():
    print("listening", os.getpid(), flush=True)
    return [socket.socket()]

sys.exit(Workers(state, serve, listen, lambda: None, 20, 0).run())
"""


def test_a_worker_that_stands_still_at_its_start_is_replaced_and_holds_no_connections(tmp_path: Path) -> None:
    service = subprocess.Popen(
        [sys.executable, "-c", STANDS_STILL, tmp_path],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
    )
    assert service.stdout is not None
    with service, service.stdout as said:
        opened = [said.readline() for _ in range(2)]
        assert opened == [b"listening %d\n" % service.pid] * 2  # the parent keeps the sockets of both
        serving, process_id = said.readline().split()
        assert serving == b"serving"
        os.kill(int(process_id), signal.SIGKILL)
        assert said.readline() == b"standing still\n"
        opener, successor = said.readline(), said.readline()
        assert opener.split()[1] == successor.split()[1]  # its parent has closed the sockets, so it opens its own
        assert (opener.split()[0], successor.split()[0]) == (b"listening", b"serving")
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0
