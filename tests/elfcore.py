"""Builds ELF cores in memory, as fs/binfmt_elf.c would write them, from keyword arguments."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field

from pycoredump import elfnote

PAGE = 4096
PF_X, PF_W, PF_R = 1, 2, 4


@dataclass
class Thread:
    """One NT_PRSTATUS."""

    tid: int = 4711
    signal: int = 11
    pc: int = 0
    sp: int = 0
    tls: int = 0
    registers: dict[int, int] = field(default_factory=dict)  # index -> value


@dataclass
class Segment:
    """One PT_LOAD: `data` is in the core, `size` bytes are in the memory."""

    start: int
    data: bytes = b""
    size: int = 0  # 0: as much as there is data
    flags: int = PF_R | PF_W


@dataclass
class File:
    """One row of NT_FILE; `offset` in pages."""

    start: int
    end: int
    offset: int
    path: bytes


@dataclass
class Siginfo:
    """NT_SIGINFO: `union` is what stands where the union begins."""

    signal: int = 11
    errno: int = 0
    code: int = 1
    union: bytes = b""


def contents(size: int, seed: int = 1) -> bytes:
    """Bytes that do not compress to nothing and differ from page to page."""
    parts = (struct.pack("<QQ", seed, at) * 4 for at in range(0, size, 64))
    return b"".join(parts)[:size]


def note(kind: int, data: bytes, *, name: bytes = b"CORE", order: str = "<") -> bytes:
    named = name + b"\0"
    head = struct.pack(f"{order}III", len(named), len(data), kind)
    return head + named + bytes(-len(named) % 4) + data + bytes(-len(data) % 4)


def prstatus(thread: Thread, *, bits: int = 64, order: str = "<", machine: int = elfnote.EM_X86_64) -> bytes:
    known = elfnote.REGISTERS.get(machine)
    values = [0] * (known.count if known else 8)
    if known:
        values[known.pc], values[known.sp] = thread.pc, thread.sp
        if known.tls >= 0:
            values[known.tls] = thread.tls
    for index, value in thread.registers.items():
        values[index] = value
    long = "Q" if bits == 64 else "I"
    head = struct.pack(
        f"{order}iiihxx2{long}4i", thread.signal, 0, 0, thread.signal, 0, 0, thread.tid, 1, 1, 1
    )
    times = bytes(64 if bits == 64 else 32)
    tail = struct.pack(f"{order}i", 0) + bytes(4 if bits == 64 else 0)
    return head + times + struct.pack(f"{order}{len(values)}{long}", *values) + tail


def prpsinfo(comm: bytes, arguments: bytes, *, bits: int = 64, order: str = "<") -> bytes:
    if bits == 64:
        head = struct.pack(f"{order}4s4xQ6i", b"\0R\0\0", 0, 1000, 1000, 4711, 1, 1, 1)
    else:
        head = struct.pack(f"{order}4sI2H4i", b"\0R\0\0", 0, 1000, 1000, 4711, 1, 1, 1)
    return head + comm.ljust(16, b"\0") + arguments.ljust(80, b"\0")


def siginfo(info: Siginfo, *, bits: int = 64, order: str = "<") -> bytes:
    head = struct.pack(f"{order}iii", info.signal, info.errno, info.code)
    return (head + bytes(4 if bits == 64 else 0) + info.union).ljust(128, b"\0")


def pointer(value: int, *, bits: int = 64, order: str = "<") -> bytes:
    return struct.pack(order + ("Q" if bits == 64 else "I"), value)


def auxv(values: dict[int, int], *, bits: int = 64, order: str = "<", end: bool = True) -> bytes:
    rows = [*values.items(), *([(0, 0)] if end else [])]
    return b"".join(struct.pack(f"{order}2{'Q' if bits == 64 else 'I'}", *row) for row in rows)


def nt_file(files: list[File], *, bits: int = 64, order: str = "<", page: int = PAGE) -> bytes:
    long = "Q" if bits == 64 else "I"
    rows = b"".join(struct.pack(f"{order}3{long}", file.start, file.end, file.offset) for file in files)
    names = b"".join(file.path + b"\0" for file in files)
    return struct.pack(f"{order}2{long}", len(files), page) + rows + names


def program_header(
    kind: int, flags: int, offset: int, vaddr: int, filesz: int, memsz: int, *, bits: int, order: str
) -> bytes:
    align = 4 if kind == 4 else PAGE
    if bits == 64:
        return struct.pack(f"{order}IIQQQQQQ", kind, flags, offset, vaddr, 0, filesz, memsz, align)
    return struct.pack(f"{order}8I", kind, offset, vaddr, 0, filesz, memsz, flags, align)


def header(
    *, bits: int, order: str, machine: int, phnum: int, kind: int = 4, shoff: int = 0, shnum: int = 0
) -> bytes:
    ident = b"\x7fELF" + bytes([bits // 32, 1 if order == "<" else 2, 1, 0]) + bytes(8)
    size, entry = (64, 56) if bits == 64 else (52, 32)
    section = (64 if bits == 64 else 40) if shnum else 0
    form = order + ("HHIQQQIHHHHHH" if bits == 64 else "HHIIIIIHHHHHH")
    return ident + struct.pack(
        form, kind, machine, 1, 0, size, shoff, 0, size, entry, phnum, section, shnum, 0
    )


def core(
    *,
    bits: int = 64,
    order: str = "<",
    machine: int = elfnote.EM_X86_64,
    kind: int = 4,
    threads: list[Thread] | None = None,
    segments: list[Segment] | None = None,
    signal: Siginfo | None = None,
    process: tuple[bytes, bytes] | None = (b"prog", b"prog --now"),
    vector: dict[int, int] | None = None,
    files: list[File] | None = None,
    more_notes: bytes = b"",
    notes: bytes | None = None,
) -> bytes:
    """A whole core. With more than 65534 segments the true number is where the kernel puts it (PN_XNUM)."""
    segments = segments or []
    if notes is None:
        notes = _notes(bits, order, machine, threads, signal, process, vector, files) + more_notes
    size, entry = (64, 56) if bits == 64 else (52, 32)
    count = len(segments) + 1
    notes_at = size + count * entry
    first = -(-(notes_at + len(notes)) // PAGE) * PAGE
    headers = [program_header(4, 0, notes_at, 0, len(notes), 0, bits=bits, order=order)]
    at, parts = first, []
    for segment in segments:
        memory = segment.size or len(segment.data)
        headers.append(
            program_header(
                1, segment.flags, at, segment.start, len(segment.data), memory, bits=bits, order=order
            )
        )
        parts.append(segment.data)
        at += len(segment.data)
    extended = count >= 0xFFFF
    head = header(
        bits=bits,
        order=order,
        machine=machine,
        kind=kind,
        phnum=0xFFFF if extended else count,
        shoff=at if extended else 0,
        shnum=1 if extended else 0,
    )
    section = struct.pack(order + ("IIQQQQIIQQ" if bits == 64 else "10I"), 0, 0, 0, 0, 0, 1, 0, count, 0, 0)
    front = head + b"".join(headers) + notes
    return front.ljust(first, b"\0") + b"".join(parts) + (section if extended else b"")


def _notes(
    bits: int,
    order: str,
    machine: int,
    threads: list[Thread] | None,
    signal: Siginfo | None,
    process: tuple[bytes, bytes] | None,
    vector: dict[int, int] | None,
    files: list[File] | None,
) -> bytes:
    statuses = [_status(bits, order, machine, thread) for thread in threads or [Thread()]]
    parts = statuses[:1]
    if process is not None:
        parts.append(note(elfnote.NT_PRPSINFO, prpsinfo(*process, bits=bits, order=order), order=order))
    if signal is not None:
        parts.append(note(elfnote.NT_SIGINFO, siginfo(signal, bits=bits, order=order), order=order))
    if vector is not None:
        parts.append(note(elfnote.NT_AUXV, auxv(vector, bits=bits, order=order), order=order))
    if files is not None:
        parts.append(note(elfnote.NT_FILE, nt_file(files, bits=bits, order=order), order=order))
    return b"".join([*parts, *statuses[1:]])


def _status(bits: int, order: str, machine: int, thread: Thread) -> bytes:
    # The thread's floating point registers follow its status, as with the kernel.
    status = note(
        elfnote.NT_PRSTATUS, prstatus(thread, bits=bits, order=order, machine=machine), order=order
    ) + note(2, bytes(512), order=order)
    if machine == elfnote.EM_AARCH64:
        status += note(elfnote.NT_ARM_TLS, pointer(thread.tls, order=order), name=b"LINUX", order=order)
    return status


def memory_file(segments: list[Segment]) -> int:
    """A descriptor that reads as /proc/PID/mem of a process with these segments would; holes are zeros."""
    fd = os.memfd_create("mem", os.MFD_CLOEXEC)
    for segment in segments:
        if segment.start >= 1 << 63:
            continue  # the kernel's own page, which nobody can read
        for at in range(0, len(segment.data), PAGE):
            page = segment.data[at : at + PAGE]
            if any(page):
                os.pwrite(fd, page, segment.start + at)
        end = segment.start + (segment.size or len(segment.data))
        os.ftruncate(fd, max(end, os.fstat(fd).st_size))
    return fd


def pagemap_file(touched: list[tuple[int, int]]) -> int:
    """A descriptor that reads as /proc/PID/pagemap of a process that touched these ranges would."""
    fd = os.memfd_create("pagemap", os.MFD_CLOEXEC)
    for start, stop in touched:
        os.pwrite(fd, struct.pack("<Q", 1 << 63) * ((stop - start) // PAGE), start // PAGE * 8)
    os.ftruncate(fd, 1 << 56)
    return fd


PROGRAM, DATA, BSS, HEAP = 0x400000, 0x420000, 0x422000, 0x1000000
LIBRARY, LIBRARY_DATA, TLS = 0x7F0000000000, 0x7F0000200000, 0x7F0800000000
GUARD, STACK_2, VDSO, STACK, VSYSCALL = (
    0x7F1000000000,
    0x7F1000001000,
    0x7FFD00000000,
    0x7FFE00000000,
    0xFFFFFFFFFF600000,
)
STACK_SIZE = 0x21000
SP_2, SP = STACK_2 + 0x1F000, STACK + 0x1E010
LINK_MAP, NAMES, R_DEBUG, LIBRARY_DYNAMIC = (
    LIBRARY_DATA + 0x100,
    LIBRARY_DATA + 0x800,
    LIBRARY_DATA + 0x20,
    LIBRARY_DATA + 0x900,
)


@dataclass
class Process:
    """What a core is made of, and the memory that it is made from."""

    threads: list[Thread]
    segments: list[Segment]
    files: list[File]
    vector: dict[int, int]
    signal: Siginfo

    def core(self) -> bytes:
        return core(
            threads=self.threads,
            segments=self.segments,
            files=self.files,
            vector=self.vector,
            signal=self.signal,
        )

    def memory(self) -> int:
        return memory_file(self.segments)

    def pagemap(self) -> int:
        """Pages that hold something count as touched."""
        found: list[tuple[int, int]] = []
        for segment in self.segments:
            for at in range(0, len(segment.data), PAGE):
                if any(segment.data[at : at + PAGE]):
                    found.append((segment.start + at, segment.start + at + PAGE))
        return pagemap_file([pair for pair in found if pair[0] < 1 << 63])

    def at(self, address: int, size: int) -> bytes:
        """The memory there, which lies in one segment."""
        segment = next(s for s in self.segments if s.start <= address < s.start + len(s.data))
        return segment.data[address - segment.start : address - segment.start + size]


def linux_process(*, heap: int = 256 << 10, hole: int = 0) -> Process:
    """A process of x86-64 with two threads, a library, a heap (with untouched memory behind it) and a vsyscall page."""
    program = _place({0: _program_headers()}, PAGE)
    data = _place({0: struct.pack("<4Q", 21, R_DEBUG, 0, 0), 0x1000: contents(PAGE, 2)}, 2 * PAGE)
    library_data = _place(
        {
            0x20: struct.pack("<6Q", 1, LINK_MAP, 0, 0, LIBRARY, 0),
            0x100: struct.pack("<5Q", 0, 0, DATA, LINK_MAP + 0x40, 0),
            0x140: struct.pack("<5Q", LIBRARY, NAMES, LIBRARY_DYNAMIC, 0, LINK_MAP),
            0x800: b"/lib/libc.so.6\0",
            0x900: bytes(16),
        },
        4 * PAGE,
    )
    tls = _place(
        {0x2000: struct.pack("<2Q", TLS + 0x2000, TLS + 0x3010), 0x3000: struct.pack("<4Q", 1, 0, 0, 0)},
        4 * PAGE,
    )
    return Process(
        threads=[
            Thread(tid=4712, signal=11, pc=PROGRAM + 0x1234, sp=SP, tls=TLS + 0x2000, registers={5: HEAP + 0x8000}),
            Thread(tid=4711, signal=11, pc=LIBRARY + 0x5678, sp=SP_2, tls=TLS + 0x2000),
        ],
        segments=[
            Segment(PROGRAM, program, 0x20000, PF_R | PF_X),
            Segment(DATA, data),
            Segment(BSS, contents(4 * PAGE, 3)),
            Segment(HEAP, contents(heap, 4) + bytes(hole)),
            Segment(LIBRARY, _place({0: b"\x7fELF"}, PAGE), 0x200000, PF_R | PF_X),
            Segment(LIBRARY_DATA, library_data),
            Segment(TLS, tls),
            Segment(GUARD, b"", PAGE, 0),
            Segment(STACK_2, contents(STACK_SIZE, 5)),
            Segment(VDSO, _place({0: b"\x7fELF"}, 2 * PAGE), flags=PF_R | PF_X),
            Segment(STACK, contents(STACK_SIZE, 6)),
            Segment(VSYSCALL, bytes(PAGE), flags=PF_X),
        ],
        files=[
            File(PROGRAM, PROGRAM + 0x20000, 0, b"/usr/bin/prog"),
            File(DATA, DATA + 2 * PAGE, 0x20, b"/usr/bin/prog"),
            File(LIBRARY, LIBRARY + 0x200000, 0, b"/lib/libc.so.6"),
            File(LIBRARY_DATA, LIBRARY_DATA + 4 * PAGE, 0x200, b"/lib/libc.so.6"),
        ],
        vector={3: PROGRAM + 64, 5: 3, 7: LIBRARY, 9: PROGRAM + 0x1000, 33: VDSO, 31: STACK + STACK_SIZE - 16,
                11: 1000, 12: 1000, 13: 1000, 14: 1000, 23: 0},
        signal=Siginfo(signal=11, code=1, union=struct.pack("<Q", BSS + 0x10)),
    )  # fmt: skip


def _program_headers() -> bytes:
    rows = [(6, 4, 64, PROGRAM + 64, 168), (1, 5, 0, PROGRAM, 0x20000), (2, 6, 0x20000, DATA, 32)]
    return b"\x7fELF".ljust(64, b"\0") + b"".join(
        program_header(kind, flags, offset, vaddr, size, size, bits=64, order="<")
        for kind, flags, offset, vaddr, size in rows
    )


def _place(parts: dict[int, bytes], size: int) -> bytes:
    data = bytearray(size)
    for at, part in parts.items():
        data[at : at + len(part)] = part
    return bytes(data)
