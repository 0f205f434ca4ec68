"""Archives travel: whatever stands in one, a reader gives bytes of the core or says that it is damaged."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import tracemalloc
from collections.abc import Iterator

import elfcore
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pycoredump import frames, metadata, zstd
from pycoredump.archive import METADATA_TAG, PlainWriter, Writer
from pycoredump.errors import ArchiveError
from pycoredump.reader import Archive

MIB = 1 << 20
HEAD = b"\x7fELF" + elfcore.contents(300)


def file_of(data: bytes) -> int:
    fd = os.memfd_create("archive", os.MFD_CLOEXEC)
    os.write(fd, data)
    return fd


def contents(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def make(kind: type[Writer] = Writer) -> tuple[bytes, bytes]:
    """An archive and its core: incompressible and other parts, and zeros."""
    compress, _ = zstd.compressor(1)
    assert compress is not None
    fd = file_of(b"")
    writer = kind(fd, limit=1 << 40)
    writer.head(HEAD)
    parts = [HEAD]
    for part in (random.Random(1).randbytes(70000), elfcore.contents(200000), bytes(300000), b"end"):
        parts.append(part)
        if not any(part):
            writer.zeros(len(part))
        else:
            writer.append(compress(memoryview(part)) if writer.compressed else part, len(part))
    writer.finish(metadata.frame({"COREDUMP_PID": b"4711", "MESSAGE": b"x" * 1000}))
    return contents(fd), b"".join(parts)


ARCHIVE, CORE = make()
PLAIN, _ = make(PlainWriter)


def streamed(archive: Archive) -> bytes:
    return b"".join(bytes(part) if isinstance(part, int) else part for part in archive.stream())


@pytest.mark.parametrize("data", [ARCHIVE, PLAIN], ids=["frames", "plain"])
def test_the_core_and_what_is_known_of_it_are_read(data: bytes) -> None:
    archive = Archive(file_of(data))
    assert archive.seekable
    assert archive.core_size == len(CORE)
    assert streamed(archive) == CORE
    assert archive.fields == {"COREDUMP_PID": "4711", "MESSAGE": "x" * 1000}


@settings(max_examples=60)
@given(st.sampled_from([ARCHIVE, PLAIN]), st.integers(0, len(CORE) + 10), st.integers(0, 400000))
def test_any_range_is_the_cores(data: bytes, start: int, size: int) -> None:
    assert Archive(file_of(data)).read(start, size) == CORE[start : start + size]


def test_a_range_is_read_without_decompressing_the_rest() -> None:
    archive = Archive(file_of(ARCHIVE))
    damaged = bytearray(ARCHIVE)
    first = archive.frames[1]
    damaged[first.at : first.at + first.size] = bytes(first.size)
    assert Archive(file_of(bytes(damaged))).read(len(CORE) - 3, 3) == b"end"


def test_zeros_are_told_as_a_number() -> None:
    assert [part for part in Archive(file_of(ARCHIVE)).stream() if isinstance(part, int)] == [300000]


def test_a_core_by_another_zstd_is_streamed_but_has_no_ranges() -> None:
    done = subprocess.run(["zstd", "-qc", "-"], input=CORE, capture_output=True, check=True)
    archive = Archive(file_of(done.stdout))
    assert not archive.seekable
    assert archive.fields == {}
    assert streamed(archive) == CORE
    with pytest.raises(ArchiveError, match="has no seek table") as caught:
        archive.read(0, 1)
    assert caught.value.hint == "Decompress it first: zstd -d."


@pytest.mark.parametrize("level", ["-1", "-19", "--fast=5", "--no-check", "-T0"])
def test_whatever_zstd_wrote_ends_where_the_file_ends(level: str) -> None:
    data = subprocess.run(["zstd", level, "-qc"], input=CORE * 2, capture_output=True, check=True).stdout
    fd = file_of(data)
    assert frames.is_whole(fd, len(data))
    for size in (len(data) - 1, len(data) // 2, 5, 1):
        os.ftruncate(fd, size)
        assert not frames.is_whole(fd, size)


def test_a_file_cut_short_gives_what_it_has_and_says_so() -> None:
    done = subprocess.run(["zstd", "-qc", "-"], input=CORE, capture_output=True, check=True)
    archive = Archive(file_of(done.stdout[:-10]))
    parts = archive.stream()
    found = next(parts)
    with pytest.raises(ArchiveError, match=r"is cut off|is damaged"):
        list(parts)
    assert CORE.startswith(bytes(found) if isinstance(found, int) else found)


def test_an_archive_cut_short_is_still_read_from_its_start() -> None:
    first = Archive(file_of(ARCHIVE)).frames[2]
    archive = Archive(file_of(ARCHIVE[: first.at]))
    assert streamed(archive) == CORE[: first.start]


@pytest.mark.parametrize("data", [b"", b"\x7fEL", b"hello", b"\x28\xb5\x2f", bytes(100)])
def test_what_is_neither_is_refused(data: bytes) -> None:
    with pytest.raises(ArchiveError, match="neither an archive nor a core"):
        Archive(file_of(data))


def read_all(data: bytes) -> None:
    """Everything that a reader can be asked. Only ArchiveError is allowed."""
    try:
        archive = Archive(file_of(data))
        assert all(isinstance(value, str) for value in archive.fields.values())
        for _ in zip(archive.stream(), range(50), strict=False):
            pass
        if archive.seekable:
            for start in (0, 1, len(CORE) // 2, archive.core_size - 1, archive.core_size, 1 << 62):
                archive.read(max(0, start), 1000)
    except ArchiveError:
        pass


positions = st.integers(0, len(ARCHIVE) - 1)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([ARCHIVE, PLAIN]), st.lists(st.tuples(positions, st.integers(0, 255)), max_size=6))
def test_damaged_bytes_are_an_archive_error_at_most(data: bytes, damage: list[tuple[int, int]]) -> None:
    damaged = bytearray(data)
    for at, value in damage:
        damaged[at % len(damaged)] = value
    read_all(bytes(damaged))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 120), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_tail_is_an_archive_error_at_most(damage: list[tuple[int, int]]) -> None:
    """The seek table and the frame before it, where every number counts."""
    damaged = bytearray(ARCHIVE)
    for back, value in damage:
        damaged[-back] = value
    read_all(bytes(damaged))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(ARCHIVE)), st.binary(max_size=40))
def test_a_file_of_another_length_is_an_archive_error_at_most(size: int, more: bytes) -> None:
    read_all(ARCHIVE[:size] + more)
    read_all(PLAIN[:size] + more)


rows = st.lists(
    st.tuples(st.integers(0, 2**32 - 1) | st.integers(0, 40), st.integers(0, 2**32 - 1)), max_size=5
)


@settings(max_examples=100, deadline=None)
@given(rows, st.binary(max_size=60))
def test_a_table_of_any_numbers_is_an_archive_error_at_most(
    table: list[tuple[int, int]], body: bytes
) -> None:
    read_all(zstd.MAGIC + body + zstd.seek_table(table))


@pytest.fixture
def memory() -> Iterator[None]:
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300 * MIB


def with_table(body: bytes, table: list[tuple[int, int]], *, size: int = 0) -> Archive:
    """An archive of `size` bytes, most of which are a hole, with this seek table."""
    fd = file_of(body)
    tail = zstd.seek_table(table)
    os.ftruncate(fd, max(size, len(body)))
    os.pwrite(fd, tail, max(size, len(body)))
    return Archive(fd)


@pytest.mark.usefixtures("memory")
def test_a_frame_that_claims_gibibytes_is_not_read() -> None:
    size = (4 << 30) - 1
    archive = with_table(zstd.MAGIC, [(size, 1000)], size=size)
    with pytest.raises(ArchiveError, match="is damaged: its frame at 0 claims 1000 bytes in 4294967295"):
        archive.read(0, 10)


@pytest.mark.usefixtures("memory")
def test_a_frame_that_would_become_gibibytes_is_not_decompressed() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(100 * MIB))
    for length in (100 * MIB, 1000):
        with pytest.raises(ArchiveError, match="is damaged"):
            with_table(bomb, [(len(bomb), length)]).read(0, 10)


@pytest.mark.usefixtures("memory")
def test_a_table_of_millions_of_frames_is_refused() -> None:
    count = 1 << 24
    fd = file_of(zstd.MAGIC)
    os.ftruncate(fd, 8 * count + 100)
    os.pwrite(fd, struct.pack("<IBI", count, 0, zstd.SEEKABLE_MAGIC), 8 * count + 91)
    with pytest.raises(ArchiveError, match="its seek table claims 16777216 frames"):
        Archive(fd)


@pytest.mark.usefixtures("memory")
def test_metadata_that_would_become_gibibytes_is_left_out() -> None:
    text = b'{"version":1,"fields":{"A":"' + b"x" * (80 * MIB) + b'"}}'
    frame = zstd.skippable(zstd.METADATA, METADATA_TAG + zstandard.ZstdCompressor().compress(text))
    assert with_table(zstd.raw(b"x") + frame, [(18, 1), (len(frame), 0)]).fields == {}


def test_of_many_metadata_frames_the_last_ones_count() -> None:
    body, table = zstd.raw(b"x"), [(18, 1)]
    for number in range(40):
        frame = zstd.skippable(zstd.METADATA, metadata.frame({f"F{number}": b"1"}))
        body, table = body + frame, [*table, (len(frame), 0)]
    assert sorted(with_table(body, table).fields) == sorted(f"F{number}" for number in range(24, 40))


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"fields":1}', b'{"fields":{"A":1,"B":"2"}}', b"\xff", b"[" * 100000]
)
def test_metadata_of_another_form_cost_nothing_but_themselves(text: bytes) -> None:
    frame = zstd.skippable(zstd.METADATA, METADATA_TAG + zstd.raw(text))
    archive = with_table(zstd.raw(b"core") + frame, [(21, 4), (len(frame), 0)])
    assert archive.fields in ({}, {"B": "2"})
    assert archive.read(0, 9) == b"core"


def test_a_plain_core_in_front_of_which_something_stands_is_read_from_there() -> None:
    fd = file_of(b"COREDUMP\n12345678" + CORE)
    archive = Archive(fd, base=17)
    assert archive.core_size == len(CORE)
    assert archive.read(0, len(CORE)) == CORE
    assert streamed(archive) == CORE
