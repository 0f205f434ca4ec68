"""The last words of a program that ended itself, read from its memory: assertions, glibc's checks, exceptions, panics.

They went to a standard error that perhaps nobody kept.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from pycoredump.analysis import cppexception, datasymbols, rustpanic
from pycoredump.analysis.image import Image
from pycoredump.analysis.model import Module, ThreadTrace
from pycoredump.errors import CoreError

MESSAGE_MAX = 1000  # characters


def messages(process: Image, threads: Sequence[ThreadTrace]) -> tuple[str, ...]:
    """What the program said about its own end, one sentence each; () if it did not say anything."""
    frames = threads[0].frames if threads else ()
    names = {frame.symbol for frame in frames}
    found = [*_of_libraries(process)]
    if any("terminate" in name or "__cxa_" in name or "_Unwind_" in name for name in names):
        found += cppexception.messages(process)
    if any("panic" in name or name.startswith(("core::", "std::", "<core", "<std")) for name in names):
        found += rustpanic.messages(process, frames)
    return tuple(dict.fromkeys(found))


def _of_libraries(process: Image) -> Iterator[str]:
    for module in process.modules:
        name = module.path.rpartition("/")[2]
        if name.startswith("libc.so") or name.startswith("libc-2") or module.main:
            yield from _glibc(process, module)
        if name.startswith("libglib-2.0.so"):
            yield from _glib(process, module)


def _glibc(process: Image, module: Module) -> Iterator[str]:
    """__abort_msg points to struct abort_msg_s { unsigned int size; char msg[]; } (glibc's stdlib.h, assert.c)."""
    variable = datasymbols.find(process, module, "__abort_msg")
    if variable is None:
        return
    try:
        pointer = process.memory.word(variable.address)
        if not pointer:
            return
        (size,) = struct.unpack("<I", process.memory.read(pointer, 4))
        text = _text(process.memory.available(pointer + 4, min(size, MESSAGE_MAX)))
    except CoreError:
        return
    if text:
        yield f"Its last words: {text}"


def _glib(process: Image, module: Module) -> Iterator[str]:
    """__glib_assert_msg is a char pointer (GLib's gtestutils.c)."""
    variable = datasymbols.find(process, module, "__glib_assert_msg")
    if variable is None:
        return
    try:
        pointer = process.memory.word(variable.address)
    except CoreError:
        return
    text = _text(process.memory.available(pointer, MESSAGE_MAX)) if pointer else ""
    if text:
        yield f"Its last words: {text}"


def _text(data: bytes) -> str:
    text = data.split(b"\0", 1)[0].decode("utf-8", "replace").strip()
    return "".join(c if c.isprintable() else " " for c in text)
