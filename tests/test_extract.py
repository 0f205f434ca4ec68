from __future__ import annotations

import os

import elfcore
import pytest

from pycoredump import budget, corefile, extract, pipeline, plan
from pycoredump.archive import PlainWriter, Writer
from pycoredump.errors import ArchiveError, CoreError
from pycoredump.extract import StoredCore
from pycoredump.memory import Memory
from pycoredump.reader import Archive

PAGE = 4096
PROCESS = elfcore.linux_process(heap=3 << 20, hole=8 << 20)


def archive_of(core: bytes, kind: type[Writer] = Writer) -> Archive:
    fd = os.memfd_create("archive")
    writer = kind(fd, limit=1 << 40)
    layout = corefile.parse(core)
    source = pipeline.MemorySource(Memory(PROCESS.memory()))
    pipeline.store(plan.whole(layout, None), source, writer, level=1, workers=1)
    writer.finish(b"PYCORE1\n")
    return Archive(fd)


def plain(core: bytes) -> Archive:
    fd = os.memfd_create("core")
    os.write(fd, core)
    return Archive(fd)


def read(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


@pytest.mark.parametrize("kind", [Writer, PlainWriter])
def test_memory_of_the_dead_is_read_by_address(kind: type[Writer]) -> None:
    core = StoredCore(archive_of(PROCESS.core(), kind))
    assert core.read(elfcore.SP, 100) == PROCESS.at(elfcore.SP, 100)
    assert core.read(elfcore.DATA + PAGE, 2 * PAGE) == PROCESS.at(elfcore.DATA + PAGE, PAGE) + PROCESS.at(
        elfcore.BSS, PAGE
    )


@pytest.mark.parametrize("address", [0, elfcore.GUARD - 1, 1 << 63, (1 << 64) - 1, elfcore.HEAP - 1])
def test_where_there_is_no_memory_nothing_is_read(address: int) -> None:
    assert StoredCore(archive_of(PROCESS.core())).read(address, 10) == b""


def test_a_read_ends_where_the_segment_does() -> None:
    core = StoredCore(archive_of(PROCESS.core()))
    end = elfcore.STACK + elfcore.STACK_SIZE
    assert core.read(end - 5, 100) == PROCESS.at(end - 5, 5)
    buffer = bytearray(100)
    assert core.fill(memoryview(buffer), end - 5) == 5


def test_a_minicore_has_the_stacks_and_not_the_heap() -> None:
    fd = extract.minicore(archive_of(PROCESS.core()))
    data = read(fd)
    found = corefile.parse(data)
    assert len(data) < 1 << 20
    assert found.threads == corefile.parse(PROCESS.core()).threads
    stacks = [segment for segment in found.segments if segment.vaddr >= elfcore.STACK_2]
    for segment in stacks:
        if segment.vaddr < elfcore.VSYSCALL:
            kept = data[segment.offset : segment.offset + segment.filesz]
            assert kept == PROCESS.at(segment.vaddr, segment.filesz)
    assert any(segment.vaddr <= elfcore.SP < segment.vaddr + segment.filesz for segment in stacks)


@pytest.mark.parametrize("limit", [0, PAGE, 64 << 10, 1 << 20, 1 << 30])
def test_a_smaller_core_holds_its_limit_and_names_the_rest(limit: int) -> None:
    fd = os.memfd_create("small")
    core = StoredCore(archive_of(PROCESS.core()))
    size = extract.small_core(core, fd, limit=limit)
    data = read(fd)
    assert size == len(data)
    found = corefile.parse(data)
    assert sum(segment.filesz for segment in found.segments) <= limit
    rows = [row for row in corefile.segments_of(found.abi, data[64 : found.notes_at]) if row[0] == 4]
    if limit < 1 << 30:
        assert data[rows[1].offset :].find(budget.NOTE_NAME) == 12


def test_a_smaller_core_of_a_smaller_core_is_one_too() -> None:
    first = os.memfd_create("small")
    extract.small_core(StoredCore(archive_of(PROCESS.core())), first, limit=1 << 20)
    second = os.memfd_create("smaller")
    extract.small_core(StoredCore(plain(read(first))), second, limit=64 << 10)
    found = corefile.parse(read(second))
    assert found.threads
    assert sum(segment.filesz for segment in found.segments) <= 64 << 10


def test_what_names_no_thread_has_no_minicore() -> None:
    with pytest.raises(CoreError, match="names no thread"):
        extract.minicore(plain(elfcore.core(notes=elfcore.note(6, b""))))


@pytest.mark.parametrize("core", [b"\x7fELF", b"\x7fELF" + bytes(100), PROCESS.core()[:500]])
def test_what_is_no_core_is_a_core_error(core: bytes) -> None:
    with pytest.raises(CoreError):
        extract.minicore(plain(core))


def test_a_damaged_archive_is_an_archive_error() -> None:
    archive = archive_of(PROCESS.core())
    frame = archive.frames[1]
    os.pwrite(archive.fd, bytes(frame.size), frame.at)
    with pytest.raises(ArchiveError, match="is damaged"):
        extract.minicore(Archive(archive.fd))
