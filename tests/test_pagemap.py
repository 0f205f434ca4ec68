from __future__ import annotations

import os
import struct
from collections.abc import Iterator

import elfcore
import pytest
from stoppedchild import TOUCHED, Child

from pycoredump import pagemap
from pycoredump.corefile import Segment
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
    fd = os.memfd_create("pagemap")
    os.pwrite(fd, struct.pack("<4Q", 0, 1 << 62, 1 << 61, 1 << 63), 0)
    pages = Pages(fd)
    assert list(pages._mapped(0, 4 * PAGE)) == [(PAGE, 2 * PAGE), (3 * PAGE, 4 * PAGE)]
