"""Which pages of anonymous memory exist (Documentation/admin-guide/mm/pagemap.rst): the others are zeros, unread.

Runs before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

import _bisect
import fcntl
import os
import struct
import sys

from pycoredump.corefile import PAGE
from pycoredump.errors import ProcessGone
from pycoredump.sharedmemory import SharedMemories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycoredump.corefile import Segment
    from pycoredump.procfs import ProcessDirectory
    from pycoredump.sharedmemory import SharedMemory

# A gap of untouched pages below this is read along: one long read costs less than two short ones.
GAP = 16 * PAGE

# linux/fs.h (Linux v6.7): _IOWR('f', 16, struct pm_scan_arg)
PAGEMAP_SCAN = 0xC0606610
PAGE_IS_PRESENT = 1 << 3
PAGE_IS_SWAPPED = 1 << 4
PAGE_IS_PFNZERO = 1 << 5
PAGE_IS_GUARD = 1 << 8  # MADV_GUARD_INSTALL (Linux v6.13): nobody can read it; asked for since v6.15
REGIONS = 1024  # regions asked for per call

# Documentation/admin-guide/mm/pagemap.rst: bit 63 present, bit 62 swapped, bit 58 a guard (counts as swapped).
# All in the highest byte of an entry: 1 where that means a page that holds something.
TOUCHED = bytes(bool(byte & 0xC0) and not byte & 0x04 for byte in range(256))
HIGHEST = 7 if sys.byteorder == "little" else 0
ENTRIES = 64 << 10  # entries read at once


def runs(segment: Segment, pages: Pages | SharedMemory | None) -> Iterator[tuple[int, int, bool]]:
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

    def __init__(self, fd: int, shared: SharedMemories | None = None) -> None:
        """`shared`: the same for memory that is not anonymous."""
        self.fd = fd
        self.shared = shared
        self.scan = True  # until the kernel says that it cannot
        self._empty = PAGE_IS_PFNZERO | PAGE_IS_GUARD

    def touched(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """(start, end) of the stretches that were touched, gaps below GAP included. ProcessGone."""
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
        # The map of a process that ends is empty, and its memory would pass for untouched; but then it has no
        # entries either.
        if len(os.pread(self.fd, 8, start // PAGE * 8)) < 8:
            raise ProcessGone("The process went away while it was read")

    def _regions(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        while self.scan:
            try:
                yield from self._scanned(start, end)
                return
            except (OSError, ImportError, AttributeError):
                # PAGEMAP_SCAN exists since Linux v6.7, the category of guards since v6.15; _ctypes is CPython's own
                self.scan = bool(self._empty & PAGE_IS_GUARD)
                self._empty &= ~PAGE_IS_GUARD
        yield from self._mapped(start, end)

    def _scanned(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        from pycoredump import libc  # where Python has no ctypes, pagemap itself is read

        room = libc.Buffer(3 * REGIONS * 8)
        vector, address = room.view.cast("Q"), room.address
        while start < end:
            # struct pm_scan_arg: size, flags, start, end, walk_end, vec, vec_len, max_pages,
            # category_inverted, category_mask, category_anyof_mask, return_mask
            argument = bytearray(
                struct.pack(
                    "12Q", 96, 0, start, end, 0, address, REGIONS, 0,
                    self._empty, self._empty, PAGE_IS_PRESENT | PAGE_IS_SWAPPED, PAGE_IS_PRESENT,
                )
            )  # fmt: skip
            count = fcntl.ioctl(self.fd, PAGEMAP_SCAN, argument)
            for i in range(count):
                yield vector[3 * i], vector[3 * i + 1]
            start = struct.unpack_from("Q", argument, 32)[0] if count else end

    def _mapped(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        for block in range(start, end, ENTRIES * PAGE):
            stop = min(block + ENTRIES * PAGE, end)
            entries = os.pread(self.fd, (stop - block) // PAGE * 8, block // PAGE * 8)
            if not entries:
                return
            yield from _block(entries, block)


class Snapshot(Pages):
    """What Pages told at one time of some stretches; the process may be gone since then."""

    def __init__(self, pages: Pages, spans: list[tuple[int, int]]) -> None:
        self.shared = pages.shared  # whose files stay open, once they were asked for
        self._ranges = [found for start, end in sorted(spans) for found in pages.touched(start, end)]
        self._ends = [end for _, end in self._ranges]

    def touched(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        at = _bisect.bisect_right(self._ends, start)
        while at < len(self._ranges) and self._ranges[at][0] < end:
            low, high = self._ranges[at]
            yield max(low, start), min(high, end)
            at += 1


def _block(entries: bytes, start: int) -> Iterator[tuple[int, int]]:
    if entries == entries[:8] * (
        len(entries) // 8
    ):  # mostly all or nothing of it is there: at the speed of memcmp
        entries, pages = entries[:8], len(entries) // 8
    else:
        pages = 1
    touched = entries[HIGHEST::8].translate(TOUCHED)
    at = touched.find(1)
    while at >= 0:
        stop = touched.find(0, at)
        stop = len(touched) if stop < 0 else stop
        yield start + at * PAGE * pages, start + stop * PAGE * pages
        at = touched.find(1, stop)


def open_pages(directory: ProcessDirectory) -> Pages | None:
    """None if pagemap cannot be read: then everything counts as touched."""
    try:
        return Pages(directory.open("pagemap", os.O_RDONLY | os.O_CLOEXEC), SharedMemories(directory))
    except OSError:
        return None
