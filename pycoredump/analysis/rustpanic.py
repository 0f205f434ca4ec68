"""Where a Rust program panicked, and with which words, as far as the stack still has them.

Every panic is passed a core::panic::Location {file: &str, line: u32, column: u32}, a constant of the program. The
pointer to it stands somewhere in the frames between the panicking function and abort().
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence

from pycoredump import corefile
from pycoredump.analysis.image import Image
from pycoredump.analysis.model import Frame
from pycoredump.errors import CoreError

STACK_MAX = 16 << 10  # bytes from the stack pointer up
BELOW = 16 << 10  # bytes below it, where functions that have returned left the printed message
PATH_MAX = 512
MESSAGE_MAX = 1000  # bytes
LOCATION = struct.Struct("<QQII")
MESSAGE = re.compile(rb"panicked at (?:'[^\0\n]{1,300}', )?[^\0\n]{1,200}:\d+:\d+:?\n?[^\0\n]{0,300}")


def messages(process: Image, frames: Sequence[Frame]) -> Iterator[str]:
    """One sentence, or nothing if the stack does not tell it."""
    threads = process.layout.threads
    if not threads or not frames:
        return
    sp = threads[0].sp
    said = _said(process, sp)
    if said:
        yield f"Rust panic: {said}"
        return
    text = _text(process, sp, frames)
    for place in _locations(process, sp):
        yield f"Rust panic at {place}: {text}" if text else f"Rust panic at {place}."
        return


def _said(process: Image, sp: int) -> str:
    found = MESSAGE.search(
        process.memory.available(sp - BELOW, BELOW) + process.memory.available(sp, STACK_MAX)
    )
    if found is None:
        return ""
    text = found.group().decode("utf-8", "replace")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _text(process: Image, sp: int, frames: Sequence[Frame]) -> str:
    """What the panic handler printed: the String {capacity, pointer, length, in any order} in its frame.

    It stands between the stack pointer and the return address into the function that called the handler.
    """
    end = next((f.pc for f in frames if f.symbol.startswith("core::panicking::") and not f.inline), 0)
    data = process.memory.available(sp, STACK_MAX)
    words = [word for (word,) in struct.iter_unpack("<Q", data[: len(data) // 8 * 8])]
    if end not in words:
        return ""
    for at in range(words.index(end) - 2):
        found = _string(process, words[at : at + 3])
        if found:
            return found
    return ""


def _string(process: Image, words: list[int]) -> str:
    sizes = sorted(word for word in words if word <= MESSAGE_MAX)
    pointers = [word for word in words if word > MESSAGE_MAX]
    if len(sizes) != 2 or len(pointers) != 1 or sizes[0] < 3:
        return ""
    segment = process.segment(pointers[0])
    if segment is None or not segment.flags & corefile.PF_W:
        return ""
    data = process.memory.available(pointers[0], sizes[0])
    text = data.decode("utf-8", "replace") if len(data) == sizes[0] else ""
    return text if text.isprintable() and "\ufffd" not in text else ""


def _locations(process: Image, sp: int) -> Iterator[str]:
    data = process.memory.available(sp, STACK_MAX)
    found: list[str] = []
    for (word,) in struct.iter_unpack("<Q", data[: len(data) // 8 * 8]):
        module = process.module(word)
        if module is None or word % 8:
            continue
        place = _location(process, word)
        if place and place not in found:
            found.append(place)
    # The program's own files before those of the standard library, which panic on its behalf.
    yield from sorted(found, key=lambda place: "/rustc/" in place or "/library/" in place)


def _location(process: Image, address: int) -> str:
    try:
        pointer, size, line, column = LOCATION.unpack(process.memory.read(address, LOCATION.size))
        if not 3 < size <= PATH_MAX or not 0 < line < 1 << 20 or not 0 < column < 1 << 12:
            return ""
        segment = process.segment(pointer)
        if segment is not None and segment.flags & corefile.PF_W:
            return ""
        path = process.memory.read(pointer, size).decode("utf-8")
    except (CoreError, UnicodeDecodeError):
        return ""
    return f"{path}:{line}:{column}" if path.endswith(".rs") and path.isprintable() else ""
