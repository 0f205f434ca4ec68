"""The notes of an ELF core (elf(5), linux/elfcore.h): threads, signal, auxiliary vector, mapped files.

Runs before the release: tests/test_hot_path.py lists what this module may import. The kernel writes
these bytes, but archives travel: every length is checked and a note that does not fit is left out.
"""

from __future__ import annotations

import struct

from pycoredump.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# linux/elf.h
NT_PRSTATUS = 1
NT_PRPSINFO = 3
NT_AUXV = 6
NT_SIGINFO = 0x53494749
NT_FILE = 0x46494C45
NT_ARM_TLS = 0x401

EM_386 = 3
EM_ARM = 40
EM_X86_64 = 62
EM_AARCH64 = 183

# linux/auxvec.h
AT_NULL = 0
AT_PHDR = 3
AT_PHNUM = 5
AT_BASE = 7
AT_ENTRY = 9
AT_UID = 11
AT_EUID = 12
AT_GID = 13
AT_EGID = 14
AT_SECURE = 23
AT_SYSINFO_EHDR = 33

FILES_MAX = 1 << 18  # mappings read from NT_FILE; the kernel's default map count limit is 65530


class Abi(Record):
    """Where things stand in the notes of one kind of machine."""

    word: int  # bytes of a long
    order: str  # "<" or ">", as struct takes it
    machine: int  # e_machine

    def unpack(self, format: str, data: bytes | memoryview, offset: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + format, data, offset)

    @property
    def long(self) -> str:
        return "Q" if self.word == 8 else "I"


class Registers(Record):
    """Indices of the registers that everybody needs in elf_gregset_t."""

    count: int
    pc: int
    sp: int
    tls: int = -1  # -1: not among the general registers


# asm/user_64.h and user_32.h (x86), asm/ptrace.h (arm64: regs[31], sp, pc, pstate; arm: r0-r15, cpsr, orig_r0)
REGISTERS = {
    EM_X86_64: Registers(count=27, pc=16, sp=19, tls=21),
    EM_AARCH64: Registers(count=34, pc=32, sp=31),
    EM_386: Registers(count=17, pc=12, sp=15),
    EM_ARM: Registers(count=18, pc=15, sp=13),
}


class Note(Record):
    """One entry of PT_NOTE."""

    name: bytes
    type: int
    data: bytes


class Thread(Record):
    """NT_PRSTATUS of one thread; the kernel writes the crashing thread first."""

    tid: int  # in the PID namespace of the process
    signal: int  # pr_cursig
    registers: bytes  # elf_gregset_t as it stands in the note; b"" on machines we do not know
    pc: int = 0
    sp: int = 0
    tls: int = 0  # thread pointer: fs_base (x86-64), TPIDR_EL0 (arm64); 0 if unknown


class SignalInfo(Record):
    """NT_SIGINFO (sigaction(2)). Which of the fields say something depends on signal and code."""

    signal: int
    errno: int
    code: int
    address: int = 0  # si_addr; for SIGSYS the address of the system call instruction
    pid: int = 0  # si_pid of the sender, for SI_USER, SI_TKILL, SI_QUEUE
    uid: int = 0
    syscall: int = 0  # SIGSYS only
    arch: int = 0  # AUDIT_ARCH_* of the system call, SIGSYS only


class MappedFile(Record):
    """One mapping of NT_FILE."""

    start: int
    end: int
    offset: int  # in the file, bytes
    path: bytes


class ProcessInfo(Record):
    """NT_PRPSINFO."""

    comm: bytes  # at most 15 bytes
    arguments: bytes  # psargs: at most 79 bytes, the arguments joined by blanks


def notes(data: bytes | memoryview, abi: Abi) -> Iterator[Note]:
    """The notes in the contents of a PT_NOTE; stops at the first one that is not whole."""
    at = 0
    while at + 12 <= len(data):
        name_size, size, kind = abi.unpack("III", data, at)
        start = at + 12 + (name_size + 3 & ~3)
        if start + size > len(data):
            return

        yield Note(
            name=bytes(data[at + 12 : at + 12 + name_size]).rstrip(b"\0"),
            type=kind,
            data=bytes(data[start : start + size]),
        )
        at = start + (size + 3 & ~3)


def pack(note: Note, abi: Abi) -> bytes:
    """A note as it stands in a PT_NOTE: name and contents are each padded to four bytes."""
    name = note.name + b"\0"
    sizes = struct.pack(f"{abi.order}III", len(name), len(note.data), note.type)
    return sizes + name + bytes(-len(name) % 4) + note.data + bytes(-len(note.data) % 4)


def thread(data: bytes, abi: Abi) -> Thread | None:
    """struct elf_prstatus: the registers stand at 112 (64 bit) or 72 (32 bit). None if it is too short."""
    pid_at, registers_at = (32, 112) if abi.word == 8 else (24, 72)
    if len(data) < registers_at:
        return None

    (signal,) = abi.unpack("H", data, 12)
    (tid,) = abi.unpack("I", data, pid_at)
    known = REGISTERS.get(abi.machine)
    if known is None or len(data) < registers_at + known.count * abi.word:
        return Thread(tid=tid, signal=signal, registers=b"")

    registers = data[registers_at : registers_at + known.count * abi.word]
    values = abi.unpack(f"{known.count}{abi.long}", registers, 0)
    tls = values[known.tls] if known.tls >= 0 else 0
    return Thread(
        tid=tid, signal=signal, registers=registers, pc=values[known.pc], sp=values[known.sp], tls=tls
    )


def signal_info(data: bytes, abi: Abi) -> SignalInfo | None:
    """siginfo_t: the union begins at 16 (64 bit) or 12 (32 bit). None if it is too short."""
    union = 16 if abi.word == 8 else 12
    if len(data) < union + 16:
        return None

    signal, errno, code = abi.unpack("iii", data, 0)
    (address,) = abi.unpack(abi.long, data, union)
    pid, uid = abi.unpack("iI", data, union)
    syscall, arch = abi.unpack("iI", data, union + abi.word)
    return SignalInfo(
        signal=signal, errno=errno, code=code, address=address, pid=pid, uid=uid, syscall=syscall, arch=arch
    )


def auxiliary_vector(data: bytes, abi: Abi) -> dict[int, int] | None:
    """AT_* -> value (getauxval(3)). None unless AT_NULL ends it: half of it must not decide about access."""
    values: dict[int, int] = {}
    for at in range(0, len(data) - 2 * abi.word + 1, 2 * abi.word):
        key, value = abi.unpack(f"2{abi.long}", data, at)
        if key == AT_NULL:
            return values
        values[key] = value
    return None


def mapped_files(data: bytes, abi: Abi) -> tuple[MappedFile, ...]:
    """NT_FILE: count, page size, then (start, end, page offset) for each, then the names, NUL-terminated."""
    if len(data) < 2 * abi.word:
        return ()

    count, page = abi.unpack(f"2{abi.long}", data, 0)
    names_at = 2 * abi.word + count * 3 * abi.word
    if count > FILES_MAX or names_at > len(data):
        return ()

    rows = struct.iter_unpack(f"{abi.order}3{abi.long}", data[2 * abi.word : names_at])
    names = data[names_at:].split(b"\0")
    one: dict[bytes, bytes] = {}  # a large process maps the same few files over and over
    return tuple(
        MappedFile(start=start, end=end, offset=offset * page, path=one.setdefault(name, name))
        for (start, end, offset), name in zip(rows, names, strict=False)
    )


def process_info(data: bytes) -> ProcessInfo | None:
    """struct elf_prpsinfo ends in pr_fname[16] and pr_psargs[80] on every machine. None if it is too short."""
    if len(data) < 96:
        return None

    comm = data[-96:-80].split(b"\0", 1)[0]
    return ProcessInfo(comm=comm, arguments=data[-80:].split(b"\0", 1)[0].rstrip(b" "))
