from __future__ import annotations

import os
import pathlib
import resource
import signal
import subprocess
from collections.abc import Iterable, Iterator

import elfcore
import pytest

from pycoredump import archive, metadata, zstd
from pycoredump.archive import Full, PlainWriter, Writer
from pycoredump.errors import ArchiveError
from pycoredump.reader import Archive

MIB = 1 << 20
HEAD = b"\x7fELF" + elfcore.contents(300)


@pytest.fixture
def fd(tmp_path: pathlib.Path) -> Iterator[int]:
    found = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT, 0o600)
    yield found
    os.close(found)


def decompressed(fd: int) -> bytes:
    """By the zstd tool."""
    size = os.fstat(fd).st_size
    data = os.pread(fd, size, 0)
    return subprocess.run(["zstd", "-dcq"], input=data, capture_output=True, check=True).stdout


def append(writer: Writer, data: bytes) -> None:
    writer.append(zstd.raw(data) if writer.compressed else data, len(data))


def append_all(writer: Writer, parts: Iterable[bytes]) -> None:
    for part in parts:
        append(writer, part)


@pytest.mark.parametrize("kind", [Writer, PlainWriter])
def test_what_was_appended_is_read_back(fd: int, kind: type[Writer]) -> None:
    writer = kind(fd, limit=10 * MIB)
    writer.head(HEAD)
    parts = [elfcore.contents(MIB, seed) for seed in (1, 2)]
    append(writer, parts[0])
    writer.zeros(3 * MIB)
    append(writer, parts[1])
    size = writer.finish(b"PYCORE1\nx")
    whole = HEAD + parts[0] + bytes(3 * MIB) + parts[1]
    assert size == len(whole) == writer.core_size
    found = Archive(fd)
    assert found.core_size == len(whole)
    assert found.read(0, len(whole)) == whole
    if kind is Writer:
        assert decompressed(fd) == whole
    else:
        assert os.pread(fd, len(whole), 0) == whole


def test_frames_larger_than_what_is_written_at_once_are_kept_whole(fd: int) -> None:
    writer = Writer(fd, limit=100 * MIB)
    writer.head(HEAD)
    data = elfcore.contents(5 * MIB)
    for _ in range(3):
        append(writer, data)
    writer.finish(b"x")
    assert decompressed(fd) == HEAD + data * 3


def test_the_head_is_replaced_in_its_place(fd: int) -> None:
    for kind in (Writer, PlainWriter):
        os.ftruncate(fd, 0)
        writer = kind(fd, limit=10 * MIB)
        writer.head(HEAD)
        append(writer, b"memory")
        writer.rehead(b"\x7fELF" + b"y" * 300)
        append(writer, b"more")
        writer.finish(b"x")
        assert Archive(fd).read(0, 1000) == b"\x7fELF" + b"y" * 300 + b"memorymore"


def test_a_head_of_another_size_is_refused(fd: int) -> None:
    writer = Writer(fd, limit=MIB)
    writer.head(HEAD)
    with pytest.raises(ValueError, match="cannot change its size"):
        writer.rehead(HEAD + b"x")


def test_zeros_one_after_the_other_share_a_frame(fd: int) -> None:
    writer = Writer(fd, limit=MIB)
    writer.head(HEAD)
    for _ in range(100):
        writer.zeros(64 << 10)
    append(writer, b"x")
    assert [size for _, size in writer.frames] == [304, 6553600, 1]


def test_more_zeros_than_the_seek_table_can_count_take_several_frames(fd: int) -> None:
    writer = Writer(fd, limit=MIB)
    writer.head(HEAD)
    writer.zeros((9 << 30) + 5)
    writer.finish(b"x")
    assert max(size for _, size in writer.frames) <= 1 << 30
    assert Archive(fd).core_size == (9 << 30) + 5 + 304


def test_a_frame_over_the_limit_is_refused_and_the_file_stays_whole(fd: int) -> None:
    writer = Writer(fd, limit=10000)
    writer.head(HEAD)
    append(writer, b"first" * 100)
    with pytest.raises(Full, match="The limit of 10000 bytes is reached"):
        append(writer, elfcore.contents(20000))
    writer.finish(b"x")
    assert decompressed(fd) == HEAD + b"first" * 100


def test_the_reserve_is_kept_for_the_tail(fd: int) -> None:
    writer = Writer(fd, limit=10000, reserve=4000)
    assert writer.limit == 6000
    assert Writer(fd, limit=10000, reserve=9000).limit == 5000


def test_a_note_is_added_also_over_the_limit(fd: int) -> None:
    writer = Writer(fd, limit=1000)
    writer.head(HEAD)
    assert writer.add_note(b"n" * 2000)
    assert writer.limit == 1000
    writer.finish(b"x")
    assert decompressed(fd) == HEAD + b"n" * 2000


def test_a_plain_core_has_holes_for_zeros_and_begins_where_it_is_told_to(tmp_path: pathlib.Path) -> None:
    with open(tmp_path / "plain", "w+b") as file:
        writer = PlainWriter(file.fileno(), limit=1 << 40, base=17)
        writer.head(HEAD)
        writer.zeros(256 * MIB)
        writer.settle()
        assert os.fstat(file.fileno()).st_size == 17 + 304 + 256 * MIB
        assert os.fstat(file.fileno()).st_blocks * 512 < MIB
        assert Archive(file.fileno(), base=17).read(0, 304) == HEAD


def test_further_metadata_is_added_behind_and_the_later_wins(fd: int) -> None:
    writer = Writer(fd, limit=MIB)
    writer.head(HEAD)
    append(writer, b"memory")
    writer.finish(metadata.frame({"A": b"1", "B": b"2"}))
    before = os.pread(fd, 1 << 20, 0)
    entries = [(frame.size, frame.length) for frame in Archive(fd).frames]
    archive.append_metadata(fd, metadata.frame({"B": b"3"}), entries)
    found = Archive(fd)
    assert found.fields == {"A": "1", "B": "3"}
    assert found.read(0, 1000) == HEAD + b"memory"
    assert os.pread(fd, len(before), 0) == before
    assert decompressed(fd) == HEAD + b"memory"


class SmallDisk:
    """A file that cannot grow beyond some bytes (RLIMIT_FSIZE of the process)."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __enter__(self) -> None:
        self.before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        self.limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.limits[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.limits)
        signal.signal(signal.SIGXFSZ, self.before)


@pytest.mark.parametrize("room", [300_000, 4 * MIB, 5 * MIB + 1, 9 * MIB])
@pytest.mark.parametrize("kind", [Writer, PlainWriter])
def test_a_file_that_cannot_grow_holds_whole_frames_only(fd: int, kind: type[Writer], room: int) -> None:
    writer = kind(fd, limit=100 * MIB)
    parts = [elfcore.contents(200_000, seed) for seed in range(60)]
    with SmallDisk(room):
        writer.head(HEAD)
        try:
            for part in parts:
                append(writer, part)
        except Full as e:
            assert str(e) == "No room for more: File too large"  # noqa: PT017 - which one it was matters
        writer.settle()
        size = writer.core_size
    assert size <= room
    whole = HEAD + b"".join(parts)
    writer.finish(b"x")
    assert size == writer.core_size
    assert room - 201_000 < size
    assert Archive(fd).read(0, len(whole)) == whole[:size]


@pytest.mark.parametrize("kind", [Writer, PlainWriter])
def test_a_file_stops_where_others_would_lose_the_free_space_they_need(fd: int, kind: type[Writer]) -> None:
    writer = kind(fd, limit=1 << 40, floor=1 << 60)
    writer.head(HEAD)
    with pytest.raises(Full, match="KeepFree= asks for"):
        append_all(writer, (elfcore.contents(MIB, seed) for seed in range(40)))
    assert writer.core_size <= 17 * MIB
    assert writer.add_note(b"n" * 100)
    size = writer.finish(b"x")
    assert Archive(fd).core_size == size


def test_a_floor_that_holds_stops_nothing(fd: int) -> None:
    writer = Writer(fd, limit=1 << 40, floor=1)
    for seed in range(40):
        append(writer, elfcore.contents(MIB, seed))
    assert writer.core_size == 40 * MIB


@pytest.fixture
def full_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file system of 2 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    path = tmp_path / "disk"
    path.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", path], capture_output=True
    ).returncode:
        pytest.skip("tmpfs cannot be mounted here")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


@pytest.mark.root
@pytest.mark.parametrize("kind", [Writer, PlainWriter])
def test_a_full_disk_leaves_a_file_that_reads_to_its_last_whole_frame(
    full_disk: pathlib.Path, kind: type[Writer]
) -> None:
    fd = os.open(full_disk / "core", os.O_RDWR | os.O_CREAT, 0o600)
    writer = kind(fd, limit=100 * MIB)
    writer.head(HEAD)
    parts = [elfcore.contents(100_000, seed) for seed in range(60)]
    stopped = False
    for part in parts:
        try:
            append(writer, part)
        except Full:
            stopped = True
            break
    writer.settle()
    if kind is Writer:
        size = writer.finish(b"x" * 5000)
        whole = HEAD + b"".join(parts)
        assert len(HEAD) < size < 2 * MIB
        assert (size - len(HEAD)) % 100_000 == 0
        assert decompressed(fd) == whole[:size]
        assert Archive(fd).core_size == size
    else:
        assert stopped
        assert 1_900_000 < writer.core_size < 2 * MIB
    os.close(fd)


@pytest.mark.root
def test_a_disk_that_is_full_from_the_start_is_an_os_error(full_disk: pathlib.Path) -> None:
    (full_disk / "filler").write_bytes(b"x" * (2 * MIB))
    fd = os.open(full_disk / "core", os.O_RDWR | os.O_CREAT, 0o600)
    writer = Writer(fd, limit=100 * MIB)
    writer.head(HEAD)
    with pytest.raises(OSError, match="No space left"):
        writer.finish(b"x")
    os.close(fd)


def test_a_file_that_is_neither_is_refused(fd: int) -> None:
    os.pwrite(fd, b"hello, world", 0)
    with pytest.raises(ArchiveError, match="neither an archive nor a core"):
        Archive(fd)
