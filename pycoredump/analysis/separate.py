"""Separate debug files of open modules, by build id: DIRECTORY/.build-id/ab/cdef….debug, as gdb looks for them.

Runs outside of the sandbox, also with privileges: of a module's file, which may be hostile, only the build id is
read, by its first page alone; the path that is opened has nothing else of it. What was opened, the sandbox reads.
"""

from __future__ import annotations

import os
import stat
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

DIRECTORIES = ("/usr/lib/debug",)
FILES_MAX = 256  # descriptors
HEAD = 8192  # bytes: linkers put the build id right behind the program headers
PT_NOTE = 4
NT_GNU_BUILD_ID = 3


def open_files(modules: Iterable[int], directories: Iterable[str] = DIRECTORIES) -> dict[str, int]:
    """Build id -> open debug file, for those modules, by their descriptors, that have one. The caller closes them."""
    places = [place for place in directories if os.path.isdir(f"{place}/.build-id")]
    found: dict[str, int] = {}
    for module in modules if places else ():
        name = build_id(module)
        if name and name not in found and len(found) < FILES_MAX:
            fd = open_file(name, places)
            if fd >= 0:
                found[name] = fd
    return found


def open_file(name: str, directories: Iterable[str]) -> int:
    """The debug file of a build id in lower-case hex, -1 if no directory has it; the first one counts."""
    for directory in directories:
        fd = regular(os.fsencode(f"{directory}/.build-id/{name[:2]}/{name[2:]}.debug"))
        if fd >= 0:
            return fd
    return -1


# A device or a pipe of that name could do something by being opened, or block for ever.
def regular(path: bytes) -> int:
    """A descriptor of a regular file, -1 for anything else."""
    try:
        if not path or not stat.S_ISREG(os.stat(path).st_mode):
            return -1
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return -1
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return -1


def build_id(fd: int) -> str:
    """Of a 64-bit little-endian ELF file, in lower-case hex; "" if it is none, or has none near its beginning."""
    try:
        head = os.pread(fd, HEAD, 0)
        if head[:6] != b"\x7fELF\x02\x01":
            return ""
        at, size, count = struct.unpack_from("<32xQ14xHH", head)
        for number in range(count if size == 56 else 0):
            kind, offset, length = struct.unpack_from("<I4xQ16xQ", head, at + number * size)
            if kind == PT_NOTE and (found := _build_id(head[offset : offset + length])):
                return found
    except (OSError, struct.error):
        pass
    return ""


def _build_id(notes: bytes) -> str:
    at = 0
    while at + 12 <= len(notes):
        owner, size, kind = struct.unpack_from("<III", notes, at)
        start = at + 12 + (owner + 3 & ~3)
        value = notes[start : start + size]
        if kind == NT_GNU_BUILD_ID and notes[at + 12 : at + 16] == b"GNU\0" and 2 <= len(value) <= 64:
            return value.hex() if len(value) == size else ""
        at = start + (size + 3 & ~3)
    return ""
