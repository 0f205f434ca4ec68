from __future__ import annotations

import os
import struct
from collections.abc import Iterator

import elfcore
import pytest
from stoppedchild import TOUCHED, Child

from pycoredump import pagemap
from pycoredump.corefile import Segment
from pycoredump.errors import ProcessGone
from pycoredump.pagemap import Pages

PAGE = 4096
MIB = 1 << 20


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    found = Child()
    yield found
    found.end()


def pages_of(child: Child, *, scan: bool) -> Pages:
    found = pagemap.open_pages(child.directory)
    assert found is not None
    found.scan = scan
    return found


def segment(start: int, filesz: int) -> Segment:
    return Segment((1, 6, 0, start, 0, filesz, filesz, PAGE))


@pytest.mark.parametrize("scan", [True, False], ids=["PAGEMAP_SCAN", "pagemap"])
def test_the_pages_that_were_touched_are_known(child: Child, scan: bool) -> None:
    found = list(pages_of(child, scan=scan).touched(child.start, child.start + 8 * MIB))
    assert [((a - child.start) // PAGE, (b - child.start) // PAGE) for a, b in found] == TOUCHED


@pytest.mark.parametrize("scan", [True, False], ids=["PAGEMAP_SCAN", "pagemap"])
def test_only_what_is_asked_for_is_told(child: Child, scan: bool) -> None:
    first, end = child.start + PAGE, child.start + 1000 * PAGE
    found = list(pages_of(child, scan=scan).touched(first, end))
    assert [((a - child.start) // PAGE, (b - child.start) // PAGE) for a, b in found] == [(1, 2), (40, 41)]


@pytest.mark.parametrize("scan", [True, False], ids=["PAGEMAP_SCAN", "pagemap"])
def test_the_runs_of_a_segment_cover_it_in_order(child: Child, scan: bool) -> None:
    found = list(pagemap.runs(segment(child.start, 8 * MIB), pages_of(child, scan=scan)))
    at = child.start
    for start, size, _ in found:
        assert start == at
        at += size
    assert at == child.start + 8 * MIB
    assert [(size // PAGE, zero) for _, size, zero in found] == [
        (2, False), (38, True), (1, False), (959, True), (1, False), (1046, True), (1, False),
    ]  # fmt: skip


def test_without_pages_all_of_a_segment_is_read() -> None:
    assert list(pagemap.runs(segment(0x10000, 3 * PAGE), None)) == [(0x10000, 3 * PAGE, False)]
    assert list(pagemap.runs(segment(0x10000, 0), None)) == []


def test_a_small_gap_between_touched_pages_is_read_along() -> None:
    pages = Pages(elfcore.pagemap_file([(0, PAGE), (5 * PAGE, 6 * PAGE), (30 * PAGE, 31 * PAGE)]))
    found = list(pagemap.runs(segment(0, 40 * PAGE), pages))
    assert found == [
        (0, 6 * PAGE, False),
        (6 * PAGE, 24 * PAGE, True),
        (30 * PAGE, PAGE, False),
        (31 * PAGE, 9 * PAGE, True),
    ]


def test_a_kernel_without_pagemap_scan_is_asked_page_by_page() -> None:
    # The ioctl on a plain file fails as it does on a kernel that does not know it.
    pages = Pages(elfcore.pagemap_file([(0x100000, 0x101000)]))
    assert list(pages.touched(0, 0x1000000)) == [(0x100000, 0x101000)]
    assert pages.scan is False


def test_pages_on_the_swap_count_as_touched() -> None:
    assert mapped([0, 1 << 62, 1 << 61, 1 << 63]) == [(1, 2), (3, 4)]


def mapped(entries: list[int]) -> list[tuple[int, int]]:
    """The pages that count as touched by the entries of a pagemap."""
    fd = os.memfd_create("pagemap")
    os.pwrite(fd, struct.pack(f"={len(entries)}Q", *entries), 0)
    found = Pages(fd)._mapped(0, len(entries) * PAGE)
    return [(start // PAGE, stop // PAGE) for start, stop in found]


def test_guards_count_as_untouched() -> None:
    assert mapped([1 << 63, 1 << 62 | 1 << 58, 1 << 58, 1 << 63 | 1 << 55]) == [(0, 1), (3, 4)]


def test_many_entries_alike_are_one_stretch() -> None:
    assert mapped([1 << 63 | 1 << 61] * 5000) == [(0, 5000)]
    assert mapped([1 << 55] * 5000) == []
    assert mapped([1 << 55] * 5000 + [1 << 63]) == [(5000, 5001)]


GUARDED = """
import ctypes, mmap, os, signal
libc = ctypes.CDLL(None, use_errno=True)
area = mmap.mmap(-1, 64 << 12, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
area[:] = bytes(range(256)) * (len(area) // 256)
start = ctypes.addressof(ctypes.c_char.from_buffer(area))
done = libc.madvise(ctypes.c_void_p(start), 32 << 12, 102)  # MADV_GUARD_INSTALL
print(f"{0 if done else start:x}", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.mark.parametrize("scan", [True, False], ids=["PAGEMAP_SCAN", "pagemap"])
def test_guards_are_not_read(scan: bool) -> None:
    found = Child(GUARDED)
    try:
        if not found.start:
            pytest.skip("this kernel has no MADV_GUARD_INSTALL (Linux v6.13)")
        pages = pages_of(found, scan=scan)
        touched = list(pages.touched(found.start, found.start + 64 * PAGE))
        assert touched == [(found.start + 32 * PAGE, found.start + 64 * PAGE)]
    finally:
        found.end()


@pytest.mark.parametrize("scan", [True, False], ids=["PAGEMAP_SCAN", "pagemap"])
def test_memory_of_a_process_that_went_away_does_not_pass_for_untouched(scan: bool) -> None:
    found = Child()
    pages = pages_of(found, scan=scan)
    found.end()
    with pytest.raises(ProcessGone):
        list(pages.touched(found.start, found.start + 8 * MIB))
