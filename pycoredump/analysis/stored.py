"""The core that is analysed: a plain one, or one in an archive, of which only the frames that are needed are decompressed.

An archive of any size is analysed without a copy, and with all that it has: interpreters, runtimes and libraries keep what
they have to say anywhere in their memory.
"""

from __future__ import annotations

import os
import struct

from pycoredump import corefile
from pycoredump.analysis.source import FileSource
from pycoredump.errors import CoreError, PycoredumpError
from pycoredump.reader import Archive

EHDR, PHDR = 64, 56  # bytes of a 64-bit header, and of a program header
GAP = 64 << 10  # bytes between headers and notes that are simply read
NOTES = 64 << 10  # bytes of notes that are kept; those of the process itself come first
FRAMES_CACHED = 16  # of 2 MiB: the stacks of a process lie in many, and are read alternately


def source(fd: int, base: int = 0) -> FileSource:
    """Random access to the core behind a descriptor; `base` is where in the file a plain one begins. PycoredumpError."""
    if base == 0 and os.pread(fd, 4, 0) == b"\x7fELF":
        return FileSource(fd)

    archive = Archive(fd, base=base, cache=FRAMES_CACHED)
    if not archive.seekable:
        raise CoreError("The archive has no seek table")
    return ArchiveSource(archive)


class ArchiveSource(FileSource):
    """An archive as if it were the core."""

    def __init__(self, archive: Archive) -> None:
        super().__init__(archive.fd)
        self._archive = archive

    def some(self, offset: int, size: int) -> bytes:
        try:
            return self._archive.read(offset, size)
        except PycoredumpError as e:
            raise CoreError(str(e)) from e


def layout(core: FileSource) -> corefile.Layout:
    """What stands before the memory. CoreError."""
    begin, at = _with_notes_in_front(core)

    def read(size: int) -> bytes:
        nonlocal begin, at
        if begin:
            part, begin = begin[:size], begin[size:]
            return part
        part = core.some(at, size)
        at += len(part)
        return part

    found = corefile.scan(corefile.reader(read))
    if len(found.head) - found.notes_at <= NOTES:
        return found
    # What the registers of thousands of threads are is known now; what stands in front is asked for once more.
    return found.replace(head=found.head[: found.notes_at + NOTES])


# The kernel writes the notes before the memory, a debugger behind it (gcore): there may be gigabytes in between.
def _with_notes_in_front(core: FileSource) -> tuple[bytes, int]:
    """The headers as if the notes followed them, and where the notes are; b"" and 0 if they do, or it is no such core."""
    head = bytearray(core.some(0, EHDR + PHDR))
    if len(head) < EHDR + PHDR or head[:6] != b"\x7fELF\x02\x01":
        return b"", 0

    count = int.from_bytes(head[56:58], "little")
    kind, notes = struct.unpack_from("<I4xQ", head, EHDR)
    end = EHDR + count * PHDR
    if kind != corefile.PT_NOTE or not 0 < count < corefile.PN_XNUM or notes <= end + GAP:
        return b"", 0

    table = bytearray(core.some(0, end))
    if len(table) < end:
        return b"", 0
    struct.pack_into("<Q", table, EHDR + 8, end)
    return bytes(table), notes
