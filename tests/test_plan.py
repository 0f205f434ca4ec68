from __future__ import annotations

import elfcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycoredump import corefile, plan
from pycoredump.corefile import Layout
from pycoredump.pagemap import Pages
from pycoredump.plan import DATA, LITERAL, ZERO, Run

PAGE = 4096
MIB = 1 << 20


def bytes_of(runs: list[Run], core: bytes) -> bytes:
    """What runs from a stream come to."""
    return b"".join(
        content if kind == LITERAL else bytes(size) if kind == ZERO else core[where : where + size]
        for kind, where, size, content in runs
    )


def test_from_the_stream_everything_comes_as_it_is() -> None:
    core = elfcore.linux_process().core()
    found = plan.stream(corefile.parse(core))
    assert found.head + bytes_of(list(found.runs()), core) == core
    assert found.size == len(core)


def test_a_core_of_notes_only_has_nothing_behind_them() -> None:
    core = elfcore.core()
    layout = corefile.parse(core[: 64 + 56 + len(corefile.parse(core).notes)])
    found = plan.stream(layout)
    assert [run[0] for run in found.runs()] == [LITERAL]


def test_what_is_no_core_is_kept_to_its_end() -> None:
    found = plan.foreign(b"#!")
    runs = list(found.runs())
    assert (found.head, found.size) == (b"", 0)
    assert runs[0] == (LITERAL, 0, 2, b"#!")
    assert runs[1][:2] == (DATA, 2)


def test_from_memory_untouched_anonymous_pages_are_zeros_without_being_read() -> None:
    process = elfcore.linux_process(hole=64 * MIB)
    core = process.core()
    layout = corefile.parse(core)
    runs = list(plan.whole(layout, Pages(process.pagemap())).runs())
    read = sum(size for kind, _, size, _ in runs if kind == DATA)
    assert read < 2 * MIB
    assert sum(run[2] for run in runs) + plan.headers_size(layout) == len(core)


def test_without_pagemap_everything_is_read() -> None:
    process = elfcore.linux_process(hole=MIB)
    layout = corefile.parse(process.core())
    runs = list(plan.whole(layout, None).runs())
    assert sum(size for kind, _, size, _ in runs if kind == DATA) == sum(
        len(s.data) for s in process.segments
    )


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (elfcore.HEAP, True),
        (elfcore.BSS, True),
        (elfcore.STACK, True),
        (elfcore.TLS, True),
        (elfcore.PROGRAM, False),
        (elfcore.DATA, False),
        (elfcore.LIBRARY_DATA, False),
        (elfcore.VDSO, False),
        (elfcore.VSYSCALL, False),
    ],
)
def test_anonymous_is_what_no_file_is_behind(address: int, expected: bool) -> None:
    layout = corefile.parse(elfcore.linux_process().core())
    segment = next(s for s in layout.segments if s.vaddr == address)
    assert plan.is_anonymous(layout, segment) is expected


def test_without_a_list_of_files_nothing_counts_as_anonymous() -> None:
    layout = corefile.parse(elfcore.core(segments=[elfcore.Segment(0x10000, bytes(PAGE))]))
    assert not plan.is_anonymous(layout, layout.segments[0])


def special(*rows: tuple[int, int, int]) -> Layout:
    """A core with these (start, pages, flags) in it, and the vdso at VDSO."""
    segments = [elfcore.Segment(start, bytes(pages * PAGE), flags=flags) for start, pages, flags in rows]
    vdso = elfcore.Segment(elfcore.VDSO, b"\x7fELF".ljust(2 * PAGE, b"\0"), flags=5)
    return corefile.parse(
        elfcore.core(
            segments=[*segments, vdso],
            vector={33: elfcore.VDSO},
            files=[elfcore.File(elfcore.VDSO - 9 * PAGE, elfcore.VDSO - 6 * PAGE, 0, b"/lib/ld.so")],
        )
    )


def test_the_kernels_data_in_front_of_the_vdso_is_sealed() -> None:
    vvar, clocks = (elfcore.VDSO - 6 * PAGE, 4, 4), (elfcore.VDSO - 2 * PAGE, 2, 4)
    found = plan.sealed(special(vvar, clocks, (elfcore.VSYSCALL, 1, 1)))
    assert found == {vvar[0], clocks[0], elfcore.VSYSCALL}


@pytest.mark.parametrize(
    "before",
    [
        (elfcore.VDSO - 3 * PAGE, 3, 6),
        (elfcore.VDSO - 3 * PAGE, 2, 4),
        (elfcore.VDSO - 1000 * PAGE, 1000, 4),
    ],
    ids=["writable", "not next to it", "large"],
)
def test_what_else_lies_below_the_vdso_is_not_sealed(before: tuple[int, int, int]) -> None:
    assert plan.sealed(special(before)) == frozenset()


def test_a_file_below_the_kernels_data_is_not_sealed() -> None:
    layout = special((elfcore.VDSO - 9 * PAGE, 3, 4), (elfcore.VDSO - 6 * PAGE, 6, 4))
    assert plan.sealed(layout) == {elfcore.VDSO - 6 * PAGE}


@pytest.mark.parametrize(("pages", "expected"), [(1, False), (64, False), (65, True)])
def test_only_large_mappings_without_write_access_count_as_anonymous(pages: int, expected: bool) -> None:
    layout = special((0x10000, pages, 0))
    assert plan.is_anonymous(layout, layout.segments[0]) is expected


@pytest.mark.parametrize(("bits", "order"), [(64, "<"), (64, ">"), (32, "<"), (32, ">")])
def test_a_cut_core_has_no_header_for_what_did_not_come(bits: int, order: str) -> None:
    segments = [
        elfcore.Segment(0x10000 + i * 0x10000, elfcore.contents(2 * PAGE), 4 * PAGE) for i in range(3)
    ]
    core = elfcore.core(segments=segments, bits=bits, order=order)
    layout = corefile.parse(core)
    first = layout.segments[0].offset
    size = first + 3 * PAGE + 100  # in the middle of the second one's second page
    head = plan.cut(core[: plan.headers_size(layout)], layout, size)
    assert len(head) == plan.headers_size(layout)
    found = corefile.parse(head + core[len(head) : size])
    assert [(s.vaddr, s.filesz, s.memsz) for s in found.segments] == [
        (0x10000, 2 * PAGE, 4 * PAGE),
        (0x20000, PAGE, PAGE),
    ]


def test_a_note_takes_the_first_header_that_is_free() -> None:
    core = elfcore.core(segments=[elfcore.Segment(0x10000, elfcore.contents(PAGE))])
    layout = corefile.parse(core)
    first = layout.segments[0].offset
    head = plan.cut(core[: plan.headers_size(layout)], layout, first, note=(first, 24))
    assert corefile.segments_of(layout.abi, head[64:])[1] == (4, 0, first, 0, 0, 24, 0, 4)


def test_a_whole_core_is_not_changed_by_the_cut() -> None:
    core = elfcore.linux_process().core()
    layout = corefile.parse(core)
    head = core[: plan.headers_size(layout)]
    assert plan.cut(head, layout, len(core)) == head


kinds = st.sampled_from([LITERAL, DATA, ZERO])


@given(st.lists(st.tuples(kinds, st.integers(0, 5000)), max_size=12), st.sampled_from([64, 1000, 4096]))
def test_jobs_hold_the_runs_in_order_and_no_more_than_a_frame(
    shape: list[tuple[int, int]], frame: int
) -> None:
    core = elfcore.contents(5000)
    runs = [
        plan.literal(core[:size])
        if kind == LITERAL
        else plan.data(7, size)
        if kind == DATA
        else plan.zero(size)
        for kind, size in shape
    ]
    jobs = list(plan.jobs(iter(runs), frame))
    assert all(0 < job.size <= frame for job in jobs)
    assert all(job.size == frame for job in jobs[:-1])
    assert all(job.size == sum(run[2] for run in job.runs) for job in jobs)
    assert b"".join(bytes_of(list(job.runs), core) for job in jobs) == bytes_of(runs, core)


def test_a_long_run_of_zeros_is_a_frame_of_its_own() -> None:
    runs = [plan.literal(b"a"), plan.zero(plan.ZERO_MIN), plan.literal(b"b")]
    jobs = list(plan.jobs(iter(runs)))
    assert [(job.zero, job.size) for job in jobs] == [(False, 1), (True, 262144), (False, 1)]


def test_a_short_run_of_zeros_stays_in_the_frame() -> None:
    runs = [plan.literal(b"a"), plan.zero(plan.ZERO_MIN - 1), plan.literal(b"b")]
    assert [(job.zero, job.size) for job in plan.jobs(iter(runs))] == [(False, 262145)]


def test_zeros_of_more_than_a_gibibyte_are_cut_into_several_frames() -> None:
    jobs = list(plan.jobs(iter([plan.zero((5 << 30) + 7)])))
    assert [job.size for job in jobs] == [1 << 30] * 5 + [7]
