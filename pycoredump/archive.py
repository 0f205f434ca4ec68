"""The stored file: independent zstd frames, then skippable frames with the metadata and the seek table.

pycoredump-archive(5) describes the format. Runs before the release: tests/test_hot_path.py lists what this
module may import.
"""

from __future__ import annotations

import errno
import os

from pycoredump import zstd
from pycoredump.errors import PycoredumpError

METADATA_TAG = b"PYCORE1\n"  # begins the contents of our skippable frame; a zstd frame with JSON follows
TAIL_RESERVE = (
    256 << 10
)  # bytes kept free for metadata and seek table when a limit or a full disk stops the core


class Full(PycoredumpError):
    """The limit of the file, or the file system, has no room for more."""


class Writer:
    """Appends frames to a file. What it wrote can always be finished to a file that decompresses."""

    compressed = True

    def __init__(self, fd: int, *, limit: int, reserve: int = 0) -> None:
        """`limit`: bytes that the file may have, of which `reserve` are for metadata and seek table."""
        self.fd = fd
        self.limit = max(limit - reserve, limit // 2)
        self.frames: list[tuple[int, int]] = []  # (bytes in the file, bytes of the core)
        self.written = 0  # bytes in the file
        self.core_size = 0  # bytes of the core that are in it
        self.head_size = 0

    def head(self, data: bytes) -> None:
        """ELF header and program headers, stored so that rehead() can replace them in place."""
        self.head_size = len(data)
        frame = zstd.fixed(data)
        _write_at(self.fd, frame, self.end)
        self._count(len(frame), len(data))

    def rehead(self, data: bytes) -> None:
        if len(data) != self.head_size:
            raise ValueError("the head cannot change its size")
        _write_at(self.fd, zstd.fixed(data), 0)

    def append(self, frame: bytes, size: int) -> None:
        """A whole frame that holds `size` bytes. Full (nothing is written then) or OSError."""
        if self.written + len(frame) > self.limit:
            raise Full(f"The limit of {self.limit} bytes is reached")
        try:
            _write_at(self.fd, frame, self.end)
        except OSError as e:
            os.ftruncate(self.fd, self.end)
            if e.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise Full(f"No room for more: {e.strerror}") from None
        self._count(len(frame), size)

    def zeros(self, size: int) -> None:
        self.append(zstd.zeros(size), size)

    def add_note(self, note: bytes) -> bool:
        """A last note behind all memory, also over the limit; False if the disk has no room for it."""
        limit, self.limit = self.limit, self.limit + (1 << 40)
        try:
            self.append(zstd.raw(note) if self.compressed else note, len(note))
        except (Full, OSError):
            return False
        finally:
            self.limit = limit
        return True

    def finish(self, metadata: bytes) -> int:
        """Write metadata and seek table; on a full disk at the cost of the last frames. Bytes of the core kept.

        OSError if not even the head and the tail fit.
        """
        while True:
            table = [*self.frames, (8 + len(metadata), 0)]
            tail = zstd.skippable(zstd.METADATA, metadata) + zstd.seek_table(table)
            try:
                _write_at(self.fd, tail, self.written)
                return self.core_size
            except OSError as e:
                os.ftruncate(self.fd, self.written)
                if e.errno not in (errno.ENOSPC, errno.EDQUOT) or len(self.frames) <= 2:
                    raise
                compressed, size = self.frames.pop()
                self.written -= compressed
                self.core_size -= size
                os.ftruncate(self.fd, self.written)

    @property
    def end(self) -> int:
        """Where in the file the next frame goes."""
        return self.written

    def _count(self, written: int, size: int) -> None:
        self.written += written
        self.core_size += size
        self.frames.append((written, size))


class PlainWriter(Writer):
    """The core as it is (Compress=no): zeros are holes, a debugger opens it in place; the tail stands behind it."""

    compressed = False

    def __init__(self, fd: int, *, limit: int, reserve: int = 0, base: int = 0) -> None:
        """`base`: where in the file the core begins."""
        super().__init__(fd, limit=limit, reserve=reserve)
        self.base = base

    def head(self, data: bytes) -> None:
        self.head_size = len(data)
        self.append(data, len(data))

    def rehead(self, data: bytes) -> None:
        _write_at(self.fd, data, self.base)

    def zeros(self, size: int) -> None:
        self._count(0, size)

    @property
    def end(self) -> int:
        return self.base + self.core_size

    def finish(self, metadata: bytes) -> int:
        tail = zstd.skippable(zstd.METADATA, metadata) + zstd.seek_table([(8 + len(metadata), 0)])
        os.ftruncate(self.fd, self.end)
        _write_at(self.fd, tail, self.end)
        return self.core_size


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
