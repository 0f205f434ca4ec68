"""Under a limit: what is kept is the process's own, what is not is named, and nothing is more than allowed."""

from __future__ import annotations

import itertools

import elfcore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycoredump import budget, corefile, elfnote
from pycoredump.budget import Selection
from pycoredump.corefile import Layout
from pycoredump.memory import Memory
from pycoredump.pagemap import Pages
from pycoredump.worth import Worth

PAGE = 4096
KIB = 1 << 10
PROCESS = elfcore.linux_process(heap=1 << 20, hole=1 << 20)
CORE = PROCESS.core()
LAYOUT = corefile.parse(CORE)
MEMORY = Memory(PROCESS.memory())


def worth(layout: Layout = LAYOUT) -> Worth:
    return Worth(layout, MEMORY.read, stack_size=256 * KIB)


def selected(limit: int, *, rest: bool = True, without: tuple[tuple[int, int], ...] = ()) -> Selection:
    selection = Selection(LAYOUT, Pages(PROCESS.pagemap()), without=without)
    selection.fill(worth(), limit, rest=rest)
    return selection


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 4 << 20))
def test_no_more_than_the_limit_in_whole_pages_and_nothing_twice(limit: int) -> None:
    selection = selected(limit)
    assert selection.size == sum(high - low for low, high in selection.ranges) <= limit
    ordered = sorted(selection.ranges)
    assert all(high <= low for (_, high), (low, _) in itertools.pairwise(ordered))
    assert all(low % PAGE == high % PAGE == 0 < high - low for low, high in ordered)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 3 << 20), st.integers(0, 3 << 20))
def test_a_larger_limit_keeps_what_a_smaller_one_keeps(one: int, other: int) -> None:
    small, large = sorted((one, other))
    kept = {page for low, high in selected(large).ranges for page in range(low, high, PAGE)}
    assert {page for low, high in selected(small).ranges for page in range(low, high, PAGE)} <= kept


def test_the_crashing_stack_is_kept_first() -> None:
    (first,) = selected(8 * KIB).ranges
    assert first[0] == elfcore.SP - 128 & -PAGE


def test_stacks_alone_leave_out_the_heap() -> None:
    heap = range(elfcore.HEAP, elfcore.HEAP + (2 << 20))
    kept = [low for low, _ in selected(1 << 40, rest=False).ranges if low in heap]
    assert sum(1 for _ in kept) <= 2  # what a register points to
    assert [low for low, _ in selected(1 << 40).ranges if low in heap]


def test_what_is_not_to_be_kept_is_not() -> None:
    secret = (elfcore.BSS, elfcore.BSS + 2 * PAGE)
    for low, high in selected(1 << 40, without=(secret,)).ranges:
        assert high <= secret[0] or low >= secret[1]


def test_untouched_memory_is_not_read() -> None:
    assert budget.touched_size(LAYOUT, Pages(PROCESS.pagemap()), enough=1 << 40) < len(CORE) - (900 << 10)
    assert budget.touched_size(LAYOUT, None, enough=1 << 40) == sum(s.filesz for s in LAYOUT.segments)


def test_counting_stops_when_it_is_enough() -> None:
    assert PAGE < budget.touched_size(LAYOUT, None, enough=PAGE) < 1 << 20


@pytest.mark.parametrize("from_stream", [True, False])
def test_a_smaller_core_is_a_core_in_which_nothing_lies(from_stream: bool) -> None:
    selection = selected(300 * KIB)
    planned = budget.shrink(LAYOUT, selection, worth(), from_stream=from_stream)
    core = bytearray(planned.head)
    for kind, where, size, content in planned.runs():
        if kind == 0:
            core += content
        else:
            core += CORE[where : where + size] if from_stream else PROCESS.at(where, size)
    assert len(core) == planned.size
    found = corefile.parse(bytes(core))
    assert found.threads == LAYOUT.threads
    assert found.auxv == LAYOUT.auxv
    assert bytes(found.notes) == bytes(LAYOUT.notes)
    for segment in found.segments:
        assert segment.filesz == segment.memsz
        assert segment.offset % PAGE == 0
        data = bytes(core[segment.offset : segment.offset + segment.filesz])
        assert data == PROCESS.at(segment.vaddr, segment.filesz)


def test_what_is_left_out_is_named_to_the_page() -> None:
    selection = selected(300 * KIB)
    planned = budget.shrink(LAYOUT, selection, worth())
    pages = Pages(PROCESS.pagemap())
    kept = budget.present(planned.head, LAYOUT)
    missing = budget.dropped(LAYOUT, kept, pages)
    held = {page for low, high in selection.ranges for page in range(low, high, PAGE)}
    left = {page for low, high in missing for page in range(low, high, PAGE)}
    assert not held & left
    for segment in PROCESS.segments:
        for at in range(0, len(segment.data), PAGE):
            address = segment.start + at
            if any(segment.data[at : at + PAGE]) and address < 1 << 63:
                assert address in held | left


def test_the_note_says_what_was_left_out() -> None:
    data = budget.note(LAYOUT, [(0x1000, 0x3000), (0x8000, 0x9000)])
    (note,) = elfnote.notes(data, LAYOUT.abi)
    assert (note.name, note.type) == (b"pycoredump", budget.NT_DROPPED)
    assert note.data == b"".join(n.to_bytes(8, "little") for n in (0x1000, 0x3000, 0x8000, 0x9000))


def test_a_note_of_very_many_ranges_is_cut() -> None:
    ranges = [(n * 0x2000, n * 0x2000 + 0x1000) for n in range(70000)]
    assert len(budget.note(LAYOUT, ranges)) < 65536 * 16 + 100


@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("order", ["<", ">"])
def test_cores_of_every_class_and_byte_order_are_made_smaller(bits: int, order: str) -> None:
    segments = [elfcore.Segment(0x10000, elfcore.contents(64 * KIB)), elfcore.Segment(0x40000, bytes(8192))]
    core = elfcore.core(bits=bits, order=order, machine=3 if bits == 32 else 62, segments=segments)
    layout = corefile.parse(core)
    selection = Selection(layout, None)
    own = Worth(layout, lambda _address, _size: b"", stack_size=256 * KIB)
    selection.fill(own, 32 * KIB)
    planned = budget.shrink(layout, selection, own, from_stream=True)
    parts = [
        content if kind == 0 else core[where : where + size] for kind, where, size, content in planned.runs()
    ]
    found = corefile.parse(planned.head + b"".join(parts))
    assert found.abi == layout.abi
    assert sum(segment.filesz for segment in found.segments) == 32 * KIB


def test_more_ranges_than_headers_can_count_end_the_selection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "RANGES_MAX", 3)
    assert len(selected(1 << 40).ranges) == 3
