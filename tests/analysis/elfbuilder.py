"""Small ELF files and images of dead processes, built in memory for tests. Nothing of the machine is needed."""

from __future__ import annotations

import struct

from pycoredump import corefile, elfnote
from pycoredump.analysis.image import Image
from pycoredump.analysis.source import BytesSource
from pycoredump.corefile import Layout, Segment
from pycoredump.elfnote import Abi, MappedFile, Thread
from pycoredump.record import Record

TEXT = 0x1000  # offset and address of the code in a built file
SIZE = 0x4000  # bytes of it that are mapped
STACK = 0x7FFF_0000_0000


class Function(Record):
    """A function in a built file."""

    name: str
    start: int
    size: int
    instructions: bytes | None = b""  # of its FDE; None: no FDE
    code: bytes = b""


def uleb(value: int) -> bytes:
    out = bytearray()
    while True:
        byte = value & 0x7F
        value >>= 7
        out.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(out)


# CIE of x86-64: CFA = rsp + 8, return address at CFA - 8. Of aarch64: CFA = sp, return address in x30.
CIES = {
    elfnote.EM_X86_64: (1, 0x78, 16, bytes.fromhex("0c07089001")),
    elfnote.EM_AARCH64: (4, 0x78, 30, bytes.fromhex("0c1f00")),
}


def entry(identity: int, body: bytes) -> bytes:
    body += bytes(-(len(body) + 8) % 8)
    return struct.pack("<II", len(body) + 4, identity) + body


def eh_frame(
    functions: list[Function], at: int, machine: int, augmentation: bytes = b"zR"
) -> tuple[bytes, bytes]:
    """(.eh_frame at address `at`, search table of .eh_frame_hdr with addresses relative to 0)."""
    code, data, ra, initial = CIES[machine]
    body = b"\x01" + augmentation + b"\0" + bytes([code, data, ra]) + b"\x01\x1b" + initial
    section = entry(0, body)
    table = []
    for function in functions:
        if function.instructions is None:
            continue
        place = at + len(section)
        pointer = struct.pack("<iI", function.start - (place + 8), function.size) + b"\0"
        table.append((function.start, place))
        section += entry(len(section) + 4, pointer + function.instructions)
    return section + bytes(4), b"".join(struct.pack("<ii", *row) for row in sorted(table))


def build(
    functions: list[Function],
    *,
    machine: int = elfnote.EM_X86_64,
    build_id: bytes = b"\xab" * 20,
    augmentation: bytes = b"zR",
    header: bool = True,
    symbols: bool = True,
) -> bytes:
    """A shared object whose offsets are its addresses."""
    file = bytearray(SIZE)
    for function in functions:
        file[function.start : function.start + len(function.code)] = function.code
    frames, table = eh_frame(functions, 0x2000, machine, augmentation)
    file[0x2000 : 0x2000 + len(frames)] = frames
    table_at = 0x2800
    # The table counts from where .eh_frame_hdr begins.
    rows = [(a - table_at, b - table_at) for a, b in struct.iter_unpack("<ii", table)]
    packed = b"".join(struct.pack("<ii", *row) for row in rows)
    hdr = bytes.fromhex("011b033b") + struct.pack("<iI", 0x2000 - (table_at + 4), len(rows)) + packed
    file[table_at : table_at + len(hdr)] = hdr
    note = struct.pack("<III", 4, len(build_id), 3) + b"GNU\0" + build_id
    file[0x200 : 0x200 + len(note)] = note

    strings, entries = b"\0", bytes(24)
    for function in functions:
        entries += struct.pack("<IBBHQQ", len(strings), 0x12, 0, 1, function.start, function.size)
        strings += function.name.encode() + b"\0"
    file[0x3000 : 0x3000 + len(entries)] = entries
    file[0x3800 : 0x3800 + len(strings)] = strings
    names = b"\0.text\0.symtab\0.strtab\0.shstrtab\0.eh_frame\0"
    file[0x3C00 : 0x3C00 + len(names)] = names
    sections = [
        (0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        (1, 1, 6, TEXT, TEXT, 0x1000, 0, 0, 16, 0),
        (7, 2, 0, 0, 0x3000, len(entries), 3, 0, 8, 24),
        (15, 3, 0, 0, 0x3800, len(strings), 0, 0, 1, 0),
        (23, 3, 0, 0, 0x3C00, len(names), 0, 0, 1, 0),
        (33, 1, 2, 0x2000, 0x2000, len(frames), 0, 0, 8, 0),
    ]
    if not symbols:
        del sections[1:4]
    for number, section in enumerate(sections):
        struct.pack_into("<IIQQQQIIQQ", file, 0x3D00 + 64 * number, *section)

    headers = [(1, 5, 0, 0, 0, SIZE, SIZE, 4096), (4, 4, 0x200, 0x200, 0x200, len(note), len(note), 4)]
    if header:
        headers.append((0x6474E550, 4, table_at, table_at, table_at, len(hdr), len(hdr), 4))
    for number, row in enumerate(headers):
        struct.pack_into("<IIQQQQQQ", file, 64 + 56 * number, *row)
    count = len(sections)
    file[:16] = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    names_at = 4 if symbols else 1
    fields = (3, machine, 1, TEXT, 64, 0x3D00, 0, 64, 56, len(headers), 64, count, names_at)
    struct.pack_into("<HHIQQQIHHHHHH", file, 16, *fields)
    return bytes(file)


def registers(machine: int, pc: int, sp: int, **others: int) -> bytes:
    """elf_gregset_t with these; `others` by index: r4=... is the fifth long."""
    known = elfnote.REGISTERS[machine]
    values = [0] * known.count
    values[known.pc], values[known.sp] = pc, sp
    for name, value in others.items():
        values[int(name[1:])] = value
    return struct.pack(f"<{known.count}Q", *values)


def dead(
    segments: list[tuple[int, bytes, int]],
    threads: list[bytes],
    *,
    machine: int = elfnote.EM_X86_64,
    files: tuple[MappedFile, ...] = (),
    notes: bytes = b"",
    auxv: dict[int, int] | None = None,
) -> tuple[BytesSource, Layout]:
    """The core of a process with these (address, bytes, PF_*) and the registers of these threads."""
    data, rows = b"", []
    for address, contents, flags in segments:
        rows.append(Segment((1, flags, len(data), address, 0, len(contents), len(contents), 4096)))
        data += contents
    known = elfnote.REGISTERS[machine]
    found = []
    for number, values in enumerate(threads):
        longs = struct.unpack(f"<{known.count}Q", values)
        found.append(
            Thread(tid=100 + number, signal=11, registers=values, pc=longs[known.pc], sp=longs[known.sp])
        )
    layout = Layout(
        abi=Abi(word=8, order="<", machine=machine),
        head=notes,
        notes_at=0,
        segments=tuple(rows),
        size=len(data),
        threads=tuple(found),
        files=files,
        auxv=auxv or {},
    )
    return BytesSource(data), layout


def image(
    file: bytes, base: int, stack: bytes, threads: list[bytes], *, machine: int = elfnote.EM_X86_64
) -> Image:
    """A process with `file` mapped at `base`, whose text is not in the core, and `stack` at STACK."""
    core, layout = dead(
        [(base, file[:0x1000], corefile.PF_R), (STACK, stack, corefile.PF_R | corefile.PF_W)],
        threads,
        machine=machine,
        files=(MappedFile(start=base, end=base + SIZE, offset=0, path=b"/lib/built.so"),),
    )
    return Image(core, layout, {b"/lib/built.so": BytesSource(file)})


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)
