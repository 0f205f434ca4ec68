"""Which parts of shared memory hold something: its file knows (lseek(2), SEEK_DATA), the page tables do not.

Runs before the release: tests/test_hot_path.py lists what this module may import. A look at a page that nobody
wrote yet would make the kernel allocate it: reading 64 GiB of address space costs 64 GiB of memory then.
"""

from __future__ import annotations

import _bisect
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycoredump.procfs import ProcessDirectory

POSIX = "/dev/shm"


class SharedMemory:
    """One mapping of a file in memory (memfd_create(2), shm_open(3), shmget(2), MAP_SHARED | MAP_ANONYMOUS)."""

    def __init__(self, fd: int, start: int, offset: int) -> None:
        """`offset`: where in the file the mapping starts."""
        self.fd = fd
        self._file_at = offset - start  # from an address to its place in the file

    def touched(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """(start, end) of the stretches that were written, in order."""
        at = start
        while at < end:
            try:
                first = os.lseek(self.fd, at + self._file_at, os.SEEK_DATA) - self._file_at
                stop = os.lseek(self.fd, first + self._file_at, os.SEEK_HOLE) - self._file_at
            except OSError:
                return  # ENXIO: nothing behind it
            if first >= end:
                return
            yield first, min(stop, end)
            at = stop


class SharedMemories:
    """The shared memory of one process, by address. What is asked for stays open as long as the handler lives."""

    def __init__(self, directory: ProcessDirectory) -> None:
        self.directory = directory
        self._mappings: list[tuple[int, int, int]] | None = None  # (start, end, offset), in order
        self._open: dict[int, SharedMemory | None] = {}

    def at(self, address: int) -> SharedMemory | None:
        """The mapping that an address is in, if that is shared memory."""
        if self._mappings is None:
            self._mappings = list(_shared(self.directory))
        at = _bisect.bisect_right(self._mappings, (address, 1 << 64, 0)) - 1
        if at < 0 or address >= self._mappings[at][1]:
            return None

        start, end, offset = self._mappings[at]
        if start not in self._open:
            self._open[start] = self._memory(start, end, offset)
        return self._open[start]

    def _memory(self, start: int, end: int, offset: int) -> SharedMemory | None:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            # Not by its name: what that leads to, the process decides.
            return SharedMemory(self.directory.open(f"map_files/{start:x}-{end:x}", flags), start, offset)
        except OSError:
            return None


def _shared(directory: ProcessDirectory) -> Iterator[tuple[int, int, int]]:
    devices = _devices()
    for line in directory.lines("maps"):
        # 7f0000000000-7f0000001000 rw-s 00000000 00:01 1234    /memfd:name (deleted)
        span, access, offset, device, *_ = line.split(None, 5)
        if access.endswith(b"s") and device in devices:
            start, _, end = span.partition(b"-")
            yield int(start, 16), int(end, 16), int(offset, 16)


def _devices() -> set[bytes]:
    """The kernel's own mount of memory files, and the one for shm_open(3). Other file systems may not answer at once."""
    found = set()
    fd = os.memfd_create("device", os.MFD_CLOEXEC)
    for place in (fd, POSIX):
        try:
            device = os.stat(place).st_dev
        except OSError:
            continue
        found.add(b"%02x:%02x" % (os.major(device), os.minor(device)))
    os.close(fd)
    return found
