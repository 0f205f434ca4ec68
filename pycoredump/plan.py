"""What an archive's core consists of, in the order it is written. Pure: layout and facts in, runs of bytes out.

Runs before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

import struct

from pycoredump import corefile, elfnote, pagemap
from pycoredump.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pycoredump.corefile import Layout, Segment
    from pycoredump.pagemap import Pages
    from pycoredump.sharedmemory import SharedMemory

LITERAL, DATA, ZERO = range(3)

FRAME = 1 << 20  # bytes of the core in one frame: what a reader must decompress to see one stack
ZERO_MIN = (
    256 << 10
)  # a run of zeros from this on becomes a frame of its own, made without reading or compressing
ZERO_MAX = 1 << 30  # the seek table has 32 bits for the decompressed size
KERNEL = 1 << 63  # the upper half of the address space: the kernel's, but for the vsyscall page
SHARED_MIN = 1 << 20  # smaller shared memory is read as it is
SPECIAL_MAX = 256 << 10  # no mapping of the kernel's own ([vdso], [vvar], [sigpage]) is as large


class Run(tuple[int, int, int, "bytes | memoryview"]):
    """(kind, where, bytes, literal): what comes next. `where` is an address (or, from the stream, an offset)."""

    __slots__ = ()


class Job(Record):
    """What goes into one frame."""

    runs: tuple[Run, ...]
    size: int
    zero: bool = False


class Plan(Record):
    """An archive's core: ELF header and program headers, then runs."""

    head: bytes  # ELF header and program headers; rewritten in place if the rest does not come whole
    runs: Callable[[], Iterator[Run]]  # what follows the head
    size: int  # bytes of the whole core; 0 if only its end tells
    shrunk: bool = False  # some memory is left out on purpose, and a note at the end is to say which


def cut(head: bytes, layout: Layout, size: int, *, note: tuple[int, int] = (0, 0)) -> bytes:
    """The head of a core of which only the first `size` bytes came: what is missing is in no program header.

    p_memsz shrinks with p_filesz: a debugger would read the difference as zeros. `note` is (offset, bytes) of a
    further PT_NOTE, which takes the first header that is free.
    """
    abi = layout.abi
    form = abi.order + ("IIQQQQQQ" if abi.word == 8 else "8I")
    filesz, memsz, offset = (5, 6, 2) if abi.word == 8 else (4, 5, 1)
    at = 64 if abi.word == 8 else 52
    rows = [list(row) for row in struct.iter_unpack(form, head[at:])]
    for row in rows:
        if row[0] == corefile.PT_LOAD and row[filesz] and row[offset] + row[filesz] > size:
            row[filesz] = row[memsz] = max(0, size - row[offset]) & -corefile.PAGE
            row[0] = corefile.PT_LOAD if row[filesz] else corefile.PT_NULL
    free = next((row for row in rows if row[0] == corefile.PT_NULL), None)
    if free is not None and note[1]:
        free[:] = [0] * 8
        free[0], free[offset], free[filesz], free[-1] = corefile.PT_NOTE, *note, 4
    return head[:at] + b"".join(struct.pack(form, *row) for row in rows)


def literal(data: bytes | memoryview) -> Run:
    return Run((LITERAL, 0, len(data), data))


def data(where: int, size: int) -> Run:
    return Run((DATA, where, size, b""))


def zero(size: int) -> Run:
    return Run((ZERO, 0, size, b""))


def headers_size(layout: Layout) -> int:
    """Bytes of ELF header and program headers."""
    return layout.notes_at if layout.notes_at < len(layout.head) else len(layout.head)


def stream(layout: Layout) -> Plan:
    """Everything, as it comes out of the stream: `where` is an offset in it."""
    at = headers_size(layout)

    def runs() -> Iterator[Run]:
        yield literal(memoryview(layout.head)[at:])
        if layout.size > len(layout.head):
            yield data(len(layout.head), layout.size - len(layout.head))

    return Plan(head=layout.head[:at], runs=runs, size=layout.size)


def foreign(head: bytes) -> Plan:
    """What is no ELF core that we understand, as it comes out of the stream: `head` is what was read of it."""

    def runs() -> Iterator[Run]:
        if head:
            yield literal(head)
        yield data(len(head), 1 << 62)

    return Plan(head=b"", runs=runs, size=0)


def whole(layout: Layout, pages: Pages | None) -> Plan:
    """Everything, byte for byte as the kernel would write it, from memory: `where` is an address."""
    at = headers_size(layout)

    def runs() -> Iterator[Run]:
        yield literal(memoryview(layout.head)[at:])
        offset = len(layout.head)
        for segment in sorted((s for s in layout.segments if s.filesz), key=lambda s: s.offset):
            if segment.offset > offset:
                yield zero(segment.offset - offset)
            for address, size, untouched in pagemap.runs(segment, known(layout, segment, pages)):
                yield zero(size) if untouched else data(address, size)
            offset = segment.offset + segment.filesz
        if layout.size > offset:
            yield literal(_section_header(layout))

    return Plan(head=layout.head[:at], runs=runs, size=layout.size)


def known(layout: Layout, segment: Segment, pages: Pages | None) -> Pages | SharedMemory | None:
    """Who knows which pages of it hold something. None: nobody does, and all of it is to be read."""
    if pages is None or is_anonymous(layout, segment):
        return pages
    if pages.shared is None or segment.filesz < SHARED_MIN:
        return None
    return pages.shared.at(segment.vaddr)


def is_anonymous(layout: Layout, segment: Segment) -> bool:
    """Whether untouched pages of it are zeros: it is no file's, no shared memory's and not the kernel's own.

    NT_FILE lists every mapping that has a file behind it, shared memory included. The kernel's own are small and
    not writable; a large mapping that is not writable is one that some runtime reserved, or took access from.
    """
    start = segment.vaddr
    if not layout.files or start >= KERNEL:
        return False

    low, high = 0, len(layout.files)
    while low < high:  # NT_FILE is in order of address
        middle = (low + high) // 2
        if layout.files[middle].end <= start:
            low = middle + 1
        else:
            high = middle
    in_file = low < len(layout.files) and layout.files[low].start < start + segment.memsz
    return (
        not in_file
        and start != layout.auxv.get(elfnote.AT_SYSINFO_EHDR)
        and (bool(segment.flags & corefile.PF_W) or segment.memsz > SPECIAL_MAX)
    )


def sealed(layout: Layout) -> frozenset[int]:
    """Where the segments start that the kernel maps into every process and lets no other one read: the vsyscall
    page, and the data of the vdso in front of it ([vvar]). In cores of the kernel, too, they are zeros.
    """
    files = {file.start for file in layout.files}
    by_end = {segment.vaddr + segment.memsz: segment for segment in layout.segments}
    found = {segment.vaddr for segment in layout.segments if segment.vaddr >= KERNEL}
    at = layout.auxv.get(elfnote.AT_SYSINFO_EHDR, 0)
    while (before := by_end.get(at)) is not None:
        if before.flags != corefile.PF_R or not 0 < before.memsz <= SPECIAL_MAX or before.vaddr in files:
            break
        at = before.vaddr
        found.add(at)
    return frozenset(found)


def _section_header(layout: Layout) -> bytes:
    # With more than 65534 program headers their number stands in sh_info of one section header at the
    # very end (fs/binfmt_elf.c fill_extnum_info).
    count = len(layout.segments) + 1
    form = "IIQQQQIIQQ" if layout.abi.word == 8 else "10I"
    return struct.pack(layout.abi.order + form, 0, 0, 0, 0, 0, 1, 0, count, 0, 0)


def jobs(runs: Iterator[Run], frame: int = FRAME) -> Iterator[Job]:
    """The runs cut and packed into frames of at most `frame` bytes; long runs of zeros on their own.

    Should the runs fail (the process went away), what came before is a frame, too.
    """
    pending: list[Run] = []
    room = frame
    try:
        for kind, where, size, content in runs:
            if kind == ZERO and size >= ZERO_MIN:
                if pending:
                    yield Job(runs=tuple(pending), size=frame - room)
                    pending, room = [], frame
                for at in range(0, size, ZERO_MAX):
                    yield Job(runs=(), size=min(ZERO_MAX, size - at), zero=True)
                continue
            at = 0
            while at < size:
                take = min(size - at, room)
                pending.append(Run((kind, where + at, take, content[at : at + take])))
                at += take
                room -= take
                if room == 0:
                    yield Job(runs=tuple(pending), size=frame)
                    pending, room = [], frame
    except Exception:
        if pending:
            yield Job(runs=tuple(pending), size=frame - room)
        raise
    if pending:
        yield Job(runs=tuple(pending), size=frame - room)
