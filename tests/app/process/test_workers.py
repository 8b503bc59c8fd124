"""The supervisor of worker processes, with workers that do nothing. tests/e2e/test_workers.py has real ones."""

import signal
import subprocess
import sys

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
