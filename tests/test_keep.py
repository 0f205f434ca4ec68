"""What of a core is kept, from a stream or from memory that elfcore makes, into a directory of the test's own."""

from __future__ import annotations

import os
import pathlib

import elfcore
import pytest

from pycoredump import corefile, journal, keep
from pycoredump.config import Config
from pycoredump.corefile import Layout
from pycoredump.crash import Crash
from pycoredump.heldcopy import HeldCopy
from pycoredump.heldcore import HeldCore
from pycoredump.kept import Kept
from pycoredump.memory import Memory
from pycoredump.pagemap import Pages
from pycoredump.procfs import ProcessDirectory
from pycoredump.reader import Archive

PAGE = 4096
KIB = 1 << 10
MIB = 1 << 20
CRASH = Crash(pid=4711, signal=11, timestamp=1, comm="prog")


def config(directory: pathlib.Path, **options: object) -> Config:
    settings: dict[str, object] = {"keep_free": 0, "max_use": 0, "rate_limit_burst": 0} | options
    return Config(directory=os.fspath(directory / "core"), **settings)  # type: ignore[arg-type]  # named by each test


def stream(core: bytes) -> int:
    """A descriptor that gives these bytes and then the end, as the kernel's pipe does."""
    fd = os.memfd_create("stream", os.MFD_CLOEXEC)
    os.pwrite(fd, core, 0)
    return fd


def stored(kept: Kept) -> tuple[Layout, bytes, dict[str, str]]:
    """The core in the archive, and what that tells."""
    archive = Archive(kept.fd)
    core = b"".join(bytes(part) if isinstance(part, int) else part for part in archive.stream())
    return corefile.parse(core), core, archive.fields


def note_of(layout: Layout, core: bytes) -> bytes:
    """What the last PT_NOTE holds, which is ours."""
    rows = [row for row in corefile.segments_of(layout.abi, core[64 : layout.notes_at]) if row[0] == 4]
    assert len(rows) == 2
    return core[rows[1].offset : rows[1].offset + rows[1].filesz]


@pytest.mark.parametrize("compress", [True, False], ids=["frames", "plain"])
@pytest.mark.parametrize("budget", [64 * KIB, 256 * KIB, 512 * KIB])
def test_a_core_that_ends_in_zeros_is_described_to_its_last_byte(
    compress: bool, budget: int, tmp_path: pathlib.Path
) -> None:
    process = elfcore.linux_process(heap=MIB)
    process.segments[-1] = elfcore.Segment(elfcore.STACK + 0x100000, bytes(200 * KIB))
    settings = config(tmp_path, content=(("*", "budget"),), budget=budget, compress=compress)
    kept = keep.store_core(HeldCore(stream(process.core()), None), CRASH, settings, "/prog", {})
    layout, core, _ = stored(kept)
    assert note_of(layout, core)[12:22] == b"pycoredump"
    for segment in layout.segments:
        assert core[segment.offset : segment.offset + segment.filesz] == process.at(
            segment.vaddr, segment.filesz
        )


def held(process: elfcore.Process, proc: pathlib.Path, *, files: dict[str, str] | None = None) -> HeldCore:
    """The core of a process whose memory can be read, in a /proc of its own."""
    directory = proc / "proc" / "4711"
    directory.mkdir(parents=True)
    (directory / "auxv").write_bytes(elfcore.auxv(process.vector))
    for name, text in (files or {}).items():
        (directory / name).write_text(text)
    core = HeldCore(stream(process.core()), ProcessDirectory(4711, proc=os.fspath(proc / "proc")))
    # A sparse file reads as the memory does; neither can be a name in a directory.
    core.memory = Memory(process.memory())
    core.pages = Pages(process.pagemap())
    return core


def keep_budget(core: HeldCore, directory: pathlib.Path, budget: int, **options: object) -> Kept:
    settings = config(directory, content=(("*", "budget"),), budget=budget, **options)
    return keep.store_core(core, CRASH, settings, "/prog", {})


def contents_agree(process: elfcore.Process, kept: Kept) -> None:
    layout, core, _ = stored(kept)
    for segment in layout.segments:
        part = core[segment.offset : segment.offset + segment.filesz]
        assert segment.filesz in (segment.memsz, len(part))
        if segment.filesz:
            assert part == process.at(segment.vaddr, segment.filesz)


def holds(kept: Kept, address: int) -> bool:
    layout, _, _ = stored(kept)
    return any(s.vaddr <= address < s.vaddr + s.filesz for s in layout.segments)


def test_a_core_that_fits_is_kept_byte_for_byte(tmp_path: pathlib.Path) -> None:
    process = elfcore.linux_process(hole=MIB)
    kept = keep.store_core(held(process, tmp_path), CRASH, config(tmp_path), "/prog", {})
    assert stored(kept)[1] == process.core()
    assert not kept.truncated
    assert kept.dropped == ()
    assert kept.unreadable == ()


@pytest.mark.parametrize("budget", [64 * KIB, 256 * KIB, MIB])
def test_under_a_budget_what_is_kept_is_right_and_the_rest_is_named(
    budget: int, tmp_path: pathlib.Path
) -> None:
    process = elfcore.linux_process(heap=4 * MIB)
    for segment in process.segments:
        if segment.start == elfcore.HEAP:
            segment.data = os.urandom(4 * MIB)
    kept = keep_budget(held(process, tmp_path), tmp_path, budget)
    contents_agree(process, kept)
    assert kept.truncated
    assert kept.stored <= budget
    assert all(holds(kept, address) for address in (elfcore.SP, elfcore.SP_2, elfcore.LINK_MAP))
    assert kept.dropped
    for start, end in kept.dropped:
        assert not holds(kept, start)
        assert not holds(kept, end - 1)


def test_a_budget_that_holds_all_leaves_nothing_out(tmp_path: pathlib.Path) -> None:
    process = elfcore.linux_process()
    kept = keep_budget(held(process, tmp_path), tmp_path, 4 * MIB)
    contents_agree(process, kept)
    assert not kept.truncated
    assert kept.dropped == ()
    assert stored(kept)[2].get("COREDUMP_TRUNCATED") is None


@pytest.mark.parametrize("count", [3000, 65600])
def test_many_mappings_under_a_small_budget_leave_room_for_the_stacks(
    count: int, tmp_path: pathlib.Path
) -> None:
    """Their headers alone would fill the file."""
    process = elfcore.linux_process()
    process.segments[4:4] = [
        elfcore.Segment(0x2000000 + i * 2 * PAGE, elfcore.contents(PAGE, i)) for i in range(count)
    ]
    kept = keep_budget(held(process, tmp_path), tmp_path, 256 * KIB)
    assert kept.stored <= 256 * KIB + 1024 + len(budget_note(kept))
    assert holds(kept, elfcore.SP)
    assert holds(kept, elfcore.SP_2)
    assert kept.truncated


def budget_note(kept: Kept) -> bytes:
    layout, core, _ = stored(kept)
    return note_of(layout, core)


def test_more_mappings_than_headers_can_be_counted_are_kept_whole(tmp_path: pathlib.Path) -> None:
    """From 65535 headers on their number stands elsewhere (PN_XNUM)."""
    process = elfcore.linux_process()
    process.segments[4:4] = [
        elfcore.Segment(0x2000000 + i * 2 * PAGE, elfcore.contents(PAGE, i)) for i in range(65600)
    ]
    kept = keep.store_core(held(process, tmp_path), CRASH, config(tmp_path), "/prog", {})
    assert stored(kept)[1] == process.core()


def test_a_core_that_just_fits_before_compression_loses_nothing(tmp_path: pathlib.Path) -> None:
    """Not a byte of its end, where the first stack is: memory that does not compress takes more than it is long."""
    process = elfcore.linux_process()
    for segment in process.segments:
        if segment.start == elfcore.HEAP:
            segment.data = os.urandom(2 * MIB)
    size = len(process.core())
    for more in range(-16 * KIB, 32 * KIB, 4 * KIB):
        directory = tmp_path / str(more)
        directory.mkdir()
        kept = keep.store_core(
            held(process, directory), CRASH, config(directory, external_size_max=size + more), "/prog", {}
        )
        assert holds(kept, elfcore.SP)
        assert kept.stored <= size + more


def test_a_process_that_is_gone_leaves_its_notes_and_a_mark(tmp_path: pathlib.Path) -> None:
    process = elfcore.linux_process()
    core = held(process, tmp_path)
    core.memory = Memory(os.memfd_create("gone"))
    core.pages = Pages(os.memfd_create("gone"))
    kept = keep.store_core(core, CRASH, config(tmp_path), "/prog", {})
    layout, _, _ = stored(kept)
    assert [thread.tid for thread in layout.threads] == [4712, 4711]
    assert kept.truncated
    assert kept.reason
    assert (elfcore.HEAP, elfcore.HEAP + 256 * KIB) in kept.dropped


@pytest.mark.parametrize("budget", ["full", "budget", "stacks"])
def test_memory_that_is_gone_while_it_is_planned_costs_no_notes(budget: str, tmp_path: pathlib.Path) -> None:
    process = elfcore.linux_process(hole=MIB)
    core = held(process, tmp_path)
    core.pages = Pages(os.memfd_create("gone"))
    settings = config(tmp_path, content=(("*", budget),), external_size_max=MIB)
    kept = keep.store_core(core, CRASH, settings, "/prog", {})
    assert len(stored(kept)[0].threads) == 2


LOCKED = "1000000-1010000 rw-p 00000000 00:00 0 \nVmFlags: rd wr lo\n"


def test_locked_memory_is_left_out_and_named(tmp_path: pathlib.Path) -> None:
    process = elfcore.linux_process()
    core = held(process, tmp_path, files={"smaps": LOCKED})
    kept = keep.store_core(core, CRASH, config(tmp_path, locked_memory=False), "/prog", {})
    contents_agree(process, kept)
    assert (0x1000000, 0x1010000) in kept.dropped
    assert holds(kept, 0x1010000)
    assert not holds(kept, 0x100FFFF)


def test_where_nobody_tells_what_was_locked_only_stacks_are_kept(tmp_path: pathlib.Path) -> None:
    process = elfcore.linux_process()
    settings = config(tmp_path, locked_memory=False)
    kept = keep.store_core(HeldCore(stream(process.core()), None), CRASH, settings, "/prog", {})
    assert kept.content == "stacks"
    assert holds(kept, elfcore.SP)
    assert not holds(kept, elfcore.HEAP + 0x1000)


def test_a_core_for_the_journal_is_not_larger_than_its_limit_with_zeros_and_all(
    tmp_path: pathlib.Path,
) -> None:
    process = elfcore.linux_process(hole=16 * MIB)
    settings = config(tmp_path, storage="journal", journal_size_max=2 * MIB)
    kept = keep.store_core(held(process, tmp_path), CRASH, settings, "/prog", {})
    assert kept.journal
    assert kept.size <= 2 * MIB
    layout = corefile.parse(os.pread(kept.fd, kept.size, journal.CORE_AT))
    assert any(s.vaddr <= elfcore.SP < s.vaddr + s.filesz for s in layout.segments)


@pytest.mark.parametrize("content", ["full", "budget", "stacks"])
def test_once_a_core_is_copied_its_process_may_be_gone(content: str, tmp_path: pathlib.Path) -> None:
    process = elfcore.linux_process(hole=MIB)
    core = held(process, tmp_path)
    assert core.pages is not None
    assert core.memory is not None
    page_map, memory = core.pages.fd, core.memory.fd

    def released(_: HeldCopy) -> None:
        for fd in (page_map, memory):
            gone = os.memfd_create("gone")
            os.dup2(gone, fd)
            os.close(gone)

    settings = config(tmp_path, content=(("*", content),))
    kept = keep.store_core(core, CRASH, settings, "/prog", {}, released)
    contents_agree(process, kept)
    assert not kept.reason
    assert kept.truncated == (content == "stacks")
    assert holds(kept, elfcore.SP)
    if content == "full":
        assert stored(kept)[1] == process.core()
