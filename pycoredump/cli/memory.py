"""Parts of a core by address: a range of memory, or one thread's stack, without decompressing the rest."""

from __future__ import annotations

from collections.abc import Iterator

from pycoredump.cli import layout
from pycoredump.errors import ArgumentError, CoreError
from pycoredump.reader import Archive

RED_ZONE = 128  # bytes below the stack pointer that belong to the function (x86-64 psABI)
CHUNK = 1 << 20


def addresses(text: str) -> tuple[int, int]:
    """0xSTART-0xEND, or 0xSTART+SIZE. ArgumentError."""
    separator = "+" if "+" in text else "-"
    first, _, second = text.partition(separator)
    try:
        start, other = int(first, 0), int(second, 0)
    except ValueError:
        raise ArgumentError(
            f"--range={text!r} is no range", hint="As 0x7ffc1000-0x7ffc3000 or 0x7ffc1000+4096."
        ) from None
    end = start + other if separator == "+" else other
    if not 0 <= start < end <= 1 << 64:
        raise ArgumentError(f"--range={text!r} is empty", hint="The end comes after the start.")
    return start, end


def stack(archive: Archive, text: str) -> tuple[int, int]:
    """The addresses of a thread's stack, from below its stack pointer to the end of the mapping. ArgumentError."""
    found = layout.scan(archive)
    thread = next((one for one in found.threads if str(one.tid) == text), None)
    if thread is None:
        some = ", ".join(str(one.tid) for one in found.threads[:10])
        raise ArgumentError(f"No thread {text!r} is in the core", hint=f"There are {some}.")
    segment = next((s for s in found.segments if s.vaddr <= thread.sp < s.vaddr + s.memsz), None)
    if segment is None or segment.vaddr + segment.filesz <= thread.sp:
        raise CoreError(f"The stack of thread {text} at {thread.sp:#x} is not in the core")
    return max(segment.vaddr, thread.sp - RED_ZONE), segment.vaddr + segment.filesz


def read(archive: Archive, start: int, end: int) -> Iterator[bytes]:
    """The bytes from address `start` to `end`. CoreError, before the first byte, if some are not in the core."""
    if not archive.seekable:
        raise CoreError(f"{archive.name} has no seek table", hint="Dump it whole.")
    pieces = list(_pieces(archive, start, end))
    return (
        archive.read(at + done, min(CHUNK, size - done))
        for at, size in pieces
        for done in range(0, size, CHUNK)
    )


def _pieces(archive: Archive, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(offset in the core, bytes) of the range."""
    at = start
    for segment in sorted(layout.scan(archive).segments, key=lambda one: one.vaddr):
        if segment.vaddr <= at < segment.vaddr + segment.filesz and at < end:
            size = min(end, segment.vaddr + segment.filesz) - at
            yield segment.offset + at - segment.vaddr, size
            at += size
    if at < end:
        raise CoreError(
            f"The memory at {at:#x} is not in the core", hint="It was not mapped, or was left out."
        )
