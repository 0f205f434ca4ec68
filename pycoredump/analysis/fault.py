"""What is known of the moment of death: signal, registers, memory map, the instruction. Gathered here, explained in words.py."""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterator

from pycoredump import elfnote
from pycoredump.analysis.image import Image
from pycoredump.analysis.model import Facts
from pycoredump.corefile import Layout
from pycoredump.record import Record

CODE_MAX = 15  # bytes of the longest instruction there is (x86)
REGIONS_MAX = 1 << 17

# By position in elf_gregset_t (asm/user_64.h; asm/ptrace.h)
X86_64 = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi",
    "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base",
)  # fmt: skip
AARCH64 = (*(f"x{number}" for number in range(31)), "sp", "pc", "pstate")


class Region(Record):
    """A stretch of the address space."""

    start: int
    end: int
    flags: int  # PF_R | PF_W | PF_X
    name: str = ""  # path of the file, [heap], [stack]; "" if anonymous
    offset: int = 0  # in the file, bytes
    known: bool = True  # False: a file's pages that are not in the core, so nobody told their permissions


class Fault(Record):
    """Everything that words are made of."""

    machine: int
    signal: int
    code: int | None = None  # si_code; None if the core does not tell
    address: int | None = None  # si_addr, where the signal has one
    sender_pid: int = 0
    sender_uid: int = 0
    syscall: int = 0
    arch: int = 0
    pid: int = 0
    pc: int = 0
    sp: int = 0
    registers: dict[str, int] = {}  # noqa: RUF012 - never changed
    instruction: bytes = b""  # from pc on, b"" if they are not known
    place: str = ""  # pc for people: nginx+0x1234
    regions: tuple[Region, ...] = ()  # sorted
    sizes: dict[str, int] = {}  # noqa: RUF012 - path of a mapped file -> bytes it has; never changed

    def region(self, address: int) -> Region | None:
        at = bisect.bisect_right(self.regions, address, key=lambda r: r.start) - 1
        return self.regions[at] if at >= 0 and address < self.regions[at].end else None

    def neighbours(self, address: int) -> tuple[Region | None, Region | None]:
        """The regions below and above an address that is in none."""
        at = bisect.bisect_right(self.regions, address, key=lambda r: r.start)
        below = self.regions[at - 1] if at else None
        return below, self.regions[at] if at < len(self.regions) else None


def gather(layout: Layout, facts: Facts, process: Image | None) -> Fault:
    """`process` is None for machines whose memory is not understood."""
    info = layout.signal
    thread = layout.threads[0] if layout.threads else None
    signal = info.signal if info else facts.signal or (thread.signal if thread else 0)
    known = Fault(
        machine=layout.abi.machine, signal=signal, sizes=facts.sizes, regions=regions(layout, facts)
    )
    if info is not None:
        known = known.replace(
            code=info.code,
            address=info.address,
            sender_pid=info.pid,
            sender_uid=info.uid,
            syscall=info.syscall,
            arch=info.arch,
        )
    if layout.threads:
        known = known.replace(pid=process_id(layout))
    if thread is None or not thread.registers:
        return known
    return known.replace(
        pc=thread.pc,
        sp=thread.sp,
        registers=registers(layout.abi.machine, thread.registers),
        instruction=_code(process, thread.pc),
        place=_place(process, thread.pc),
    )


def registers(machine: int, data: bytes) -> dict[str, int]:
    """Name -> value; {} on machines that are not known."""
    names = {elfnote.EM_X86_64: X86_64, elfnote.EM_AARCH64: AARCH64}.get(machine, ())
    count = min(len(names), len(data) // 8)
    return dict(zip(names, struct.unpack_from(f"<{count}Q", data), strict=False))


def process_id(layout: Layout) -> int:
    # struct elf_prpsinfo: pr_pid at 24 (64 bit) or 12. The first thread need not be the group's leader.
    for note in elfnote.notes(layout.notes, layout.abi):
        at = 24 if layout.abi.word == 8 else 12
        if note.type == elfnote.NT_PRPSINFO and len(note.data) >= at + 4:
            return layout.abi.unpack("I", note.data, at)[0]
    return 0


def _code(process: Image | None, pc: int) -> bytes:
    return process.memory.available(pc, CODE_MAX) if process is not None else b""


def _place(process: Image | None, pc: int) -> str:
    module = process.module(pc) if process is not None else None
    if module is None:
        return ""
    return f"{module.path.rpartition('/')[2]}+{pc - module.bias:#x}"


def regions(layout: Layout, facts: Facts) -> tuple[Region, ...]:
    """The memory map: as /proc/PID/maps told it, else as far as the core tells."""
    found = list(_from_maps(facts.maps)) or list(_from_layout(layout))
    return tuple(sorted(found, key=lambda r: r.start)[:REGIONS_MAX])


def _from_maps(maps: str) -> Iterator[Region]:
    for line in maps.split("\n"):
        fields = line.split(None, 5)
        try:
            start, _, end = fields[0].partition("-")
            flags = sum(bit for letter, bit in zip("rwx", (4, 2, 1), strict=True) if letter in fields[1])
            name = fields[5].removesuffix(" (deleted)") if len(fields) > 5 else ""
            yield Region(
                start=int(start, 16), end=int(end, 16), flags=flags, name=name, offset=int(fields[2], 16)
            )
        except (IndexError, ValueError):
            continue


def _from_layout(layout: Layout) -> Iterator[Region]:
    files = sorted(layout.files, key=lambda f: f.start)
    starts = [f.start for f in files]

    def file_at(address: int) -> elfnote.MappedFile | None:
        at = bisect.bisect_right(starts, address) - 1
        return files[at] if at >= 0 and address < files[at].end else None

    stack = layout.threads[0].sp if layout.threads else 0
    for segment in layout.segments:
        start, end = segment.vaddr, segment.vaddr + segment.memsz
        if start >= end:
            continue
        file = file_at(start)
        name = file.path.decode("utf-8", "replace") if file else "[stack]" if start <= stack < end else ""
        offset = file.offset + start - file.start if file else 0
        yield Region(start=start, end=end, flags=segment.flags & 7, name=name, offset=offset)
    covered = sorted((s.vaddr, s.vaddr + s.memsz) for s in layout.segments)
    for file in files:
        at = bisect.bisect_right(covered, (file.start, 1 << 64)) - 1
        if file.start < file.end and (at < 0 or covered[at][1] <= file.start):
            name = file.path.decode("utf-8", "replace")
            yield Region(start=file.start, end=file.end, flags=0, name=name, offset=file.offset, known=False)
