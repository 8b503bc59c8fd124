"""The process that owns a device: it takes work from all workers, and batches across them.

It holds nothing that cannot be rebuilt. Whoever it cannot answer any more notices that its socket has closed.
"""

import contextlib
import logging
import mmap
import os
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from app.inference.batcher import BATCH_IMAGES
from app.inference.engine import is_device_lost, release_memory
from app.inference.failed_batches import OutOfMemory, failure_of, smaller_batches
from app.inference.models import Models
from app.inference.remote import protocol
from app.inference.remote.board import Board
from app.inference.remote.protocol import HELLO, PACKET_BYTES, READY, Reply, Request
from app.inference.remote.slots import Piece, read, write
from app.inference.timed_batches import observe_batch
from app.inference.work import Decode, Predict, Predicted, Result, Work
from app.problems import Problem

log = logging.getLogger(__name__)

IDLE_SECONDS = 0.5  # between two beats of an idle device process
RELOAD_SECONDS = 0.01  # between two looks at whether models have been loaded
MOST_REQUESTS = 256  # in a batch


class Worker:
    """A connection of a worker process, and its memory."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.memory: mmap.mmap | None = None  # once it has said hello

    def view(self, piece: Piece) -> memoryview:
        if self.memory is None or piece.offset + piece.size > len(self.memory):
            raise ValueError("a request names memory that the worker has not shared")
        return memoryview(self.memory)[piece.offset : piece.offset + piece.size]


@dataclass(frozen=True)
class Job:
    """A worker's request, read from its memory."""

    worker: Worker
    request: Request
    work: Work
    may_reload: bool = field(default=True)  # whether an unknown model may be looked for on disk

    @property
    def images(self) -> int:
        return 0 if isinstance(self.work, Decode) else len(self.work.images)


class DeviceServer:
    """Serves all workers that connect to a listening socket, in one thread, until the process is ended."""

    def __init__(
        self, listener: socket.socket, models: Models, reload: Callable[[], object], board: Board, number: int
    ):
        """`reload` loads models that have changed on disk. `number`: this device's on the `board`."""
        self._listener, self._models, self._reload, self._board, self._number = listener, models, reload, board, number
        self.workers: set[Worker] = set()  # that are connected
        self._selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        self._waiting: deque[Job] = deque()
        self._parked: list[Job] = []  # until a reload has ended
        self._reloading: threading.Thread | None = None
        self._running: Callable[[], None] | None = None  # hands out the results of a batch that has begun
        self.images = 0  # that wait or run

    def serve(self) -> None:
        """Serve for ever."""
        while True:
            self.turn()

    def turn(self) -> None:
        """Take in requests, begin the next batch, and then hand out the results of the one before."""
        self._board.beats[self._number] = time.monotonic()
        busy = self._running is not None or self._waiting
        self._receive(0 if busy else RELOAD_SECONDS if self._reloading else IDLE_SECONDS)
        self._end_reload()
        jobs = self._take()
        started = self._begin(jobs) if jobs else None
        if self._running is not None:
            self._running()
        self._running = started

    def close(self) -> None:
        """Close all connections; only tests do, as a device process just ends."""
        for worker in list(self.workers):
            self._forget(worker)
        self._selector.close()

    # -- workers -----------------------------------------------------------------------------

    def _receive(self, timeout: float) -> None:
        """Take in everything that workers have sent, after waiting for it at most so many seconds."""
        for key, _ in self._selector.select(timeout):
            if key.fileobj is self._listener:
                self._accept()
            else:
                self._read(key.data)
        self._board.images[self._number] = self.images

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            worker = Worker(connection)
            self.workers.add(worker)
            self._selector.register(connection, selectors.EVENT_READ, worker)

    def _read(self, worker: Worker) -> None:
        try:
            while True:
                packet, descriptors, _, _ = socket.recv_fds(worker.connection, PACKET_BYTES, 1)
                if not packet:
                    raise ConnectionResetError
                if packet == HELLO:
                    worker.memory = mmap.mmap(descriptors[0], 0)
                    os.close(descriptors[0])
                    worker.connection.send(READY)
                else:
                    self._handle(worker, Request.unpack(packet))
        except BlockingIOError:
            return
        except OSError:  # the worker has ended
            self._forget(worker)
        except (TypeError, ValueError, IndexError, struct.error) as error:
            log.error("a worker sent what cannot be understood (%s): its connection is closed", error)
            self._forget(worker)

    def _handle(self, worker: Worker, request: Request) -> None:
        if request.kind == protocol.CANCEL:
            for queue in (self._waiting, self._parked):
                for job in [job for job in queue if job.worker is worker and job.request.number == request.number]:
                    queue.remove(job)
                    self._answer(job, Problem(499, "the client has left"))
            return
        arrays = read(worker.view(request.piece))
        job = Job(worker, request, protocol.work_from_arrays(request.kind, arrays, request.model_version))
        self._waiting.append(job)
        self.images += job.images

    def _forget(self, worker: Worker) -> None:
        """Close a worker's connection, and drop its work that has not begun."""
        if worker not in self.workers:
            return
        self._selector.unregister(worker.connection)
        worker.connection.close()
        for queue in (self._waiting, self._parked):
            for job in [job for job in queue if job.worker is worker]:
                queue.remove(job)
                self.images -= job.images
        worker.memory = None  # unmapped with the last array that views it
        self.workers.remove(worker)  # last: once it is gone from here, nothing else of it is left

    def _answer(self, job: Job, result: Result | Problem) -> None:
        """Write an answer over its request, unless the worker has ended."""
        self.images -= job.images
        if job.worker.memory is None:
            return
        write(job.worker.view(job.request.piece), protocol.result_to_arrays(result))
        try:
            job.worker.connection.send(Reply(not isinstance(result, Problem), job.request.number).pack())
        except OSError:  # it has ended, or has not read its answers for so long that it must hang
            self._forget(job.worker)

    # -- batches -----------------------------------------------------------------------------

    def _take(self) -> list[Job]:
        """Take the next batch out of the queue. Work for a model that is not loaded waits for a reload."""
        jobs: list[Job] = []
        images = 0
        while self._waiting and images < BATCH_IMAGES and len(jobs) < MOST_REQUESTS:
            job = self._waiting.popleft()
            if job.may_reload and not self._models.knows(job.work):
                self._parked.append(replace(job, may_reload=False))
                self._begin_reload()
                continue
            jobs.append(job)
            images += job.images
        return jobs

    def _begin_reload(self) -> None:
        if self._reloading is None:
            self._reloading = threading.Thread(target=self._reload_models, name="reload", daemon=True)
            self._reloading.start()

    def _reload_models(self) -> None:
        try:
            self._reload()
        except Exception as error:
            log.error("the models stay as they are: %s", error)

    def _end_reload(self) -> None:
        if self._reloading is not None and not self._reloading.is_alive():
            self._reloading = None
            self._waiting.extend(self._parked)
            self._parked.clear()

    def _begin(self, jobs: Sequence[Job]) -> Callable[[], None]:
        """Start a batch, and return a function that waits for its results and hands them out."""
        batch, began = [job.work for job in jobs], time.perf_counter()
        try:
            results = self._models.begin(batch)
        except Exception as error:
            failure = self._explain(error, jobs)
            return lambda: self._run_apart(jobs, failure)

        def finish() -> None:
            try:
                found = results()
            except Exception as error:
                failure = self._explain(error, jobs)
            else:
                observe_batch(batch, time.perf_counter() - began)
                for job, result in zip(jobs, found, strict=True):
                    self._answer(job, result)
                return
            self._run_apart(jobs, failure)

        return finish

    def _explain(self, error: Exception, jobs: Sequence[Job]) -> Problem:
        """Say why a batch failed. Nothing is kept of the error, whose traceback holds the failed pass's tensors."""
        if is_device_lost(error):
            log.critical("the device is lost: %s", error)
            os._exit(1)  # the supervisor starts another process, which can use it again
        failure = failure_of(error, sum(job.images for job in jobs))
        if len(jobs) == 1 and not isinstance(failure, OutOfMemory):
            log.error("the model failed on a request", exc_info=error)
        return failure

    def _run_apart(self, jobs: Sequence[Job], failure: Problem) -> None:
        """Run a batch that failed in smaller parts."""
        parts = smaller_batches(jobs, failure)
        for part in parts:
            self._board.beats[self._number] = time.monotonic()
            self._begin(part)()
        if not parts:
            self._answer(jobs[0], self._in_halves(jobs[0], failure))

    def _in_halves(self, job: Job, failure: Problem) -> Result | Problem:
        """Classify the images of one request that is too large for the memory in two parts, and these again."""
        work = job.work
        if not isinstance(failure, OutOfMemory) or not isinstance(work, Predict) or len(work.images) < 2:
            return failure
        parts = []
        middle = len(work.images) // 2
        for images in (work.images[:middle], work.images[middle:]):
            half = replace(job, work=replace(work, images=images))
            result: Result | Problem
            try:
                (result,) = self._models.begin([half.work])()
            except Exception as error:
                result = self._explain(error, [half])
            if isinstance(result, Problem):
                release_memory()
                result = self._in_halves(half, result)
            if not isinstance(result, Predicted):
                return result
            parts.append(result)
        return Predicted.of_parts(parts)
