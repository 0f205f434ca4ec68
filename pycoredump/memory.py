"""The memory of the process that the kernel holds for us: which pages it touched, and their bytes.

Runs before the release: tests/test_hot_path.py lists what this module may import. Reading /proc/PID/mem
(proc(5)) instead of the stream lets us skip what was never touched, read in any order and on all
processors; the stream then need not be read at all.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from pycoredump.corefile import PAGE
from pycoredump.errors import PycoredumpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycoredump.corefile import Layout, Segment
    from pycoredump.procfs import ProcessDirectory

# A gap of untouched pages below this is read along: one long read costs less than two short ones.
GAP = 16 * PAGE

SMAPS_MAX = 256 << 20  # bytes; some 1.5 KiB for each mapping

# linux/fs.h (Linux v6.7): _IOWR('f', 16, struct pm_scan_arg)
PAGEMAP_SCAN = 0xC0606610
PAGE_IS_PRESENT = 1 << 3
PAGE_IS_SWAPPED = 1 << 4
PAGE_IS_PFNZERO = 1 << 5
REGIONS = 1024  # regions asked for per call

# Documentation/admin-guide/mm/pagemap.rst: bit 63 present, bit 62 swapped
TOUCHED = 3 << 62


class ProcessGone(PycoredumpError):
    """The process (its memory) vanished while it was read."""


class Memory:
    """Reads the memory of one process. Safe to use from several threads at once."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.failed: list[
            tuple[int, int]
        ] = []  # (address, bytes) that could not be read and are zeros instead

    def read_into(self, buffer: memoryview, address: int) -> None:
        """Fill `buffer`. Pages that fail to read are zeros and noted, as the kernel writes them. ProcessGone."""
        at = 0
        while at < len(buffer):
            try:
                count = os.preadv(self.fd, [buffer[at:]], address + at)
            except (OSError, OverflowError) as e:
                if isinstance(e, OSError) and e.errno not in (
                    errno.EIO,
                    errno.EFAULT,
                    errno.ENOMEM,
                    errno.EINVAL,
                ):
                    raise
                count = min(PAGE - (address + at) % PAGE, len(buffer) - at)
                buffer[at : at + count] = bytes(count)
                if (
                    address < 1 << 63
                ):  # above, the kernel's vsyscall page: nobody can read it, the kernel neither
                    self.failed.append((address + at, count))
            if count == 0:
                raise ProcessGone("The process went away while its memory was read")
            at += count

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes; short if a page of them cannot be read."""
        try:
            return os.pread(self.fd, size, address)
        except (OSError, OverflowError):
            return b""


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


def runs(segment: Segment, pages: Pages | None) -> Iterator[tuple[int, int, bool]]:
    """(address, bytes, zero) of a segment's part in the core, in order; all of it is read if `pages` is None."""
    end = segment.vaddr + segment.filesz
    at = segment.vaddr
    if pages is not None:
        for start, stop in pages.touched(segment.vaddr, end):
            if start - at >= GAP:
                yield at, start - at, True
                at = start
            if stop - at > 0:
                yield at, stop - at, False
                at = stop
        if end > at:
            yield at, end - at, True
        return

    if end > at:
        yield at, end - at, False


class Pages:
    """Which pages of anonymous memory exist (pagemap). The others are zeros without being read."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.scan = True  # until the kernel says that it cannot

    def touched(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """(start, end) of the stretches that were touched, gaps below GAP included."""
        last: tuple[int, int] | None = None
        for first, stop in self._regions(start, end):
            if last is not None and first - last[1] < GAP:
                last = (last[0], stop)
                continue
            if last is not None:
                yield last
            last = (first, stop)
        if last is not None:
            yield last

    def _regions(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        if self.scan:
            try:
                yield from self._scanned(start, end)
                return
            except (OSError, ImportError, AttributeError):
                self.scan = False  # PAGEMAP_SCAN exists since Linux v6.7; _ctypes is CPython's own
        yield from self._mapped(start, end)

    def _scanned(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        vector, address = _vector(3 * REGIONS)
        while start < end:
            # struct pm_scan_arg: size, flags, start, end, walk_end, vec, vec_len, max_pages,
            # category_inverted, category_mask, category_anyof_mask, return_mask
            argument = bytearray(
                struct.pack(
                    "12Q", 96, 0, start, end, 0, address, REGIONS, 0,
                    PAGE_IS_PFNZERO, PAGE_IS_PFNZERO, PAGE_IS_PRESENT | PAGE_IS_SWAPPED, PAGE_IS_PRESENT,
                )
            )  # fmt: skip
            count = fcntl.ioctl(self.fd, PAGEMAP_SCAN, argument)
            for i in range(count):
                yield vector[3 * i], vector[3 * i + 1]
            start = struct.unpack_from("Q", argument, 32)[0] if count else end

    def _mapped(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        step = 512 * PAGE  # what one page of the page table maps: mostly all or nothing of it is there
        for block in range(start, end, step):
            stop = min(block + step, end)
            entries = os.pread(self.fd, (stop - block) // PAGE * 8, block // PAGE * 8)
            if not entries:
                return
            yield from _block(entries, block)


def _vector(count: int) -> tuple[memoryview, int]:
    """Room for `count` numbers of 64 bits, and its address. The module array would import collections: 3 ms."""
    import _ctypes

    class Number(_ctypes._SimpleCData):  # type: ignore[type-arg]  # generic for mypy only
        _type_ = "Q"

    class Numbers(_ctypes.Array):  # type: ignore[type-arg]
        _type_ = Number
        _length_ = count

    numbers = Numbers()
    return memoryview(numbers).cast("B").cast("Q"), _ctypes.addressof(numbers)


def _block(entries: bytes, start: int) -> Iterator[tuple[int, int]]:
    first = struct.unpack_from("Q", entries)[0]
    if entries == entries[:8] * (len(entries) // 8):
        if first & TOUCHED:
            yield start, start + len(entries) // 8 * PAGE
        return

    for i, (entry,) in enumerate(struct.iter_unpack("Q", entries)):
        if entry & TOUCHED:
            yield start + i * PAGE, start + (i + 1) * PAGE


def locked(directory: ProcessDirectory) -> list[tuple[int, int]]:
    """(start, end) of the mappings that the process had locked (mlock(2)), by VmFlags of /proc/PID/smaps.

    The kernel walks all page tables for it, so this is asked for only where the answer is wanted.
    """
    found, span = [], b""
    for line in directory.read("smaps", SMAPS_MAX).splitlines():
        first, _, rest = line.partition(b" ")
        if b"-" in first and not first.endswith(b":"):
            span = first
        elif first == b"VmFlags:" and b"lo" in rest.split():
            start, _, end = span.partition(b"-")
            found.append((int(start, 16), int(end, 16)))
    return found


def open_pages(directory: ProcessDirectory) -> Pages | None:
    """None if pagemap cannot be read: then everything counts as touched."""
    try:
        return Pages(directory.open("pagemap", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return None
