"""Functions of tensors as CUDA graphs: recorded once for a few sizes, then started by one launch instead of a hundred.

A graph computes one size only. Smaller inputs are padded with zeros to the smallest recorded size that holds them, and
inputs that fit none are computed as usual. A recording that cannot be made, or gives other results than the function
itself, is left out, so recording changes the speed and nothing else.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

log = logging.getLogger(__name__)

Function = Callable[..., tuple[Tensor, ...]]
Recording = tuple[Callable[[], object], tuple[Tensor, ...]]  # what computes again, and where its results then are
TOLERANCE = 2e-3  # between a graph's results and the function's, relative and absolute


class Recorder(Protocol):
    """How a function of fixed inputs is recorded."""

    def __call__(
        self, function: Function, inputs: tuple[Tensor, ...]
    ) -> tuple[Callable[[], object], tuple[Tensor, ...]]:
        """Return what computes the function again, and where its results then are."""


class CudaRecorder:
    """Records CUDA graphs whose intermediate results share one pool of memory, since they run one after the other."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Function, inputs: tuple[Tensor, ...]) -> Recording:
        """Raises `RuntimeError` where the function does what a graph cannot."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # libraries choose their methods and allocate before the recording
            for _ in range(2):
                function(*inputs)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            outputs = function(*inputs)
        return graph.replay, outputs


class Recorded:
    """A function with the recordings made of it. Each dimension of its inputs may be padded with zeros."""

    def __init__(self, function: Function, trim: Callable[..., tuple[Tensor, ...]]) -> None:
        """`trim` takes the results for padded inputs, and the true inputs, and returns the results for those."""
        self._function, self._trim = function, trim
        self._recordings: list[tuple[tuple[Tensor, ...], Callable[[], object], tuple[Tensor, ...]]] = []
        self.failures: dict[str, str] = {}  # sizes that could not be recorded, and why

    @property
    def sizes(self) -> list[list[tuple[int, ...]]]:
        """Shapes of the inputs that are recorded, the smallest first."""
        return [[tuple(each.shape) for each in inputs] for inputs, _, _ in self._recordings]

    def record(self, examples: Sequence[tuple[Tensor, ...]], recorder: Recorder) -> None:
        """Record the function for inputs like each of the examples."""
        for inputs in sorted(examples, key=lambda each: sum(one.numel() for one in each)):
            try:
                expected = [each.clone() for each in self._function(*inputs)]
                replay, outputs = recorder(self._function, inputs)
                replay()
                for found, right in zip(outputs, expected, strict=True):
                    torch.testing.assert_close(found, right, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
            except (RuntimeError, AssertionError) as error:
                shapes = ", ".join(str(tuple(each.shape)) for each in inputs)
                self.failures[shapes] = str(error).splitlines()[0]
                log.warning("no graph for inputs of %s: %s", shapes, self.failures[shapes])
            else:
                self._recordings.append((inputs, replay, outputs))

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute the function. Use the results before the next call: a graph always writes to the same memory."""
        for held, replay, outputs in self._recordings:
            if all(_fits(own, padded) for own, padded in zip(inputs, held, strict=True)):
                for own, padded in zip(inputs, held, strict=True):
                    if own.shape != padded.shape:
                        padded.zero_()
                    padded[tuple(slice(size) for size in own.shape)] = own
                replay()
                return self._trim(outputs, *inputs)
        return self._function(*inputs)


def _fits(own: Tensor, padded: Tensor) -> bool:
    return own.dim() == padded.dim() and all(size <= room for size, room in zip(own.shape, padded.shape, strict=True))
