"""C++ exceptions that nobody caught, read from the memory of the thread that died.

Found by the mark that every language puts into its exceptions ("Itanium C++ ABI: Exception Handling", 2.2.1), so no
symbols are needed: the thread's own list of caught exceptions (__cxa_eh_globals) is a thread-local variable near
the thread pointer, and terminate() is called with the exception in it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pycoredump.analysis import demangle
from pycoredump.analysis.image import Image
from pycoredump.errors import CoreError

# exception_class of _Unwind_Exception; a dependent exception (std::rethrow_exception) ends in 1
MARKS = {b"\0++CCUNG": False, b"\1++CCUNG": True, b"\0++CGNLC": False, b"\1++CGNLC": True}
# libstdc++'s __cxa_exception begins 80 bytes before it; libc++abi's has two more words in front.
HEADERS = (80, 96)
OBJECT = 32  # bytes of _Unwind_Exception, behind which the thrown object stands

STATIC_TLS = 16 << 10  # bytes below the thread pointer (x86-64) or above it (arm64) that are searched
DTV_MAX = 64
BASES_MAX = 16
NAME_MAX = 512
WHAT_MAX = 500
STRINGS = ("St11logic_error", "St13runtime_error")  # their what() is a pointer right behind the vtable's


def messages(process: Image) -> Iterator[str]:
    """One sentence, or nothing if there is no exception, or its memory is not in the core."""
    for pointer in _candidates(process):
        found = _exception(process, pointer)
        if found:
            yield found
            return


def _candidates(process: Image) -> Iterator[int]:
    """Words of the thread-local storage that may be the head of the list."""
    threads = process.layout.threads
    tls = threads[0].tls if threads else 0
    if not tls:
        return
    # Static TLS is below the pointer on x86-64 and above it on arm64.
    data = process.memory.available(tls - STATIC_TLS, STATIC_TLS)
    data += process.memory.available(tls, STATIC_TLS // 4)
    if not data:
        data = process.memory.available((tls - 1) & ~4095, 4096)
    blocks = [data, *_blocks(process, tls)]
    for block in blocks:
        for (word,) in struct.iter_unpack("<Q", block[: len(block) // 8 * 8]):
            if word & 15 == 0 and word >> 12 and word < 1 << 56:
                yield word


def _blocks(process: Image, tls: int) -> Iterator[bytes]:
    """Thread-local storage of modules that were loaded later (glibc's dtv: pairs of pointer and what to free)."""
    try:
        dtv = process.memory.word(tls + 8)
        count = min(process.memory.word(dtv - 16), DTV_MAX)
    except CoreError:
        return
    for number in range(1, count + 1):
        try:
            pointer = process.memory.word(dtv + 16 * number)
        except CoreError:
            return
        yield process.memory.available(pointer, 256)


def _exception(process: Image, pointer: int) -> str:
    memory = process.memory
    for header in HEADERS:
        try:
            mark = memory.read(pointer + header, 8)
        except CoreError:
            continue
        if mark not in MARKS:
            continue
        unwind = pointer + header
        try:
            if MARKS[mark]:  # its first word is the exception that was thrown first
                thrown = memory.word(unwind - 80)
                return _described(process, memory.word(thrown - OBJECT - 80), thrown)
            return _described(process, memory.word(unwind - 80), unwind + OBJECT)
        except CoreError:
            return "A C++ exception was not caught; its type is not in the core."
    return ""


def _described(process: Image, type_info: int, thrown: int) -> str:
    names = list(_types(process, type_info))
    if not names:
        return ""
    what = _what(process, thrown) if any(name in STRINGS for name in names) else ""
    readable = demangle.demangle(f"_ZTI{names[0]}").removeprefix("typeinfo for ")
    return (
        f"Uncaught C++ exception {readable}: {what}"
        if what
        else f"Uncaught C++ exception of type {readable}."
    )


def _types(process: Image, type_info: int) -> Iterator[str]:
    """Mangled names of the type and of its single bases: {vtable, name} and, of a derived class, {base}."""
    for _ in range(BASES_MAX):
        try:
            name = process.memory.available(process.memory.word(type_info + 8), NAME_MAX)
        except CoreError:
            return
        text = name.split(b"\0", 1)[0].lstrip(b"*")
        if not text or not text.isascii() or not text.decode().isprintable():
            return
        yield text.decode()
        try:
            type_info = process.memory.word(type_info + 16)
        except CoreError:
            return


def _what(process: Image, thrown: int) -> str:
    try:
        pointer = process.memory.word(thrown + 8)
    except CoreError:
        return ""
    data = process.memory.available(pointer, WHAT_MAX).split(b"\0", 1)[0]
    text = data.decode("utf-8", "replace").strip()
    return "".join(c if c.isprintable() else " " for c in text)
