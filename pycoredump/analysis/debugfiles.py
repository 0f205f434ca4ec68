"""Opens module files and separate debug files by name, for tools that people run with their own rights.

Never for the handler: the names in a core are the crashed process's choice.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator

from pycoredump.analysis import separate
from pycoredump.analysis.image import Image
from pycoredump.analysis.model import Module
from pycoredump.corefile import Layout

DELETED = b" (deleted)"
FILES_MAX = 4096  # descriptors; as many modules as image.Image looks at
_BUILD_ID = re.compile(r"(?:[0-9a-f]{2}){2,64}", re.ASCII)


def open_modules(layout: Layout, sysroot: str = "/") -> dict[bytes, int]:
    """Path as in NT_FILE -> open descriptor, for every mapped file that is still there below `sysroot`.

    Nothing is executed, and only regular files are opened; whether one is the right build, Image decides.
    """
    found: dict[bytes, int] = {}
    for mapped in layout.files:
        if mapped.path in found or len(found) >= FILES_MAX or mapped.path.endswith(DELETED):
            continue
        fd = separate.regular(_below(os.fsencode(sysroot), mapped.path))
        if fd >= 0:
            found[mapped.path] = fd
    return found


def open_debug(
    modules: Iterable[Module], directories: Iterable[str] = separate.DIRECTORIES
) -> dict[str, int]:
    """Build id -> open separate debug file, DIRECTORY/.build-id/ab/cdef….debug; the first directory that has it."""
    found: dict[str, int] = {}
    directories = tuple(directories)
    for module in modules:
        build_id = module.build_id
        if not _BUILD_ID.fullmatch(build_id) or build_id in found or len(found) >= FILES_MAX:
            continue
        fd = separate.open_file(build_id, directories)
        if fd >= 0:
            found[build_id] = fd
    return found


@contextlib.contextmanager
def opened(
    core: int, layout: Layout, *, sysroot: str = "/", debug_directories: Iterable[str] = separate.DIRECTORIES
) -> Iterator[Image]:
    """The image of a core with all files that this machine has for it; they are closed at the end."""
    with contextlib.ExitStack() as stack:
        modules = open_modules(layout, sysroot)
        for fd in modules.values():
            stack.callback(os.close, fd)
        image = Image(core, layout, modules)
        debug = open_debug(image.modules, debug_directories)
        for fd in debug.values():
            stack.callback(os.close, fd)
        image.debug_files = debug
        yield image


def _below(sysroot: bytes, path: bytes) -> bytes:
    parts = [part for part in path.split(b"/") if part not in (b"", b".", b"..")]
    return os.path.join(sysroot, *parts) if parts else b""
