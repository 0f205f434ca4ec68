"""The dynamic linker's list of modules (r_debug, link_map) in the memory of a process: what a debugger starts from.

Runs before the release: tests/test_hot_path.py lists what this module may import. The list is the crashed
process's own: it may be broken or endless, so every step is bounded and nothing of it is believed.
"""

from __future__ import annotations

import struct

from pycoredump import elfnote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pycoredump.corefile import Layout
    from pycoredump.elfnote import Abi

    Read = Callable[[int, int], bytes]

MODULES_MAX = 4096
NAMESPACES_MAX = 16  # dlmopen(3)
PROGRAM_HEADERS_MAX = 128
DYNAMIC_MAX = 64 << 10
NAME_MAX = 4096

PT_LOAD, PT_DYNAMIC, PT_PHDR = 1, 2, 6
DT_DEBUG = 21


def ranges(layout: Layout, read: Read) -> Iterator[tuple[int, int]]:
    """(address, bytes) of everything that leads a debugger to the modules; `read` gives b"" where it cannot."""
    abi = layout.abi
    phdr, count = layout.auxv.get(elfnote.AT_PHDR, 0), layout.auxv.get(elfnote.AT_PHNUM, 0)
    if not phdr or not 0 < count <= PROGRAM_HEADERS_MAX:
        return

    size = 56 if abi.word == 8 else 32
    yield phdr, count * size
    dynamic, length = _dynamic(read(phdr, count * size), phdr, abi)
    if not dynamic:
        return
    yield dynamic, length
    debug = _debug(read(dynamic, length), abi)
    if debug:
        yield from _namespaces(debug, abi, read)


def _dynamic(headers: bytes, phdr: int, abi: Abi) -> tuple[int, int]:
    # The load bias follows from PT_PHDR; a program without it (static) has no DT_DEBUG either.
    rows = list(struct.iter_unpack(abi.order + ("IIQQQQQQ" if abi.word == 8 else "8I"), headers))
    vaddr, size = (3, 6) if abi.word == 8 else (2, 5)
    own = next((row for row in rows if row[0] == PT_PHDR), None)
    dynamic = next((row for row in rows if row[0] == PT_DYNAMIC), None)
    if own is None or dynamic is None:
        return 0, 0
    mask = (1 << 8 * abi.word) - 1
    return (phdr - own[vaddr] + dynamic[vaddr]) & mask, min(dynamic[size], DYNAMIC_MAX)


def _debug(dynamic: bytes, abi: Abi) -> int:
    whole = len(dynamic) // (2 * abi.word) * (2 * abi.word)
    for tag, value in struct.iter_unpack(f"{abi.order}2{abi.long}", dynamic[:whole]):
        if tag == DT_DEBUG:
            return int(value)
    return 0


def _namespaces(debug: int, abi: Abi, read: Read) -> Iterator[tuple[int, int]]:
    # struct r_debug: version, r_map, r_brk, r_state, r_ldbase; r_next from version 2 on (glibc 2.35).
    seen: set[int] = set()
    while debug and debug not in seen and len(seen) < NAMESPACES_MAX:
        seen.add(debug)
        yield debug, 6 * abi.word
        data = read(debug, 6 * abi.word)
        if len(data) < 6 * abi.word:
            return
        version, first, *_, following = abi.unpack(f"6{abi.long}", data, 0)
        yield from _modules(first, abi, read)
        debug = following if version & 0xFFFFFFFF >= 2 else 0


def _modules(module: int, abi: Abi, read: Read) -> Iterator[tuple[int, int]]:
    # struct link_map: l_addr, l_name, l_ld, l_next, l_prev
    seen: set[int] = set()
    while module and module not in seen and len(seen) < MODULES_MAX:
        seen.add(module)
        yield module, 5 * abi.word
        data = read(module, 5 * abi.word)
        if len(data) < 5 * abi.word:
            return
        _, name, dynamic, following, _ = abi.unpack(f"5{abi.long}", data, 0)
        if name:
            yield name, 256
        if dynamic:
            yield dynamic, 512
        module = following
