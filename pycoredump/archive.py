"""The stored file: independent zstd frames, then skippable frames with the metadata and the seek table.

pycoredump-archive(5) describes the format. Runs before the release: tests/test_hot_path.py lists what this
module may import.
"""

from __future__ import annotations

import errno
import os

from pycoredump import zstd
from pycoredump.errors import PycoredumpError
from pycoredump.sink import Sink

METADATA_TAG = b"PYCORE1\n"  # begins the contents of our skippable frame; a zstd frame with JSON follows

LOOK = 16 << 20  # bytes from one look at the free space to the next
ZEROS_MAX = 1 << 30  # bytes in one frame of zeros; the seek table has 32 bits for it
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Full(PycoredumpError):
    """The limit of the file, or the file system, has no room for more."""


class Writer:
    """Appends frames to a file. What it wrote can always be finished to a file that decompresses."""

    compressed = True

    def __init__(self, fd: int, *, limit: int, reserve: int = 0, floor: int = 0) -> None:
        """`limit`: bytes that the file may have, of which `reserve` are for metadata and seek table.

        `floor`: bytes of the file system that are to stay free, whoever else is writing to it.
        """
        self.fd = fd
        self.limit = max(limit - reserve, limit // 2)
        self.frames: list[tuple[int, int]] = []  # (bytes in the file, bytes of the core)
        self.written = 0  # bytes of the frames
        self.core_size = 0  # bytes of the core that are in them
        self.head_size = 0
        self.full = False  # not all of the core had room
        self.floor = floor
        self._looked = 0  # bytes of the file at the last look at the free space
        self._zeros = 0  # bytes of zeros that are not in a frame yet
        self._sink = Sink(fd)

    def head(self, data: bytes) -> None:
        """ELF header and program headers, stored so that rehead() can replace them in place."""
        self.head_size = len(data)
        self._put(zstd.fixed(data))
        self._count(len(zstd.fixed(data)), len(data))

    def rehead(self, data: bytes) -> None:
        """Replace the head, after everything else. OSError."""
        if len(data) != self.head_size:
            raise ValueError("the head cannot change its size")
        self.settle()
        _write_at(self.fd, zstd.fixed(data), 0)

    def append(self, frame: bytes, size: int) -> None:
        """A whole frame that holds `size` bytes. Full (the frame, and perhaps some before it, are gone) or OSError."""
        self._flush_zeros()
        self._append(frame, size)

    def _append(self, frame: bytes, size: int) -> None:
        if self.written + len(frame) > self.limit:
            raise Full(f"The limit of {self.limit} bytes is reached")
        if self.written + len(frame) >= self._looked + LOOK:
            self._look()
        try:
            self._put(frame)
        except OSError as e:
            self._give_up(e)
            raise Full(f"No room for more: {e.strerror}") from None
        self._count(len(frame), size)

    def _look(self) -> None:
        # Two handlers that began with the same free space would together go below KeepFree=.
        self._looked = self.written
        space = os.fstatvfs(self.fd)
        if space.f_blocks and space.f_frsize * space.f_bavail < self.floor:
            raise Full(f"The file system has only the {self.floor} bytes free that KeepFree= asks for")

    def zeros(self, size: int) -> None:
        """Zeros, which wait for further ones: together they take four bytes for each 128 KiB. Full or OSError."""
        self._zeros += size
        while self._zeros >= ZEROS_MAX:
            self._flush_zeros(ZEROS_MAX)

    def _flush_zeros(self, most: int = ZEROS_MAX) -> None:
        size = min(self._zeros, most)
        if size:
            self._zeros -= size
            self._append(zstd.zeros(size), size)

    def add_note(self, note: bytes) -> bool:
        """A last note behind all memory, also over the limit; False if the disk has no room for it."""
        limits = self.limit, self.floor
        self.limit, self.floor = self.limit + (1 << 40), 0
        try:
            self.append(zstd.raw(note) if self.compressed else note, len(note))
        except (Full, OSError):
            return False
        finally:
            self.limit, self.floor = limits
        return True

    def settle(self) -> None:
        """Have all frames in the file, or on a full disk as many as there is room for. OSError."""
        try:
            self._flush_zeros()
        except Full:
            self._zeros, self.full = 0, True
        try:
            self._sink.settle()
        except OSError as e:
            self._give_up(e)

    def finish(self, metadata: bytes) -> int:
        """Write metadata and seek table; on a full disk at the cost of the last frames. Bytes of the core kept.

        OSError if not even the head and the tail fit.
        """
        self.settle()
        while True:
            table = [*self.frames, (8 + len(metadata), 0)]
            tail = zstd.skippable(zstd.METADATA, metadata) + zstd.seek_table(table)
            try:
                _write_at(self.fd, tail, self.written)
                return self.core_size
            except OSError as e:
                if e.errno not in NO_ROOM or len(self.frames) <= 2:
                    raise
                self._drop_behind(self.written - 1)

    def _put(self, frame: bytes) -> None:
        self._sink.append(frame)

    def _count(self, written: int, size: int) -> None:
        self.written += written
        self.core_size += size
        self.frames.append((written, size))

    def _give_up(self, error: OSError) -> None:
        """After a failed write: keep the frames that are whole in the file. Anything but a full disk is raised."""
        self.full = True
        self._drop_behind(self._sink.flushed)
        if error.errno not in NO_ROOM:
            raise error

    def _drop_behind(self, size: int) -> None:
        while self.frames and self.written > size:
            compressed, length = self.frames.pop()
            self.written -= compressed
            self.core_size -= length
        self._sink.reset(self.written)


class PlainWriter(Writer):
    """The core as it is (Compress=no): zeros are holes, a debugger opens it in place; the tail stands behind it."""

    compressed = False

    def __init__(self, fd: int, *, limit: int, reserve: int = 0, floor: int = 0, base: int = 0) -> None:
        """`base`: where in the file the core begins."""
        super().__init__(fd, limit=limit, reserve=reserve, floor=floor)
        self.base = base

    def head(self, data: bytes) -> None:
        self.head_size = len(data)
        self.append(data, len(data))

    def rehead(self, data: bytes) -> None:
        _write_at(self.fd, data, self.base)

    def zeros(self, size: int) -> None:
        self._count(0, size)

    def settle(self) -> None:
        os.ftruncate(self.fd, self.end)  # untouched memory at the very end is a hole that nobody wrote

    def finish(self, metadata: bytes) -> int:
        self.settle()
        tail = zstd.skippable(zstd.METADATA, metadata) + zstd.seek_table([(8 + len(metadata), 0)])
        _write_at(self.fd, tail, self.end)
        return self.core_size

    @property
    def end(self) -> int:
        """Where in the file the next bytes go."""
        return self.base + self.core_size

    def _put(self, frame: bytes) -> None:
        _write_at(self.fd, frame, self.end)

    def _give_up(self, error: OSError) -> None:
        self.settle()
        if error.errno not in NO_ROOM:
            raise error


def append_metadata(fd: int, metadata: bytes, entries: list[tuple[int, int]]) -> None:
    """Add a further metadata frame and a new seek table behind the old one, which stays: nothing is overwritten.

    `entries` are the frames that the file has so far. On an error the file is as it was. OSError.
    """
    size = os.fstat(fd).st_size
    old_table = len(zstd.seek_table(entries))
    table = [*entries, (old_table, 0), (8 + len(metadata), 0)]
    try:
        _write_at(fd, zstd.skippable(zstd.METADATA, metadata) + zstd.seek_table(table), size)
    except OSError:
        os.ftruncate(fd, size)
        raise


def _write_at(fd: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, at)
        view = view[count:]
        at += count
