"""One debug section of a file, inflated no further than it is read (elf(5), Elf64_Chdr)."""

from __future__ import annotations

import struct
import zlib

from pycoredump.analysis.elf import DECOMPRESSED_MAX, SHF_COMPRESSED
from pycoredump.errors import CoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from pycoredump.analysis.elf import Elf
    from pycoredump.analysis.source import Source

    class Part(Protocol):
        """Bytes of a section."""

        size: int

        def read(self, offset: int, size: int) -> bytes:
            """Exactly `size` bytes. CoreError if any of them is missing."""

        def some(self, offset: int, size: int) -> bytes:
            """At most `size` bytes, fewer at the end."""


PIECE = 64 << 10  # bytes inflated at once
WINDOW = 4 << 20  # bytes kept behind the place that is inflated; who goes back further begins anew
ELFCOMPRESS_ZLIB = 1


def part(file: Elf, name: str) -> Part:
    """The section .NAME or .zNAME; of size 0 if the file has none. CoreError if it is compressed in an unknown way."""
    section = file.section(f".{name}")
    if section is not None and not section.flags & SHF_COMPRESSED:
        return Plain(file.source, section.offset, section.size)
    if section is not None:
        kind, _, size = struct.unpack("<IIQ", file.source.read(section.offset, 16))
        if kind != ELFCOMPRESS_ZLIB:
            raise CoreError(f"Section {section.name} is compressed in a way (type {kind}) that is not read")
        return Inflated(file.source, section.offset + 24, section.size - 24, size)
    section = file.section(f".z{name}")
    if section is not None:
        head = file.source.read(section.offset, 12)
        if head[:4] != b"ZLIB":
            raise CoreError(f"Section {section.name} begins with {head[:4]!r}, not with ZLIB")
        size = int.from_bytes(head[4:], "big")
        return Inflated(file.source, section.offset + 12, section.size - 12, size)
    return Plain(file.source, 0, 0)


class Plain:
    """A section as it stands in the file."""

    def __init__(self, source: Source, start: int, size: int) -> None:
        self._source = source
        self._start = start
        self.size = size

    def read(self, offset: int, size: int) -> bytes:
        if offset < 0 or size < 0 or offset + size > self.size:
            raise CoreError(f"A table asks for {size} bytes at offset {offset:#x} of {self.size}")
        return self._source.read(self._start + offset, size)

    def some(self, offset: int, size: int) -> bytes:
        return self.read(offset, max(min(size, self.size - offset), 0))


class Inflated:
    """A compressed section. Going forward costs what is passed; going back further than the window, everything before."""

    def __init__(self, source: Source, start: int, packed: int, size: int) -> None:
        if packed < 0 or size > DECOMPRESSED_MAX:
            raise CoreError(f"A compressed section has {size} bytes, more than {DECOMPRESSED_MAX}")
        self._source = source
        self._first = start
        self._end_of_file = start + packed
        self.size = size
        self._begin()

    def _begin(self) -> None:
        self._next = self._first
        self._unpack = zlib.decompressobj()
        self._start = 0  # of what is kept, in the section
        self._kept = bytearray()

    def read(self, offset: int, size: int) -> bytes:
        if offset < 0 or size < 0 or offset + size > self.size:
            raise CoreError(f"A table asks for {size} bytes at offset {offset:#x} of {self.size}")
        if offset < self._start:
            self._begin()
        while self._start + len(self._kept) < offset + size:
            passed = min(offset - self._start, len(self._kept)) - WINDOW
            if passed >= WINDOW:
                del self._kept[:passed]
                self._start += passed
            self._more()
        at = offset - self._start
        return bytes(self._kept[at : at + size])

    def some(self, offset: int, size: int) -> bytes:
        return self.read(offset, max(min(size, self.size - offset), 0))

    def _more(self) -> None:
        packed = self._unpack.unconsumed_tail
        if not packed:
            count = min(PIECE, self._end_of_file - self._next)
            packed = self._source.read(self._next, count)
            self._next += count
        try:
            data = self._unpack.decompress(packed, PIECE)
        except zlib.error as e:
            raise CoreError(f"A compressed section is damaged: {e}") from e
        if not data and (not packed or self._unpack.eof):
            raise CoreError("A compressed section ends early")
        self._kept += data
