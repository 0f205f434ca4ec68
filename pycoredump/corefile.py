"""The layout of an ELF core: what stands where in the stream, before the first byte of memory (core(5), elf(5)).

Runs before the release: tests/test_hot_path.py lists what this module may import. The kernel writes
ELF header, program headers and notes in that order (fs/binfmt_elf.c elf_core_dump), so one forward
read is enough to decide what to keep.
"""

from __future__ import annotations

import mmap
import struct

from pycoredump import elfnote
from pycoredump.elfnote import Abi, MappedFile, ProcessInfo, SignalInfo, Thread
from pycoredump.errors import CoreError
from pycoredump.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[int], bytes]
    Head = bytes | mmap.mmap

PT_NULL = 0
PT_LOAD = 1
PT_NOTE = 4
PF_X = 1
PF_W = 2
PF_R = 4
ET_CORE = 4
PN_XNUM = 0xFFFF

PAGE = 4096  # alignment of a core's segments that any reader accepts; larger pages are multiples of it
SEGMENTS_MAX = (
    1 << 17
)  # vm.max_map_count is 65530 by default; with more than this, the core is kept as it comes
LARGE = 1 << 20  # bytes of notes
CHUNK = 1 << 20  # bytes read at once
NOTES_MAX = 48 << 20  # bytes of notes held in memory; further ones are stored, but not read


class Segment(tuple[int, ...]):
    """A program header in elf64 order. A tuple: a large process has 65,000 of them and waits for us."""

    __slots__ = ()

    @property
    def flags(self) -> int:
        return self[1]

    @property
    def offset(self) -> int:
        """In the core, bytes."""
        return self[2]

    @property
    def vaddr(self) -> int:
        return self[3]

    @property
    def filesz(self) -> int:
        """Bytes of it that are in the core."""
        return self[5]

    @property
    def memsz(self) -> int:
        return self[6]


class Layout(Record):
    """Everything a core tells before its first byte of memory."""

    abi: Abi
    head: Head  # the stream up to the end of the notes, as it came
    notes_at: int  # offset of the notes in `head`
    segments: tuple[Segment, ...]  # PT_LOAD, in the order of the stream
    size: int  # bytes the whole stream will have
    threads: tuple[Thread, ...] = ()  # the crashing one first
    signal: SignalInfo | None = None
    process: ProcessInfo | None = None
    auxv: dict[int, int] = {}  # noqa: RUF012 - {} if missing or not whole; never changed
    auxv_raw: bytes = b""
    files: tuple[MappedFile, ...] = ()

    whole: bool = True  # all notes are in `head`

    @property
    def notes(self) -> memoryview:
        return memoryview(self.head)[self.notes_at :]


def reader(fd_read: Read) -> Read:
    """A read(size) that goes on until it has `size` bytes or the stream ends."""

    def read(size: int) -> bytes:
        parts = []
        while size > 0:
            part = fd_read(min(size, 1 << 20))
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    return read


def parse(data: bytes | memoryview) -> Layout:
    """The layout of a core that lies in memory. CoreError if it is none."""
    at = 0

    def read(size: int) -> bytes:
        nonlocal at
        part = bytes(data[at : at + size])
        at += len(part)
        return part

    return scan(read)


def scan(read: Read) -> Layout:
    """Read header, program headers and notes, and not one byte more. `read` returns less only at the end.

    CoreError if the stream is not an ELF core or ends before its notes do; its argument `head` holds
    what was read, so that the caller can store it all the same.
    """
    head = bytearray()

    def take(size: int, what: str) -> bytes:
        part = read(size)
        head.extend(part)
        if len(part) < size:
            raise TruncatedCore(f"The core ends in its {what}, after {len(head)} bytes", bytes(head))
        return part

    ident = take(16, "ELF header")
    abi_word, order = _ident(ident, head)
    form = "HHIQQQIHHHHHH" if abi_word == 8 else "HHIIIIIHHHHHH"
    fields = struct.unpack(order + form, take(struct.calcsize(order + form), "ELF header"))
    kind, machine, _, _, phoff, _, _, _, phentsize, phnum, *_ = fields
    abi = Abi(word=abi_word, order=order, machine=machine)
    if kind != ET_CORE or phentsize != (56 if abi_word == 8 else 32) or phoff != len(head):
        raise TruncatedCore("The stream is not an ELF core as the kernel writes it", bytes(head))

    headers = _headers(abi, take, phnum, phentsize, head)
    return _layout(abi, headers, head, read, extended=phnum == PN_XNUM)


class TruncatedCore(CoreError):
    """The stream ended early or is no core; `head` is what came."""

    def __init__(self, message: str, head: bytes) -> None:
        super().__init__(message)
        self.head = head


def _ident(ident: bytes, head: bytearray) -> tuple[int, str]:
    words = {1: 4, 2: 8}
    orders = {1: "<", 2: ">"}
    if ident[:4] != b"\x7fELF" or ident[4] not in words or ident[5] not in orders:
        raise TruncatedCore(
            f"The stream begins with {bytes(ident[:6])!r}, which is not an ELF file", bytes(head)
        )
    return words[ident[4]], orders[ident[5]]


def _headers(
    abi: Abi, take: Callable[[int, str], bytes], phnum: int, entry: int, head: bytearray
) -> list[Segment]:
    # With PN_XNUM the true number is in a section header at the very end of the stream; but the notes
    # follow the program headers directly, so the first one (PT_NOTE) tells it by its offset.
    ehdr = 64 if abi.word == 8 else 52
    first = take(entry, "program headers") if phnum else b""
    rows = segments_of(abi, first)
    if phnum == PN_XNUM and rows and rows[0][0] == PT_NOTE:
        phnum = (rows[0].offset - ehdr) // entry
    if phnum > SEGMENTS_MAX:
        raise TruncatedCore(f"The core claims {phnum} program headers", bytes(head))

    return rows + segments_of(abi, take((phnum - 1) * entry, "program headers")) if phnum > 1 else rows


def segments_of(abi: Abi, data: bytes) -> list[Segment]:
    """The program headers in `data`, in elf64 order."""
    if abi.word == 8:
        return [Segment(row) for row in struct.iter_unpack(f"{abi.order}IIQQQQQQ", data)]

    return [
        Segment((kind, flags, offset, vaddr, paddr, filesz, memsz, align))
        for kind, offset, vaddr, paddr, filesz, memsz, flags, align in struct.iter_unpack(
            f"{abi.order}8I", data
        )
    ]


def _layout(abi: Abi, headers: list[Segment], head: bytearray, read: Read, *, extended: bool) -> Layout:
    loads = tuple(row for row in headers if row[0] == PT_LOAD)
    size = max((row.offset + row.filesz for row in headers), default=len(head))
    if extended:
        size += 64 if abi.word == 8 else 40  # the section header that holds the true count

    note = next((row for row in headers if row[0] == PT_NOTE), None)
    if note is None or note.offset < len(head):
        return Layout(
            abi=abi, head=bytes(head), notes_at=len(head), segments=loads, size=max(size, len(head))
        )

    head.extend(read(min(note.offset - len(head), NOTES_MAX)))
    notes_at = len(head)
    wanted = note.offset + note.filesz
    whole = _filled(head, min(wanted, notes_at + NOTES_MAX), read)
    layout = Layout(
        abi=abi,
        head=whole,
        notes_at=notes_at,
        segments=loads,
        size=max(size, len(whole)),
        whole=len(whole) == wanted,
    )
    return _with_notes(layout)


def _filled(head: bytearray, wanted: int, read: Read) -> Head:
    """The head, up to `wanted` bytes of it: once, at a place that no child gets.

    The registers of one thread can take 12 KiB (AMX): with thousands of threads each copy would count.
    """
    if wanted - len(head) < LARGE:
        while len(head) < wanted and (part := read(wanted - len(head))):
            head.extend(part)
        return bytes(head)

    large = mmap.mmap(-1, wanted)
    large.madvise(mmap.MADV_DONTFORK)
    at = large.write(head)
    while at < wanted and (part := read(min(wanted - at, CHUNK))):
        at += large.write(part)
    return large if at == wanted else large[:at]


def _with_notes(layout: Layout) -> Layout:
    abi = layout.abi
    facts: dict[str, object] = {}
    threads: list[Thread] = []
    for note in elfnote.notes(layout.notes, abi):
        if note.type == elfnote.NT_PRSTATUS:
            thread = elfnote.thread(note.data, abi)
            threads += [thread] if thread else []
        elif note.type == elfnote.NT_ARM_TLS and threads and len(note.data) >= abi.word:
            threads[-1] = threads[-1].replace(tls=abi.unpack(abi.long, note.data, 0)[0])
        elif note.type == elfnote.NT_AUXV:
            facts |= {"auxv": elfnote.auxiliary_vector(note.data, abi) or {}, "auxv_raw": note.data}
        elif note.type == elfnote.NT_FILE:
            facts["files"] = elfnote.mapped_files(note.data, abi)
        elif note.type == elfnote.NT_SIGINFO:
            facts["signal"] = elfnote.signal_info(note.data, abi)
        elif note.type == elfnote.NT_PRPSINFO:
            facts["process"] = elfnote.process_info(note.data)
    return layout.replace(threads=tuple(threads), **facts)
