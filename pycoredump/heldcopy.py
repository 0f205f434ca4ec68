"""A small core, copied at once: the process need not wait until it is compressed and on the disk.

Runs before the release: tests/test_hot_path.py lists what this module may import. Copying 4 MiB takes some
milliseconds, compressing and storing them many more. The copy is as safe as an archive that has no name yet: both are
lost with the handler, and only with it. It is a plain core, which the analysis can read as it is.
"""

from __future__ import annotations

import _bisect
import mmap
import os

from pycoredump import plan
from pycoredump.memory import Memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycoredump.plan import Plan, Run

SIZE_MAX = 16 << 20  # bytes of memory copied; more takes long enough to be worth the compression at once
RUNS_MAX = 8192
SPAN_MAX = 64 << 30  # bytes of the core, untouched memory included: it is mapped as a whole


class HeldCopy(Memory):
    """The memory of a process as a copy of it has it; what is not in the copy was not touched."""

    def __init__(self, planned: Plan, size: int) -> None:
        super().__init__(os.memfd_create("core", os.MFD_CLOEXEC))
        os.ftruncate(self.fd, size)
        self._map = mmap.mmap(self.fd, size)
        self._view = memoryview(self._map)
        self._view[: len(planned.head)] = planned.head
        self._end = len(planned.head)
        self.runs: list[Run] = []  # what the plan came to: asked again, it would find the process gone
        self._pieces: list[
            tuple[int, int, int]
        ] = []  # (address, end, offset), in order of address once complete

    def append(self, run: Run, memory: Memory) -> bool:
        """False if not all of it came."""
        kind, where, size, content = run
        with self._view[self._end : self._end + size] as part:
            if kind == plan.LITERAL:
                part[:] = content
            elif kind == plan.DATA:
                if memory.read_into(part, where) < size:
                    return False
                self._pieces.append((where, where + size, self._end))
        self._end += size
        self.runs.append(run)
        return True

    def complete(self, failed: list[tuple[int, int]]) -> None:
        self._pieces.sort()
        self.failed += failed

    def read_into(self, buffer: memoryview, address: int) -> int:
        end = address + len(buffer)
        at = max(0, _bisect.bisect_right(self._pieces, (address, 1 << 64, 0)) - 1)
        done = address
        while done < end:
            low, high, offset = self._pieces[at] if at < len(self._pieces) else (end, end, 0)
            if done < low:  # untouched
                upto = min(low, end)
                buffer[done - address : upto - address] = bytes(upto - done)
                done = upto
            elif done < high:
                upto = min(high, end)
                buffer[done - address : upto - address] = self._view[
                    offset + done - low : offset + upto - low
                ]
                done = upto
            at += done >= high
        return len(buffer)

    def read(self, address: int, size: int) -> bytes:
        data = bytearray(size)
        with memoryview(data) as view:
            self.read_into(view, address)
        return bytes(data)

    def is_there(self) -> bool:
        return True

    def close(self) -> None:
        self._view.release()
        self._map.close()
        os.close(self.fd)


def make(planned: Plan, memory: Memory) -> HeldCopy | None:
    """A copy of what is planned. None if that is much, or not all of it came. OSError."""
    runs = _few(planned)
    size = len(planned.head) + sum(run[2] for run in runs)
    if not runs or size > SPAN_MAX:
        return None
    copy = HeldCopy(planned, size)
    if not all(copy.append(run, memory) for run in runs) or not memory.is_there():
        copy.close()
        return None
    copy.complete(memory.failed)
    return copy


def _few(planned: Plan) -> list[Run]:
    """The runs of the plan; [] if there are too many, or too much is in them."""
    found: list[Run] = []
    total = 0
    for run in planned.runs():
        found.append(run)
        total += run[2] if run[0] == plan.DATA else 0
        if total > SIZE_MAX or len(found) > RUNS_MAX:
            return []
    return found
