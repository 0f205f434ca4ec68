from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import elfcore
import pytest
from stoppedchild import CHILD, Child

from pycoredump import corefile, memory, pagemap
from pycoredump.corefile import Layout
from pycoredump.memory import Memory
from pycoredump.procfs import ProcessDirectory

PAGE = 4096


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    found = Child()
    yield found
    found.end()


@pytest.fixture(scope="module")
def memory_of_child(child: Child) -> Memory:
    return Memory(child.directory.open("mem"))


def layout_of(auxv: bytes, start: int = 0) -> Layout:
    notes = elfcore.note(6, auxv) if auxv else b""
    return corefile.parse(elfcore.core(notes=notes, segments=[elfcore.Segment(start, bytes(PAGE))]))


def test_memory_is_read_where_it_stands(child: Child, memory_of_child: Memory) -> None:
    buffer = bytearray(3 * PAGE)
    memory_of_child.read_into(memoryview(buffer), child.start)
    assert buffer[:8] == b"\0\0\0\0page"
    assert buffer[PAGE : PAGE + 8] == b"\1\0\0\0page"
    assert buffer[2 * PAGE :] == bytes(PAGE)
    assert memory_of_child.read(child.start + 40 * PAGE, 8) == b"\x28\0\0\0page"


def test_pages_that_cannot_be_read_are_zeros_and_named(child: Child) -> None:
    found = Memory(child.directory.open("mem"))
    buffer = bytearray(b"x" * (2 * PAGE + 100))
    found.read_into(memoryview(buffer), 100)  # below vm.mmap_min_addr nothing is mapped
    assert buffer == bytes(2 * PAGE + 100)
    assert found.failed == [(100, 2 * PAGE + 100)]


def test_the_kernels_own_page_is_zeros_without_being_named(child: Child) -> None:
    found = Memory(child.directory.open("mem"))
    buffer = bytearray(b"x" * PAGE)
    found.read_into(memoryview(buffer), 0xFFFFFFFFFF600000)
    assert buffer == bytes(PAGE)
    assert found.failed == []


def test_reading_an_address_that_is_not_mapped_gives_nothing(memory_of_child: Memory) -> None:
    assert memory_of_child.read(0, 8) == b""
    assert memory_of_child.read(0xFFFFFFFFFF600000, 8) == b""
    assert memory_of_child.read(2**70, 8) == b""


def test_the_memory_of_a_process_that_went_away_gives_no_bytes() -> None:
    other = Child()
    found = Memory(other.directory.open("mem"))
    other.end()
    assert found.read_into(memoryview(bytearray(PAGE)), other.start) == 0
    assert found.failed == []


def test_the_memory_is_opened_only_if_the_auxiliary_vectors_are_equal(child: Child) -> None:
    auxv = pathlib.Path(f"/proc/{child.process.pid}/auxv").read_bytes()
    own = pathlib.Path("/proc/self/auxv").read_bytes()
    assert memory.open_memory(child.directory, layout_of(auxv, child.start)) is not None
    assert memory.open_memory(child.directory, layout_of(auxv.rstrip(b"\0"), child.start)) is not None
    assert memory.open_memory(child.directory, layout_of(own, child.start)) is None
    assert memory.open_memory(child.directory, layout_of(b"", child.start)) is None


def test_memory_that_cannot_be_read_where_the_core_has_some_is_not_used(child: Child) -> None:
    auxv = pathlib.Path(f"/proc/{child.process.pid}/auxv").read_bytes()
    assert memory.open_memory(child.directory, layout_of(auxv, 0)) is None


def test_a_process_that_is_gone_has_no_memory(tmp_path: pathlib.Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/auxv").write_bytes(elfcore.auxv({23: 0}))
    directory = ProcessDirectory(7, proc=os.fspath(tmp_path))
    assert memory.open_memory(directory, layout_of(elfcore.auxv({23: 0}))) is None
    assert pagemap.open_pages(directory) is None


def test_locked_mappings_are_those_with_lo_among_their_flags(tmp_path: pathlib.Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/smaps").write_text(
        "00400000-00401000 r-xp 00000000 00:00 0 /a lo-b:\nSize: 4 kB\nVmFlags: rd ex mr mw me\n"
        "7f0000000000-7f0000002000 rw-p 00000000 00:00 0 \nLocked: 8 kB\nVmFlags: rd wr mr mw me lo ac sd \n"
        "7f0000003000-7f0000004000 rw-p 00000000 00:00 0\nVmFlags: rd lo"
    )
    found = memory.locked(ProcessDirectory(7, proc=os.fspath(tmp_path)))
    assert found == [(0x7F0000000000, 0x7F0000002000), (0x7F0000003000, 0x7F0000004000)]


def test_memory_that_a_process_locked_is_found() -> None:
    lock = (
        "ctypes.CDLL(None).mlock(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(area))), 4096)"
    )
    other = Child(CHILD.replace("LOCK", lock))
    try:
        found = memory.locked(other.directory)
        assert (other.start, other.start + PAGE) in found
    finally:
        other.end()
