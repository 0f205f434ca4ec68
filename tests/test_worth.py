from __future__ import annotations

import struct

import elfcore
import pytest

from pycoredump import corefile
from pycoredump.elfnote import Thread
from pycoredump.memory import Memory
from pycoredump.worth import Worth

PAGE = 4096


def worth_of(process: elfcore.Process, *, stack_size: int = 256 << 10) -> Worth:
    return Worth(corefile.parse(process.core()), Memory(process.memory()).read, stack_size=stack_size)


def stack(sp: int) -> tuple[Thread, ...]:
    return (Thread(tid=1, signal=0, registers=b"", sp=sp),)


@pytest.fixture(scope="module")
def worth() -> Worth:
    return worth_of(elfcore.linux_process())


def test_every_range_is_of_whole_pages_inside_one_segment(worth: Worth) -> None:
    for tier in worth.tiers():
        for start, end in tier:
            segment = worth.segment_at(start)
            assert segment is not None
            assert start % PAGE == end % PAGE == 0
            assert segment.vaddr <= start < end <= segment.vaddr + segment.filesz


def test_the_crashing_threads_stack_comes_first(worth: Worth) -> None:
    first = list(next(worth.tiers()))
    assert first == [(elfcore.STACK + 0x1D000, elfcore.STACK + elfcore.STACK_SIZE)]


def test_headers_link_map_and_vdso_come_next(worth: Worth) -> None:
    tiers = worth.tiers()
    next(tiers)
    found = list(next(tiers))
    assert (elfcore.PROGRAM, elfcore.PROGRAM + PAGE) in found
    assert (elfcore.LIBRARY, elfcore.LIBRARY + PAGE) in found
    assert (elfcore.DATA, elfcore.DATA + PAGE) in found
    assert (elfcore.LIBRARY_DATA, elfcore.LIBRARY_DATA + PAGE) in found
    assert (elfcore.VDSO, elfcore.VDSO + 2 * PAGE) in found


def test_then_the_other_stacks(worth: Worth) -> None:
    third = list(worth.tiers())[2]
    assert list(third) == [(elfcore.STACK_2 + 0x1E000, elfcore.STACK_2 + 0x21000)]


def test_a_stack_begins_at_the_red_zone_below_its_pointer(worth: Worth) -> None:
    at = elfcore.STACK + 0x10000
    assert list(worth.stacks(stack(at), PAGE)) == [(at - PAGE, at + PAGE)]
    assert list(worth.stacks(stack(at + 200), 2 * PAGE)) == [(at, at + 3 * PAGE)]


def test_a_stack_ends_with_its_segment(worth: Worth) -> None:
    assert list(worth.stacks(stack(elfcore.STACK), 1 << 30)) == [
        (elfcore.STACK, elfcore.STACK + elfcore.STACK_SIZE)
    ]


def test_a_pointer_in_the_guard_page_belongs_to_the_stack_above(worth: Worth) -> None:
    assert list(worth.stacks(stack(elfcore.GUARD + 0x800), PAGE)) == [
        (elfcore.STACK_2, elfcore.STACK_2 + PAGE)
    ]


@pytest.mark.parametrize("sp", [0, 1, 0x500000, 2**64 - 1, 2**63])
def test_a_stack_pointer_into_nothing_gives_nothing(worth: Worth, sp: int) -> None:
    assert list(worth.stacks(stack(sp), PAGE)) == []


def test_the_stack_that_a_handler_on_another_one_interrupted_is_found() -> None:
    process = elfcore.linux_process()
    process.threads[0].sp = elfcore.HEAP + 0x4000  # sigaltstack(2) in the heap
    heap = next(s for s in process.segments if s.start == elfcore.HEAP)
    at = 0x4000 + 160
    heap.data = heap.data[:at] + struct.pack("<Q", elfcore.STACK + 0x12340) + heap.data[at + 8 :]
    worth = worth_of(process)
    found = list(worth.interrupted(worth.layout.threads[:1]))
    assert any(start <= elfcore.STACK + 0x12340 < end for start, end in found)


def test_thread_blocks_hold_the_thread_pointer_and_its_dtv(worth: Worth) -> None:
    found = list(worth.thread_blocks(worth.layout.threads[:1]))
    assert any(start <= elfcore.TLS + 0x2000 < end for start, end in found)
    assert any(start <= elfcore.TLS + 0x3010 < end for start, end in found)


def test_module_data_is_the_writable_pages_of_modules_and_what_is_right_behind(worth: Worth) -> None:
    found = list(worth.module_data(4 * PAGE))
    assert (elfcore.DATA, elfcore.DATA + 2 * PAGE) in found
    assert (elfcore.BSS, elfcore.BSS + 4 * PAGE) in found
    assert (elfcore.LIBRARY_DATA, elfcore.LIBRARY_DATA + 4 * PAGE) in found
    assert all(start != elfcore.HEAP for start, _ in found)


def test_large_module_data_waits(worth: Worth) -> None:
    found = list(worth.module_data(2 * PAGE))
    assert (elfcore.DATA, elfcore.DATA + 2 * PAGE) in found
    assert (elfcore.BSS, elfcore.BSS + 4 * PAGE) not in found


def test_what_registers_and_the_fault_address_point_to_is_found(worth: Worth) -> None:
    found = list(worth.registers(worth.layout.threads[:1]))
    assert any(start <= elfcore.HEAP + 0x8000 < end for start, end in found)
    assert any(start <= elfcore.BSS + 0x10 < end for start, end in found)


def test_the_rest_is_everything_what_can_be_written_before_what_cannot(worth: Worth) -> None:
    rest = worth.rest()
    with_data = {s.vaddr for s in worth.layout.segments if s.filesz}
    assert {s.vaddr for s in rest} == with_data - {elfcore.VSYSCALL}
    writable = [bool(s.flags & 2) for s in rest]
    assert writable == sorted(writable, reverse=True)


@pytest.mark.parametrize("value", [0, 1, 2**63, 2**64 - 1, 2**64 - 4096], ids=hex)
def test_registers_of_any_value_cost_nothing(value: int) -> None:
    process = elfcore.linux_process()
    process.threads = [
        elfcore.Thread(sp=value, pc=value, tls=value, registers=dict.fromkeys(range(27), value))
    ] * 2
    process.vector = dict.fromkeys(process.vector, value)
    process.signal.union = struct.pack("<Q", value)
    worth = worth_of(process)
    for tier in worth.tiers():
        for start, end in tier:
            assert worth.segment_at(start) is not None
            assert start < end


def test_a_core_without_anything_has_nothing_of_worth() -> None:
    worth = Worth(corefile.parse(elfcore.core(notes=b"")), lambda _address, _size: b"", stack_size=PAGE)
    assert not any(list(tier) for tier in worth.tiers())
    assert worth.rest() == []
