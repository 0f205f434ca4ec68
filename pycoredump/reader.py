"""Reads archives: metadata, and any range of the core without decompressing the rest (pycoredump-archive(5)).

Used after the release and by the tools. Archives travel: every number in them is checked before it is believed.
"""

from __future__ import annotations

import _bisect
import os
import struct

from pycoredump import frames, quickjson, unzstd, zstd
from pycoredump.archive import METADATA_TAG
from pycoredump.errors import ArchiveError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

FOOTER = 9  # bytes: number of frames, descriptor, magic
FRAMES_MAX = 1 << 20  # of 1 MiB each that is a TiB, without its zeros
METADATA_MAX = 64 << 20  # bytes of JSON
METADATA_FRAMES = 16  # the last ones count: the handler's, the analysis's, some of others
FRAME_MAX = 64 << 20  # bytes of one frame once decompressed; ours have 2 MiB, unless they are runs of zeros
CACHE = 4  # frames kept decompressed
CHUNK = 1 << 20


class Frame(tuple[int, int, int, int]):
    """One frame of the file: (at, size) in it, (start, length) in the core. A tuple: there may be a million."""

    __slots__ = ()

    @property
    def at(self) -> int:
        return self[0]

    @property
    def size(self) -> int:
        return self[1]

    @property
    def start(self) -> int:
        return self[2]

    @property
    def length(self) -> int:
        """0 for skippable frames."""
        return self[3]


class Archive:
    """An archive, or any core: plain, or a .zst file without our tail (then only stream() and metadata {})."""

    def __init__(self, fd: int, *, name: str = "archive", base: int = 0, cache: int = CACHE) -> None:
        """Takes a readable descriptor, which stays the caller's. ArchiveError if the file is neither.

        `base`: where in the file a plain core begins. `cache`: frames kept decompressed.
        """
        self.fd = fd
        self.name = name
        self.base = base
        self.cache = cache
        self.size = os.fstat(fd).st_size
        begin = os.pread(fd, 4, base)
        self.plain = begin == b"\x7fELF"
        if not self.plain and begin != zstd.MAGIC and not frames.is_skippable(begin):
            raise ArchiveError(f"{name} is neither an archive nor a core", hint="Archives end in .zst.")
        self.frames = self._frames()
        self._data = [frame for frame in self.frames if frame.length]
        self._starts = [frame.start for frame in self._data]
        self._cache: dict[int, bytes] = {}  # the one used last stands last
        self._metadata: dict[str, str] | None = None

    @property
    def seekable(self) -> bool:
        return self.plain or bool(self.frames)

    @property
    def core_size(self) -> int:
        """Bytes of the core in it; 0 if only decompressing it tells."""
        if self.plain:
            return (self.frames[0].at if self.frames else self.size) - self.base
        return self._data[-1].start + self._data[-1].length if self._data else 0

    @property
    def fields(self) -> dict[str, str]:
        """The journal's fields from the metadata frames, later ones over earlier ones; {} if there are none."""
        if self._metadata is None:
            self._metadata = {}
            skippable = [frame for frame in self.frames if not frame.length and self._is_metadata(frame)]
            for frame in skippable[-METADATA_FRAMES:]:
                self._metadata |= _metadata(_pread(self.fd, min(frame.size, METADATA_MAX), frame.at))
        return self._metadata

    def _is_metadata(self, frame: Frame) -> bool:
        begin = os.pread(self.fd, 16, frame.at)
        return begin[:4] == struct.pack("<I", zstd.METADATA) and begin[8:] == METADATA_TAG

    def read(self, start: int, size: int) -> bytes:
        """Bytes of the core from offset `start`; fewer at its end. ArchiveError if it is damaged or not seekable."""
        if not self.seekable:
            raise ArchiveError(f"{self.name} has no seek table", hint="Decompress it first: zstd -d.")
        size = max(0, min(size, self.core_size - start))
        if self.plain:
            return _pread(self.fd, size, self.base + start)

        parts = []
        at = _bisect.bisect_right(self._starts, start) - 1
        while size > 0 and at < len(self._data):
            frame = self._data[at]
            inside = start - frame.start
            part = self._part(frame, inside, min(size, frame.length - inside))
            parts.append(part)
            start, size, at = start + len(part), size - len(part), at + 1
        return b"".join(parts)

    def stream(self) -> Iterator[bytes | int]:
        """The core from its start: bytes, or a number for so many zeros. ArchiveError if it is damaged."""
        if self.plain:
            for at in range(0, self.core_size, CHUNK):
                yield _pread(self.fd, min(CHUNK, self.core_size - at), self.base + at)
        elif not self._data:
            yield from self._decompressed()
        for frame in self._data:
            if self._is_zeros(frame):
                yield frame.length
            else:
                yield self._decompress(frame)

    def _decompressed(self) -> Iterator[bytes]:
        zstandard = _library()
        os.lseek(self.fd, 0, os.SEEK_SET)
        source = os.fdopen(os.dup(self.fd), "rb")
        with (
            source,
            zstandard.ZstdDecompressor(max_window_size=unzstd.WINDOW_MAX).stream_reader(
                source, read_across_frames=True
            ) as stream,
        ):
            while True:
                try:
                    part = stream.read(CHUNK)
                except zstandard.ZstdError as e:
                    raise ArchiveError(f"{self.name} is damaged: {e}") from None
                if not part:
                    break
                yield part
        if not frames.is_whole(self.fd, self.size):
            raise ArchiveError(f"{self.name} is cut off: its last frame has no end")

    def _part(self, frame: Frame, start: int, size: int) -> bytes:
        if self._is_zeros(frame):
            return bytes(size)
        return self._decompress(frame)[start : start + size]

    def _is_zeros(self, frame: Frame) -> bool:
        # A frame of zeros has a fixed form: what is not it by length cannot be one.
        blocks = max(1, -(-frame.length // zstd.BLOCK))
        if frame.size != len(zstd.HEADER) + 8 + 4 * blocks:
            return False
        return _pread(self.fd, frame.size, frame.at) == zstd.zeros(frame.length)

    def _decompress(self, frame: Frame) -> bytes:
        if frame.at in self._cache:
            self._cache[frame.at] = self._cache.pop(frame.at)
            return self._cache[frame.at]
        if frame.length > FRAME_MAX or frame.size > 2 * frame.length + zstd.BLOCK:
            raise ArchiveError(
                f"{self.name} is damaged: its frame at {frame.at} claims {frame.length} bytes in {frame.size}"
            )
        data = _pread(self.fd, frame.size, frame.at)
        if unzstd.content_size(data) not in (-1, frame.length):
            raise ArchiveError(
                f"{self.name} is damaged: its frame at {frame.at} is not of {frame.length} bytes"
            )
        try:
            plain = unzstd.data(data, frame.length)
        except ValueError as e:
            raise ArchiveError(f"{self.name} is damaged: its frame at {frame.at}: {e}") from None
        if len(plain) != frame.length:
            raise ArchiveError(f"{self.name} is damaged: its frame at {frame.at} has {len(plain)} bytes")
        self._cache[frame.at] = plain
        if len(self._cache) > self.cache:
            del self._cache[next(iter(self._cache))]
        return plain

    def _frames(self) -> list[Frame]:
        footer = os.pread(self.fd, FOOTER, max(0, self.size - FOOTER))
        if len(footer) < FOOTER or struct.unpack("<I", footer[5:])[0] != zstd.SEEKABLE_MAGIC:
            return []
        count, descriptor = struct.unpack("<IB", footer[:5])
        entry = 12 if descriptor & 0x80 else 8
        table_size = 8 + count * entry + FOOTER
        if count > FRAMES_MAX or table_size > self.size:
            raise ArchiveError(f"{self.name} is damaged: its seek table claims {count} frames")
        table = _pread(self.fd, table_size, self.size - table_size)
        if struct.unpack_from("<II", table) != (zstd.SEEK_TABLE, table_size - 8):
            raise ArchiveError(f"{self.name} is damaged: its seek table has no head")
        return self._placed(
            [struct.unpack_from("<II", table, 8 + i * entry) for i in range(count)], table_size
        )

    def _placed(self, rows: list[tuple[int, ...]], table_size: int) -> list[Frame]:
        # The frames end where the table begins; in a plain core they begin behind it.
        at = self.size - table_size - sum(size for size, _ in rows)
        if at < 0 or (at > 0 and not self.plain):
            raise ArchiveError(f"{self.name} is damaged: its seek table does not fit the file")
        placed, start = [], 0
        for size, length in rows:
            placed.append(Frame((at, size, start, length)))
            at, start = at + size, start + length
        return placed


def _library() -> Any:  # the C module has no types
    try:
        return zstd.library()
    except Exception as e:  # whatever a broken installation raises
        raise unzstd.missing(e) from None


def _metadata(frame: bytes) -> dict[str, str]:
    """The fields of one skippable frame; {} if it is not ours or cannot be read: it must not cost the core."""
    if len(frame) < 8 or struct.unpack_from("<I", frame)[0] != zstd.METADATA or frame[8:16] != METADATA_TAG:
        return {}
    # The library allocates what a frame claims to hold: look first.
    size = unzstd.content_size(frame[16:])
    if not 0 < size <= METADATA_MAX:
        return {}
    try:
        found = quickjson.loads(unzstd.data(frame[16:], size))
    except (ArchiveError, ValueError, RecursionError):
        return {}
    fields = found.get("fields") if isinstance(found, dict) else None
    if not isinstance(fields, dict):
        return {}
    return {
        name: value for name, value in fields.items() if isinstance(name, str) and isinstance(value, str)
    }


def _pread(fd: int, size: int, at: int) -> bytes:
    parts = []
    while size > 0:
        part = os.pread(fd, min(size, 1 << 30), at)
        if not part:
            break
        parts.append(part)
        size, at = size - len(part), at + len(part)
    return b"".join(parts)
