from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import elfcore
import pytest
from stoppedchild import Child

from pycoredump import corefile
from pycoredump.errors import CoreError
from pycoredump.heldcore import HeldCore
from pycoredump.pipeline import MemorySource, StreamSource

PAGE = 4096
MIB = 1 << 20


def stream(core: bytes) -> int:
    """A descriptor that gives these bytes and then the end, as the kernel's pipe does."""
    fd = os.memfd_create("stream", os.MFD_CLOEXEC)
    os.write(fd, core)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


@pytest.fixture
def child() -> Iterator[Child]:
    found = Child()
    yield found
    found.end()


def core_of(child: Child, *, auxv: bytes | None = None, size: int = 8 * MIB) -> bytes:
    vector = child.directory.read("auxv", 1 << 16) if auxv is None else auxv
    notes = elfcore.note(1, elfcore.prstatus(elfcore.Thread())) + elfcore.note(6, vector)
    notes += elfcore.note(0x46494C45, elfcore.nt_file([elfcore.File(1 << 20, 2 << 20, 0, b"/bin/true")]))
    return elfcore.core(notes=notes, segments=[elfcore.Segment(child.start, bytes(size))])


def test_memory_is_read_where_the_process_is_provably_that_of_the_stream(child: Child) -> None:
    core = HeldCore(stream(core_of(child)), child.directory)
    if core.memory is None and os.geteuid() != 0:
        pytest.skip("only root may read it here: Yama (ptrace_scope)")
    assert isinstance(core.source, MemorySource)
    buffer = bytearray(8)
    assert core.source.fill(memoryview(buffer), child.start + 40 * PAGE) == 8
    assert bytes(buffer) == b"\x28\0\0\0page"
    assert core.unread == core.layout.size - len(core.head) if core.layout else False


def test_another_process_of_the_same_number_is_not_read(child: Child) -> None:
    """CVE-2025-4598: the crashed process may have been replaced by one that its user can choose."""
    core = HeldCore(stream(core_of(child, auxv=elfcore.auxv({9: 0x1234, 23: 0}))), child.directory)
    assert core.memory is None
    assert isinstance(core.source, StreamSource)
    assert core.unread == 0


@pytest.mark.parametrize("auxv", [b"", b"\1"])
def test_without_a_whole_vector_nothing_proves_it(child: Child, auxv: bytes) -> None:
    assert HeldCore(stream(core_of(child, auxv=auxv)), child.directory).memory is None


def test_a_core_that_fits_the_pipe_holds_no_process(child: Child) -> None:
    """The kernel has written it all and may be done with the process: what is read may be another one's."""
    assert HeldCore(stream(core_of(child, size=PAGE)), child.directory).memory is None


def test_notes_that_are_not_whole_come_out_of_the_stream(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corefile, "NOTES_MAX", 100)
    monkeypatch.setattr(corefile, "CHUNK", 50)
    data = core_of(child)
    core = HeldCore(stream(data), child.directory)
    assert core.memory is None
    assert core.layout is not None
    assert not core.layout.whole
    assert data.startswith(core.head)


def test_a_process_that_is_gone_leaves_the_stream(child: Child) -> None:
    core = core_of(child)
    os.kill(child.process.pid, signal.SIGKILL)
    child.process.wait()
    found = HeldCore(stream(core), child.directory)
    assert found.memory is None
    assert found.touched(enough=1 << 40) == 8 * MIB


def test_what_was_touched_is_counted_without_reading_it(child: Child) -> None:
    core = HeldCore(stream(core_of(child)), child.directory)
    if core.pages is None:
        pytest.skip("its page map cannot be read here")
    assert 5 * PAGE <= core.touched(enough=1 << 40) < MIB


@pytest.mark.parametrize("data", [b"#!/bin/sh\necho", b"\x7fELF", elfcore.linux_process().core()[:700]])
def test_what_is_no_core_or_breaks_off_is_kept_as_it_comes(data: bytes) -> None:
    core = HeldCore(stream(data), None)
    assert core.layout is None
    assert data.startswith(core.head)
    assert core.touched(enough=1) == 0
    assert core.missing(b"") == []
    rest = bytearray(len(data))
    came = core.source.fill(memoryview(rest), len(core.head))
    assert bytes(core.head) + rest[:came] == data


def test_more_mappings_than_are_read_are_kept_as_they_come() -> None:
    front = elfcore.header(bits=64, order="<", machine=62, phnum=0xFFFF)
    front += elfcore.program_header(4, 0, 64 + (1 << 21) * 56, 0, 0, 0, bits=64, order="<")
    core = HeldCore(stream(front + bytes(1000)), None)
    assert core.layout is None
    assert core.head == front


def test_no_byte_at_all_says_why() -> None:
    with pytest.raises(CoreError, match="The kernel sent nothing"):
        HeldCore(stream(b""), None)


def test_without_proc_all_comes_out_of_the_stream() -> None:
    core = HeldCore(stream(elfcore.linux_process().core()), None)
    assert core.layout is not None
    assert isinstance(core.source, StreamSource)
    assert core.is_whole()
    assert core.unreadable() == ()
