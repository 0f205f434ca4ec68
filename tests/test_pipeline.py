from __future__ import annotations

import _thread
import errno
import os
import pathlib
import threading
from collections.abc import Iterator

import elfcore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycoredump import corefile, pipeline, plan
from pycoredump.archive import PlainWriter, Writer
from pycoredump.memory import Memory
from pycoredump.pagemap import Pages
from pycoredump.pipeline import MemorySource, Pipeline, StreamSource
from pycoredump.plan import Plan
from pycoredump.reader import Archive

PAGE = 4096
MIB = 1 << 20
FRAME = 64 << 10


@pytest.fixture
def fd(tmp_path: pathlib.Path) -> Iterator[int]:
    found = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT, 0o600)
    yield found
    os.close(found)


def pipe_with(data: bytes) -> int:
    """The reading end of a pipe that somebody fills and closes."""
    reading, writing = os.pipe()

    def fill() -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(writing, view) :]
        except BrokenPipeError:
            pass
        os.close(writing)

    threading.Thread(target=fill, daemon=True).start()
    return reading


def stored(writer: Writer) -> bytes:
    """What a reader finds in the file."""
    writer.finish(b"PYCORE1\n")
    return Archive(writer.fd).read(0, 1 << 40)


def planned(data: bytes) -> Plan:
    return Plan(head=b"", runs=lambda: iter([plan.data(0, len(data))]), size=len(data))


class Bytes:
    """A source that gives bytes, in any order, until something goes wrong."""

    sequential = False

    def __init__(self, data: bytes, *, fails_at: int = 1 << 62, error: Exception | None = None) -> None:
        self.data = data
        self.fails_at = fails_at
        self.error = error
        self.failed: list[tuple[int, int]] = []

    def fill(self, buffer: memoryview, where: int) -> int:
        if where + len(buffer) > self.fails_at and self.error:
            raise self.error
        part = self.data[where : where + len(buffer)]
        buffer[: len(part)] = part
        return len(part)


class InOrder(Bytes):
    sequential = True


def run(plan: Plan, source: pipeline.Source, writer: Writer, *, workers: int = 3) -> Pipeline:
    return pipeline.store(plan, source, writer, level=1, workers=workers, frame=FRAME)


@pytest.mark.parametrize("workers", [1, 2, 3, 20])
@pytest.mark.parametrize("kind", [Writer, PlainWriter])
def test_a_stream_is_stored_byte_for_byte(fd: int, kind: type[Writer], workers: int) -> None:
    core = elfcore.linux_process(heap=3 * MIB, hole=2 * MIB).core()
    reading = pipe_with(core)
    layout = corefile.scan(corefile.reader(lambda size: os.read(reading, size)))
    writer = kind(fd, limit=1 << 40)
    done = run(plan.stream(layout), StreamSource(reading, len(layout.head)), writer, workers=workers)
    assert (done.stopped, done.problem) == ("", "")
    assert stored(writer) == core
    os.close(reading)


@pytest.mark.parametrize("workers", [1, 3])
def test_memory_gives_the_same_bytes_as_the_stream(fd: int, workers: int) -> None:
    process = elfcore.linux_process(heap=3 * MIB, hole=20 * MIB)
    core = process.core()
    layout = corefile.parse(core)
    writer = Writer(fd, limit=1 << 40)
    whole = plan.whole(layout, Pages(process.pagemap()))
    run(whole, MemorySource(Memory(process.memory())), writer, workers=workers)
    assert stored(writer) == core


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([b"a" * 70000, bytes(70000), bytes(300000), b"x", b""]), max_size=8),
    st.integers(1, 4),
    st.integers(0, 800000),
)
def test_whatever_comes_is_stored_up_to_where_it_ends(parts: list[bytes], workers: int, end: int) -> None:
    data = b"".join(parts)
    fd = os.memfd_create("archive")
    reading = pipe_with(data[:end])
    try:
        writer = Writer(fd, limit=1 << 40)
        done = run(planned(data), StreamSource(reading, 0), writer, workers=workers)
        assert done.stopped == (pipeline.ENDED if end < len(data) else "")
        assert stored(writer) == data[:end]
    finally:
        os.close(fd)
        os.close(reading)


def test_the_end_of_what_is_no_core_is_no_failure(fd: int) -> None:
    reading = pipe_with(b"#!/bin/sh\n" + elfcore.contents(200000))
    writer = Writer(fd, limit=1 << 40)
    done = run(plan.foreign(os.read(reading, 2)), StreamSource(reading, 2), writer)
    assert done.stopped == ""
    assert stored(writer) == b"#!/bin/sh\n" + elfcore.contents(200000)


def test_a_stream_is_read_past_what_is_not_kept(fd: int) -> None:
    data = elfcore.contents(5 * MIB)
    wanted = Plan(
        head=b"",
        runs=lambda: iter([plan.data(10, 100), plan.data(4 * MIB, 1000), plan.data(4 * MIB + 1000, 5)]),
        size=1105,
    )
    writer = Writer(fd, limit=1 << 40)
    done = run(wanted, StreamSource(pipe_with(data), 0), writer)
    assert done.stopped == ""
    assert stored(writer) == data[10:110] + data[4 * MIB : 4 * MIB + 1005]


def test_a_stream_that_ends_before_what_is_wanted_says_so(fd: int) -> None:
    wanted = Plan(head=b"", runs=lambda: iter([plan.data(MIB, 100)]), size=100)
    done = run(wanted, StreamSource(pipe_with(b"short"), 0), Writer(fd, limit=1 << 40))
    assert done.stopped == pipeline.ENDED


@pytest.mark.parametrize("kind", [Bytes, InOrder])
@pytest.mark.parametrize("workers", [1, 2, 8])
def test_a_source_that_fails_costs_what_follows_and_never_hangs(
    fd: int, kind: type[Bytes], workers: int
) -> None:
    data = elfcore.contents(20 * FRAME)
    writer = Writer(fd, limit=1 << 40)
    done = run(
        planned(data), kind(data, fails_at=5 * FRAME, error=ValueError("broken")), writer, workers=workers
    )
    assert done.stopped in ("ValueError: broken", pipeline.ENDED)
    found = stored(writer)
    assert len(found) <= 5 * FRAME
    assert found == data[: len(found)]


def test_memory_that_cannot_be_read_any_more_leaves_what_was_read(fd: int) -> None:
    data = elfcore.contents(10 * FRAME)
    memory = os.memfd_create("mem")
    os.write(memory, data[: 4 * FRAME + 100])
    writer = Writer(fd, limit=1 << 40)
    done = run(planned(data), MemorySource(Memory(memory)), writer, workers=1)
    assert done.stopped == pipeline.ENDED
    assert stored(writer) == data[: 4 * FRAME + 100]


def test_a_plan_that_fails_half_way_leaves_what_was_written(fd: int) -> None:
    data = elfcore.contents(3 * FRAME)

    def runs() -> Iterator[plan.Run]:
        yield plan.data(0, 2 * FRAME)
        raise RuntimeError("half a plan")

    writer = Writer(fd, limit=1 << 40)
    done = run(Plan(head=b"", runs=runs, size=len(data)), Bytes(data), writer)
    assert done.stopped == "RuntimeError: half a plan"
    assert stored(writer) == data[: 2 * FRAME]


def test_a_limit_stops_at_whole_frames_in_order(fd: int) -> None:
    data = os.urandom(40 * FRAME)
    writer = Writer(fd, limit=10 * FRAME)
    done = run(planned(data), Bytes(data), writer, workers=4)
    assert done.stopped == f"The limit of {10 * FRAME} bytes is reached"
    found = stored(writer)
    assert found == data[: len(found)]
    assert 8 * FRAME <= len(found) <= 10 * FRAME


class BrokenDisk(Writer):
    """A disk that fails in the middle."""

    def append(self, frame: bytes, size: int) -> None:
        if self.core_size >= 3 * FRAME:
            raise OSError(errno.EIO, "Input/output error")
        super().append(frame, size)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_disk_that_fails_is_an_os_error_when_all_workers_have_ended(fd: int, workers: int) -> None:
    before = threading.active_count()
    data = elfcore.contents(20 * FRAME)
    with pytest.raises(OSError, match="Input/output error"):
        run(planned(data), Bytes(data), BrokenDisk(fd, limit=1 << 40), workers=workers)
    assert threading.active_count() == before


def test_where_no_thread_can_be_started_one_does_it_all(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)  # the kernel's answer, not ours
    data = elfcore.contents(5 * FRAME)
    writer = Writer(fd, limit=1 << 40)
    assert run(planned(data), Bytes(data), writer, workers=4).stopped == ""
    assert stored(writer) == data


def test_zeros_are_not_compressed_wherever_they_come_from(fd: int) -> None:
    data = elfcore.contents(FRAME) + bytes(10 * FRAME) + elfcore.contents(FRAME, 2)
    writer = Writer(fd, limit=1 << 40)
    run(planned(data), StreamSource(pipe_with(data), 0), writer)
    assert [length for _, length in writer.frames if length] == [FRAME, 10 * FRAME, FRAME]
    assert stored(writer) == data


@pytest.mark.parametrize("at", [0, 1, 4095, 16384, 60000])
def test_any_set_finds_a_single_byte(at: int) -> None:
    data = bytearray(60001)
    assert not pipeline.any_set(memoryview(data))
    data[at] = 1
    assert pipeline.any_set(memoryview(data))


def test_an_empty_view_holds_nothing() -> None:
    assert not pipeline.any_set(memoryview(b""))


def test_the_head_can_still_be_replaced(fd: int) -> None:
    process = elfcore.linux_process()
    layout = corefile.parse(process.core())
    writer = Writer(fd, limit=1 << 40)
    whole = plan.whole(layout, None)
    run(whole, MemorySource(Memory(process.memory())), writer)
    writer.rehead(whole.head[::-1])
    assert stored(writer)[: len(whole.head)] == whole.head[::-1]
