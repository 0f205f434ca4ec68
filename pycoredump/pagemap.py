"""Which pages of anonymous memory exist (Documentation/admin-guide/mm/pagemap.rst): the others are zeros, unread.

Runs before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

import fcntl
import os
import struct

from pycoredump.corefile import PAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycoredump.corefile import Segment
    from pycoredump.procfs import ProcessDirectory

# A gap of untouched pages below this is read along: one long read costs less than two short ones.
GAP = 16 * PAGE

# linux/fs.h (Linux v6.7): _IOWR('f', 16, struct pm_scan_arg)
PAGEMAP_SCAN = 0xC0606610
PAGE_IS_PRESENT = 1 << 3
PAGE_IS_SWAPPED = 1 << 4
PAGE_IS_PFNZERO = 1 << 5
REGIONS = 1024  # regions asked for per call

# Documentation/admin-guide/mm/pagemap.rst: bit 63 present, bit 62 swapped
TOUCHED = 3 << 62


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
        from pycoredump import libc  # where Python has no ctypes, pagemap itself is read

        room = libc.Buffer(3 * REGIONS * 8)
        vector, address = room.view.cast("Q"), room.address
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


def _block(entries: bytes, start: int) -> Iterator[tuple[int, int]]:
    first = struct.unpack_from("Q", entries)[0]
    if entries == entries[:8] * (len(entries) // 8):
        if first & TOUCHED:
            yield start, start + len(entries) // 8 * PAGE
        return

    for i, (entry,) in enumerate(struct.iter_unpack("Q", entries)):
        if entry & TOUCHED:
            yield start + i * PAGE, start + (i + 1) * PAGE


def open_pages(directory: ProcessDirectory) -> Pages | None:
    """None if pagemap cannot be read: then everything counts as touched."""
    try:
        return Pages(directory.open("pagemap", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return None
