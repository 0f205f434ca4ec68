"""The memory of the process that the kernel holds for us.

Runs before the release: tests/test_hot_path.py lists what this module may import. Reading /proc/PID/mem
(proc(5)) instead of the stream lets us skip what was never touched, read in any order and on all
processors; the stream then need not be read at all.
"""

from __future__ import annotations

import errno
import os

from pycoredump.corefile import PAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycoredump.corefile import Layout
    from pycoredump.procfs import ProcessDirectory

    Range = tuple[int, int]

# What a page that cannot be had gives: of a truncated file, a device, a guard, one that is poisoned.
PAGE_ERRORS = (errno.EIO, errno.EFAULT, errno.ENOMEM, errno.EINVAL)


class Memory:
    """Reads the memory of one process. Safe to use from several threads at once."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.failed: list[Range] = []  # (address, bytes) that could not be read and are zeros instead

    def read_into(self, buffer: memoryview, address: int) -> int:
        """Fill `buffer`; the bytes that came, fewer than asked for if the process went away.

        Pages that fail to read are zeros and noted, as the kernel writes them; any other error ends the reading.
        """
        failed: list[Range] = []
        at = 0
        while at < len(buffer):
            try:
                count = os.preadv(self.fd, [buffer[at:]], address + at)
            except (OSError, OverflowError) as e:
                if isinstance(e, OSError) and e.errno not in PAGE_ERRORS:
                    break
                count = min(PAGE - (address + at) % PAGE, len(buffer) - at)
                buffer[at : at + count] = bytes(count)
                _note(failed, address + at, count)
            if count == 0:
                break
            at += count
        self.failed += failed
        return at

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes; short if a page of them cannot be read."""
        try:
            return os.pread(self.fd, size, address)
        except (OSError, OverflowError):
            return b""

    def is_there(self) -> bool:
        """Whether the process still has its memory: without it, nothing is read, not even an error."""
        try:
            return os.pread(self.fd, 1, 0) != b""
        except OSError:
            return True


def _note(failed: list[Range], address: int, size: int) -> None:
    if address >= 1 << 63:
        return  # the kernel's vsyscall page: nobody can read it, the kernel neither
    if failed and sum(failed[-1]) == address:
        failed[-1] = (failed[-1][0], failed[-1][1] + size)  # a whole mapping may be unreadable
    else:
        failed.append((address, size))


def open_memory(directory: ProcessDirectory, layout: Layout) -> Memory | None:
    """The memory of the process in the stream. None if it cannot be proved to be that one, or not be read.

    The kernel wrote NT_AUXV from the memory descriptor that it dumps: random bytes' and vdso's addresses
    make it as good as unique, so an equal /proc/PID/auxv behind an unchanged directory is the proof.
    """
    if not layout.auxv_raw or directory.read("auxv", 64 << 10).rstrip(b"\0") != layout.auxv_raw.rstrip(
        b"\0"
    ):
        return None

    try:
        memory = Memory(directory.open("mem", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return None
    # The note itself is the check that this descriptor reads what the stream tells.
    probe = next((s for s in layout.segments if s.filesz), None)
    return memory if probe is None or len(memory.read(probe.vaddr, 16)) == 16 else None


def locked(directory: ProcessDirectory) -> list[Range]:
    """(start, end) of the mappings that the process had locked (mlock(2)), by VmFlags of /proc/PID/smaps.

    The kernel walks all page tables for it, so this is asked for only where the answer is wanted. Where it cannot
    be had, everything counts as locked.
    """
    found, span = [], b""
    for line in directory.lines("smaps"):
        first, _, rest = line.partition(b" ")
        if b"-" in first and not first.endswith(b":"):
            span = first
        elif first == b"VmFlags:" and b"lo" in rest.split():
            start, _, end = span.partition(b"-")
            found.append((int(start, 16), int(end, 16)))
    return found if span else [(0, 1 << 64)]
