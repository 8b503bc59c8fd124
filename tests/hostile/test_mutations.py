"""The decoder makes of any broken file an image or a 422, never anything else."""

import subprocess
import sys

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.inference.decoding import decode_one
from app.problems import Problem
from app.settings import PROJECT
from model.images.reader import DrawingReader
from tests.helpers.every_format import KINDS, files_of

REAL = [file for kind in KINDS for file in files_of(kind)]


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """Draw a real file with bytes changed, cut out, doubled or inserted."""
    data = bytearray(draw(st.sampled_from(REAL)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        # Most fields that matter lie in the first bytes.
        at = at if draw(st.booleans()) else min(at, 64)
        length = draw(st.integers(1, 16))
        kind = draw(st.sampled_from(["change", "cut", "double", "insert", "end"]))
        if kind == "change":
            data[at : at + length] = draw(st.binary(min_size=length, max_size=length))
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "double":
            data[at:at] = data[at : at + length]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=length))
        else:
            del data[at:]
    return bytes(data)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(broken())
def test_a_broken_file_is_an_image_or_a_refusal(data: bytes) -> None:
    outcome: object
    try:
        outcome = decode_one(data, 3, DrawingReader(28), 10**6)
    except Problem as problem:
        outcome = problem
    if isinstance(outcome, Problem):
        assert (outcome.status, outcome.extra) == (422, {"index": 3})
        assert outcome.detail.startswith("image 3 ")
    else:
        assert isinstance(outcome, np.ndarray)
        assert (outcome.shape, outcome.dtype) == ((28, 28), np.uint8)


def test_decoders_neither_crash_nor_print_nor_take_memory() -> None:
    command = [sys.executable, "-m", "tests.helpers.decode_changed", "200"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, timeout=300, check=False)
    assert done.stderr == ""
    assert done.returncode == 0, done.stdout
    assert len(done.stdout.splitlines()) == len(KINDS)
