"""Bytes at offsets: a core, a module's file, or an ELF image that lies in the dead process's memory.

Files are read with pread into a small cache, never mapped: a file that its owner cuts short while it
is read ends as CoreError here, and as SIGBUS in a mapping.
"""

from __future__ import annotations

import os

from pycoredump.errors import CoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object  # the module typing costs 3 ms

BLOCK = 16 << 10  # bytes read at once; a stack, or one table's neighbourhood, is a few of these
BLOCKS_MAX = 256  # cached per source: 4 MiB
DIRECT = 64 << 10  # bytes; larger reads (symbol tables) pass by the cache
READ_MAX = 256 << 20  # bytes; no table that is worth reading is larger


class Source(Protocol):
    """Random access to bytes."""

    def read(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes. CoreError if any of them is missing."""
        ...


class FileSource:
    """An open file. The descriptor stays its owner's."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._blocks: dict[int, bytes] = {}

    def read(self, offset: int, size: int) -> bytes:
        index, at = divmod(offset, BLOCK)
        block = self._blocks.get(index)
        if block is not None and 0 <= size <= len(block) - at:
            return block[at : at + size]

        return self._slow(offset, size)

    def _slow(self, offset: int, size: int) -> bytes:
        if offset < 0 or not 0 <= size <= READ_MAX or offset >> 62:
            raise CoreError(f"A table asks for {size} bytes at offset {offset:#x}")
        if size > DIRECT:
            return self._whole(offset, size)

        first = offset // BLOCK
        parts = [self._block(index) for index in range(first, (offset + size - 1) // BLOCK + 1)]
        data = b"".join(parts)[offset - first * BLOCK :][:size]
        if len(data) < size:
            raise CoreError(f"The file ends before offset {offset + size:#x}")
        return data

    def some(self, offset: int, size: int) -> bytes:
        """At most `size` bytes; fewer at the end. CoreError if they cannot be read."""
        return _pread(self._fd, size, offset)

    def _block(self, index: int) -> bytes:
        block = self._blocks.get(index)
        if block is None:
            if len(self._blocks) >= BLOCKS_MAX:
                self._blocks.clear()
            block = self._blocks[index] = self.some(index * BLOCK, BLOCK)
        return block

    def _whole(self, offset: int, size: int) -> bytes:
        data = self.some(offset, size)
        if len(data) < size:
            raise CoreError(f"The file ends before offset {offset + size:#x}")
        return data


def _pread(fd: int, size: int, offset: int) -> bytes:
    parts = []
    try:
        if size > DIRECT and os.fstat(fd).st_size < offset + size:
            raise CoreError(f"The file ends before offset {offset + size:#x}")
        while size > 0:
            part = os.pread(fd, min(size, 1 << 24), offset)
            if not part:
                break
            parts.append(part)
            size -= len(part)
            offset += len(part)
    except OSError as e:
        raise CoreError(f"The file cannot be read: {e.strerror}") from e

    return parts[0] if len(parts) == 1 else b"".join(parts)


class BytesSource:
    """Bytes at hand: a decompressed section, a core built by a test."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, offset: int, size: int) -> bytes:
        if offset < 0 or size < 0 or offset + size > len(self._data):
            raise CoreError(f"A table asks for {size} bytes at offset {offset:#x} of {len(self._data)}")
        return self._data[offset : offset + size]


class Reader(Protocol):
    """What ImageSource needs of the memory."""

    def read(self, address: int, size: int) -> bytes: ...


class ImageSource:
    """An ELF file by way of its mapping: file offsets become addresses."""

    def __init__(self, memory: Reader, mappings: list[tuple[int, int, int]]) -> None:
        """`mappings` are (offset in the file, size, address)."""
        self._memory = memory
        self._mappings = mappings

    def read(self, offset: int, size: int) -> bytes:
        if size < 0:
            raise CoreError(f"A table asks for {size} bytes")

        for start, length, address in self._mappings:
            if start <= offset and offset + size <= start + length:
                return self._memory.read(address + offset - start, size)

        raise CoreError(f"Offset {offset:#x} of the file is not mapped")
