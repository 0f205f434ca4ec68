"""From memory to archive: frames are read and compressed on all processors and written in order.

Runs before the release: tests/test_hot_path.py lists what this module may import. Each worker holds one
frame at a time, so memory is bounded by the number of workers, whatever the size of the core.
"""

from __future__ import annotations

import _thread
import mmap
import os

from pycoredump import plan, zstd
from pycoredump.archive import Full, Writer
from pycoredump.errors import ProcessGone
from pycoredump.memory import Memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from pycoredump.plan import Job, Plan

    class Source(Protocol):
        """Where the bytes of a core come from."""

        failed: list[tuple[int, int]]  # (address, bytes) that could not be read

        @property
        def sequential(self) -> bool:
            """Whether it can be read in its own order only."""

        def fill(self, buffer: memoryview, where: int) -> int:
            """Fill the buffer from an address (or offset); the bytes that came."""


SAMPLE = 16 << 10  # bytes from one look for zeros to the next
ZEROS = bytes(1 << 20)
ENDED = "The process went away, or its core ended, while it was read"
WORKERS_MAX = 8  # about 4 MiB each; more processors are left to those who do the work of the host


def any_set(view: memoryview) -> bool:
    """Whether a byte of it is not zero. A look here and there spares most buffers the whole comparison."""
    if any(view[at] for at in range(0, len(view), SAMPLE)):
        return True

    # A memoryview compares item by item; this, by memcmp and without a copy, eighty times as fast.
    return not all(ZEROS.startswith(view[at : at + len(ZEROS)]) for at in range(0, len(view), len(ZEROS)))


class StreamSource:
    """The bytes of the core as they come from the kernel; forward only."""

    sequential = True

    def __init__(self, fd: int, position: int) -> None:
        self.fd = fd
        self.position = position
        self.failed: list[tuple[int, int]] = []

    def fill(self, buffer: memoryview, where: int) -> int:
        """Bytes that came; fewer than asked for at the end of the stream."""
        if where > self.position and self._skip(where - self.position) is False:
            return 0

        at = 0
        while at < len(buffer):
            count = os.readv(self.fd, [buffer[at:]])
            if count == 0:
                break
            at += count
        self.position += at
        return at

    def _skip(self, size: int) -> bool:
        while size > 0:
            part = os.read(self.fd, min(size, 1 << 20))
            if not part:
                return False
            size -= len(part)
            self.position += len(part)
        return True


class MemorySource:
    """The bytes of the core as they stand in the memory of the process; in any order."""

    sequential = False

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.failed = memory.failed

    def fill(self, buffer: memoryview, where: int) -> int:
        return self.memory.read_into(buffer, where)


class Pipeline:
    """Runs a plan's jobs through the workers. `stopped` says why it ended early, "" if it did not."""

    def __init__(
        self,
        jobs: Iterator[Job],
        source: Source,
        writer: Writer,
        *,
        level: int,
        frame: int,
    ) -> None:
        self.jobs = jobs
        self.frame = frame
        self.source = source
        self.writer = writer
        self.level = level
        self.stopped = ""
        self.problem = ""  # why frames are not compressed, or not by zstandard
        self._lock = _thread.allocate_lock()
        self._turn = _thread.allocate_lock()  # free: the next frame may be written
        self._broken = False  # a frame is missing: no later one may be written
        self._ended: list[_thread.LockType] = []

    def run(self, workers: int) -> None:
        """Do all jobs; OSError of writing is raised when all workers have ended."""
        self._error: Exception | None = None
        for _ in range(workers - 1):
            ended = _thread.allocate_lock()
            ended.acquire()
            try:
                _thread.start_new_thread(self._thread, (ended,))
            except RuntimeError:
                break  # the host has no room for another thread: then this one does it all
            self._ended.append(ended)
        self._work()
        for ended in self._ended:
            ended.acquire()
        if self._error is not None:
            raise self._error

    def _thread(self, ended: _thread.LockType) -> None:
        try:
            self._work()
        finally:
            ended.release()

    def _work(self) -> None:
        try:
            encode = self._encoder()
            with mmap.mmap(-1, self.frame) as buffer, memoryview(buffer) as view:
                self._until_the_end(view, encode)
        except Exception as e:
            self._fail(e)

    def _until_the_end(self, view: memoryview, encode: Callable[[memoryview], bytes]) -> None:
        try:
            while self._one(view, encode):
                pass
        except Exception as e:
            # Here, not in _work(): its traceback holds pieces of the view, and the mapping could not be closed.
            self._fail(e)

    def _fail(self, error: Exception) -> None:
        """A worker that fails must not take the core with it: what was written is finished and named."""
        self._stop(ENDED if isinstance(error, ProcessGone) else f"{type(error).__name__}: {error}")
        if isinstance(error, OSError):
            self._error = error.with_traceback(None)

    def _stop(self, reason: str) -> None:
        self.stopped = self.stopped or reason

    def _break(self, reason: str) -> None:
        self._broken = True
        self._stop(reason)

    def _encoder(self) -> Callable[[memoryview], bytes]:
        if not self.writer.compressed:
            return bytes
        compress, problem = zstd.compressor(self.level)
        self.problem = self.problem or problem
        return compress or zstd.raw

    def _one(self, view: memoryview, encode: Callable[[memoryview], bytes]) -> bool:
        with self._lock:
            job = None if self.stopped else next(self.jobs, None)
            if job is None:
                return False
            mine, self._turn = self._turn, _thread.allocate_lock()
            following = self._turn
            following.acquire()
            filled = self._fill_in_order(job, view) if self.source.sequential else -1
        try:
            if filled < 0:
                filled = self._fill(job, view)
            empty = job.zero or not any_set(view[:filled])
            frame = b"" if empty else encode(view[:filled])
        except BaseException:
            mine.acquire()
            self._broken = True
            following.release()
            raise
        mine.acquire()
        try:
            # Not `stopped`: that may come from a later frame, and this one is still wanted.
            if not self._broken:
                self._write(frame, filled)
                if filled < job.size:
                    self._break(ENDED)
        finally:
            following.release()
        return not self.stopped

    def _fill_in_order(self, job: Job, view: memoryview) -> int:
        # While the lock is held: who comes next must find a turn that is given on, or that all is stopped.
        try:
            return self._fill(job, view)
        except Exception as e:
            self._stop(f"{type(e).__name__}: {e}")
            return 0

    def _fill(self, job: Job, view: memoryview) -> int:
        if job.zero:
            return job.size
        at = 0
        for kind, where, size, content in job.runs:
            if kind == plan.DATA:
                came = self.source.fill(view[at : at + size], where)
            else:
                view[at : at + size] = content if kind == plan.LITERAL else bytes(size)
                came = size
            at += came
            if came < size:
                break
        return at

    def _write(self, frame: bytes, filled: int) -> None:
        # No frame: all zeros, touched or not.
        try:
            if frame:
                self.writer.append(frame, filled)
            elif filled:
                self.writer.zeros(filled)
        except Full as e:
            self.writer.full = True
            self._break(str(e))


def store(
    planned: Plan,
    source: Source,
    writer: Writer,
    *,
    level: int,
    workers: int,
    frame: int = plan.FRAME,
) -> Pipeline:
    """Write the planned core. Afterwards the writer holds what came; `stopped` says whether that is all."""
    writer.head(planned.head)
    pipeline = Pipeline(plan.jobs(planned.runs(), frame), source, writer, level=level, frame=frame)
    pipeline.run(max(1, min(workers, WORKERS_MAX)))
    if not planned.size and pipeline.stopped == ENDED:
        pipeline.stopped = ""
    return pipeline
