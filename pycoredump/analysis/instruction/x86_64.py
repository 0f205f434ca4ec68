"""Memory operands of x86-64 instructions (Intel SDM volume 2, chapters 2 and appendix A)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pycoredump.analysis.instruction import JUMP, MASK, READ, UPDATE, WRITE, Access
from pycoredump.record import Record

NAMES = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
Registers = Mapping[str, int]

REX_W, REX_R, REX_X, REX_B = 8, 4, 2, 1
PREFIXES = {0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3}
SEGMENTS = {0x64: "fs_base", 0x65: "gs_base"}
LENGTH_MAX = 15


class Head(Record):
    """Everything before the ModRM byte."""

    map: int  # 0: one byte, 1: 0F, 2: 0F 38, 3: 0F 3A
    opcode: int
    rex: int
    prefixes: frozenset[int]
    at: int  # offset of what follows the opcode
    vector: int = 0  # bytes of a VEX or EVEX vector register
    scaled: int = 1  # EVEX: what an 8-bit displacement is multiplied by

    @property
    def operand(self) -> int:
        """Bytes of an operand whose size follows the prefixes."""
        return 8 if self.rex & REX_W else 2 if 0x66 in self.prefixes else 4


def head(code: bytes) -> Head:
    """IndexError if the bytes end too early."""
    prefixes = set()
    at = 0
    while code[at] in PREFIXES and at < LENGTH_MAX:
        prefixes.add(code[at])
        at += 1
    if code[at] in (0xC4, 0xC5, 0x62):
        return _vector(code, at, frozenset(prefixes))

    rex = 0
    if code[at] & 0xF0 == 0x40:
        rex = code[at] & 15
        at += 1
    table = 0
    if code[at] == 0x0F:
        at += 1
        table = {0x38: 2, 0x3A: 3}.get(code[at], 1)
        at += table > 1
    return Head(map=table, opcode=code[at], rex=rex, prefixes=frozenset(prefixes), at=at + 1)


# VEX and EVEX hold the inverted bits of REX and the prefix that they replace.
def _vector(code: bytes, at: int, prefixes: frozenset[int]) -> Head:
    implied = (None, 0x66, 0xF3, 0xF2)
    if code[at] == 0xC5:
        last, rex, table, opcode_at = code[at + 1], (~code[at + 1] >> 7 & 1) * REX_R, 1, at + 2
        wide = 0
    else:
        table = code[at + 1] & (0x1F if code[at] == 0xC4 else 7)
        rex, last = ~code[at + 1] >> 5 & 7, code[at + 2]
        wide = (last >> 7) * REX_W
        opcode_at = at + (3 if code[at] == 0xC4 else 4)
    vector = 32 if last & 4 else 16
    scaled = 1
    if code[at] == 0x62:
        vector = scaled = 16 << min(code[at + 3] >> 5 & 3, 2)
    prefix = implied[last & 3]
    return Head(
        map=table,
        opcode=code[opcode_at],
        rex=rex | wide,
        prefixes=prefixes | ({prefix} if prefix else set()),
        at=opcode_at + 1,
        vector=vector,
        scaled=scaled,
    )


def accesses(code: bytes, registers: Registers, pc: int) -> Iterator[Access]:
    """What the instruction uses, the most likely to be at fault first. IndexError, KeyError."""
    one = head(code)
    if one.map == 0:
        implied = list(_implied(one, registers))
        if implied:
            yield from implied
            return
    how = _how(one, code[one.at])
    if how is None or code[one.at] >> 6 == 3:
        return
    kind, size, immediate = how
    yield _memory(code, one, registers, pc, kind=kind, size=size, immediate=immediate)
    if one.map == 0 and one.opcode == 0xFF and code[one.at] >> 3 & 7 in (2, 6):
        yield _stack(registers, WRITE, -8)


def divisor(code: bytes, registers: Registers, pc: int) -> str:
    """The operand of div and idiv, "" for everything else. IndexError, KeyError."""
    one = head(code)
    if one.map or one.opcode not in (0xF6, 0xF7) or code[one.at] >> 3 & 7 not in (6, 7):
        return ""
    if code[one.at] >> 6 == 3:
        return NAMES[code[one.at] & 7 | (one.rex & REX_B) << 3]
    return _memory(code, one, registers, pc, kind=READ, size=one.operand, immediate=0).text


# Instructions that have no ModRM byte.
def _implied(one: Head, registers: Registers) -> Iterator[Access]:
    opcode = one.opcode
    size = 1 if not opcode & 1 else one.operand
    if opcode in (0xA4, 0xA5):  # movs
        yield _at(registers, "rdi", WRITE, size)
        yield _at(registers, "rsi", READ, size)
    elif opcode in (0xA6, 0xA7):  # cmps
        yield _at(registers, "rsi", READ, size)
        yield _at(registers, "rdi", READ, size)
    elif opcode in (0xAA, 0xAB):  # stos
        yield _at(registers, "rdi", WRITE, size)
    elif opcode in (0xAC, 0xAD):  # lods
        yield _at(registers, "rsi", READ, size)
    elif opcode in (0xAE, 0xAF):  # scas
        yield _at(registers, "rdi", READ, size)
    elif 0x50 <= opcode <= 0x57 or opcode in (0x68, 0x6A, 0x9C, 0xE8, 0xC8):  # push, call, enter
        yield _stack(registers, WRITE, -8)
    elif 0x58 <= opcode <= 0x5F or opcode in (0xC2, 0xC3, 0x9D):  # pop, ret
        yield _stack(registers, READ, 0)
    elif opcode == 0xC9:  # leave
        yield _at(registers, "rbp", READ, 8)


def _at(registers: Registers, name: str, kind: str, size: int) -> Access:
    return Access(kind=kind, address=registers[name], size=size, terms=((name, registers[name], 1),))


def _stack(registers: Registers, kind: str, displacement: int) -> Access:
    sp = registers["rsp"]
    address = sp + displacement & MASK
    return Access(kind=kind, address=address, size=8, terms=(("rsp", sp, 1),), displacement=displacement)


def _memory(
    code: bytes, one: Head, registers: Registers, pc: int, *, kind: str, size: int, immediate: int
) -> Access:
    modrm = code[one.at]
    mode, rm = modrm >> 6, modrm & 7
    at = one.at + 1
    terms: list[tuple[str, int, int]] = []
    relative = False
    if rm == 4:
        sib = code[at]
        at += 1
        index = sib >> 3 & 7 | (one.rex & REX_X) << 2
        if sib & 7 != 5 or mode:
            _term(terms, registers, NAMES[sib & 7 | (one.rex & REX_B) << 3], 1)
        if index != 4:
            _term(terms, registers, NAMES[index], 1 << (sib >> 6))
        wide = sib & 7 == 5 and mode == 0
    else:
        relative = rm == 5 and mode == 0
        wide = relative
        if not relative:
            _term(terms, registers, NAMES[rm | (one.rex & REX_B) << 3], 1)

    width = 4 if wide or mode == 2 else 1 if mode == 1 else 0
    if len(code) < at + width:
        raise IndexError
    displacement = int.from_bytes(code[at : at + width], "little", signed=True)
    if width == 1:
        displacement *= one.scaled
    for prefix, name in SEGMENTS.items():
        if prefix in one.prefixes:
            _term(terms, registers, name, 1)
    if relative:
        terms.append(("rip", pc + at + width + immediate, 1))
    address = sum(value * factor for _, value, factor in terms) + displacement & MASK
    return Access(kind=kind, address=address, size=size, terms=tuple(terms), displacement=displacement)


def _term(terms: list[tuple[str, int, int]], registers: Registers, name: str, factor: int) -> None:
    terms.append((name, registers[name], factor))


How = tuple[str, int, int]  # kind, bytes of memory, bytes of immediate


def _how(one: Head, modrm: int) -> How | None:
    """What the instruction does with its ModRM operand, None if it has none or does nothing with it."""
    if one.map == 0:
        return _one_byte(one, modrm >> 3 & 7)
    if one.map == 1:
        return _two_bytes(one, modrm >> 3 & 7)
    size = one.vector or 16
    if one.map == 2:
        if one.opcode in (0xF0, 0xF1) and not one.vector:
            write = one.opcode == 0xF1 and 0xF2 not in one.prefixes
            return (WRITE if write else READ, one.operand, 0)
        return (WRITE if one.opcode in (0x2E, 0x2F, 0x8E) else READ, size, 0)
    if one.map == 3:
        if one.opcode in (0x14, 0x15, 0x16, 0x17):
            return WRITE, (1, 2, 8 if one.rex & REX_W else 4, 4)[one.opcode - 0x14], 1
        return (WRITE if one.opcode in (0x19, 0x39, 0x1D, 0x1B, 0x3B) else READ, size, 1)
    return None


def _one_byte(one: Head, group: int) -> How | None:
    opcode = one.opcode
    size = one.operand if opcode & 1 else 1
    constant = min(one.operand, 4)  # bytes of a full immediate
    if opcode < 0x40 and opcode & 7 < 4:
        compares = opcode & 0xF8 == 0x38
        return (READ if opcode & 2 or compares else UPDATE, size, 0)
    if opcode in (0x80, 0x81, 0x83):
        return (READ if group == 7 else UPDATE, size, constant if opcode == 0x81 else 1)
    if opcode in (0xF6, 0xF7):
        immediate = (constant if opcode & 1 else 1) if group < 2 else 0
        return (UPDATE if group in (2, 3) else READ, size, immediate)
    if opcode == 0xFF and group >= 2:
        return (JUMP if group in (2, 3, 4, 5) else READ, 8, 0)
    if 0xD8 <= opcode <= 0xDF:
        stores = {0xD9: (2, 3, 6, 7), 0xDB: (1, 2, 3, 7), 0xDD: (1, 2, 3, 6, 7), 0xDF: (1, 2, 3, 6, 7)}
        return (WRITE if group in stores.get(opcode, ()) else READ, 0, 0)
    simple: dict[int, How] = {
        0x63: (READ, 4, 0),
        0x69: (READ, one.operand, constant),
        0x6B: (READ, one.operand, 1),
        0x8C: (WRITE, 2, 0),
        0x8E: (READ, 2, 0),
        0x8F: (WRITE, 8, 0),
        0xC0: (UPDATE, 1, 1),
        0xC1: (UPDATE, one.operand, 1),
        0xC6: (WRITE, 1, 1),
        0xC7: (WRITE, one.operand, constant),
    }
    kinds = {
        0x84: READ, 0x85: READ, 0x86: UPDATE, 0x87: UPDATE, 0x88: WRITE, 0x89: WRITE, 0x8A: READ, 0x8B: READ,
        0xD0: UPDATE, 0xD1: UPDATE, 0xD2: UPDATE, 0xD3: UPDATE, 0xFE: UPDATE, 0xFF: UPDATE,
    }  # fmt: skip
    return simple.get(opcode) or ((kinds[opcode], size, 0) if opcode in kinds else None)


def _two_bytes(one: Head, group: int) -> How | None:
    opcode = one.opcode
    if opcode in (0x0D, 0x18, 0x1E, 0x1F) or 0x80 <= opcode <= 0x8F or opcode in (0x05, 0x0B, 0x31, 0xA2):
        return None  # prefetch, nop, jumps, and what has no operand
    immediate = 1 if opcode in (0x70, 0x71, 0x72, 0x73, 0xA4, 0xAC, 0xBA, 0xC2, 0xC4, 0xC5, 0xC6) else 0
    if opcode == 0xBA:
        return (READ if group == 4 else UPDATE, one.operand, immediate)
    if opcode == 0xAE:
        return (WRITE if group in (0, 3, 4, 6) else READ, 0, 0)
    updates = {0xAB, 0xB3, 0xBB, 0xA4, 0xA5, 0xAC, 0xAD, 0xB0, 0xB1, 0xC0, 0xC1, 0xC7}
    if opcode in updates:
        return (UPDATE, 1 if opcode in (0xB0, 0xC0) else one.operand, immediate)
    if 0x90 <= opcode <= 0x9F:
        return (WRITE, 1, 0)
    if opcode in (0xB6, 0xBE):
        return (READ, 1, 0)
    if opcode in (0xB7, 0xBF):
        return (READ, 2, 0)
    if 0x40 <= opcode <= 0x4F or opcode in (0xA3, 0xAF, 0xB8, 0xBC, 0xBD):
        return (READ, one.operand, 0)
    if opcode == 0xC3:
        return (WRITE, one.operand, 0)
    writes = {0x11, 0x13, 0x17, 0x29, 0x2B, 0x7F, 0xD6, 0xE7}
    stores = opcode in writes or (opcode == 0x7E and 0xF3 not in one.prefixes)
    return (WRITE if stores else READ, _vector_size(one), immediate)


def _vector_size(one: Head) -> int:
    if one.opcode in (0x12, 0x13, 0x16, 0x17, 0xD6) or (one.opcode == 0x7E and 0xF3 in one.prefixes):
        return 8
    if one.opcode in (0x6E, 0x7E):
        return 8 if one.rex & REX_W else 4
    if one.opcode in (0x6F, 0x7F):
        return one.vector or (16 if {0x66, 0xF3} & one.prefixes else 8)
    if one.opcode in (0x10, 0x11, 0x51, 0x58, 0x59, 0x5A, 0x5C, 0x5D, 0x5E, 0x5F, 0x2A, 0x2C, 0x2D):
        if 0xF3 in one.prefixes:
            return 4
        if 0xF2 in one.prefixes:
            return 8
    if one.opcode in (0x2E, 0x2F):
        return 8 if 0x66 in one.prefixes else 4
    return one.vector or 16
