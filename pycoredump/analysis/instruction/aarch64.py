"""Memory operands of A64 instructions (Arm Architecture Reference Manual, C4.1 "Loads and Stores")."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pycoredump.analysis.instruction import MASK, READ, UPDATE, WRITE, Access

Registers = Mapping[str, int]


def accesses(code: bytes, registers: Registers, pc: int) -> Iterator[Access]:
    """What the instruction uses. IndexError, KeyError."""
    if len(code) < 4:
        raise IndexError
    word = int.from_bytes(code[:4], "little")
    if word & 0x3B000000 == 0x39000000:
        kind, scale = _single(word)
        yield from _based(word, registers, kind, 1 << scale, (word >> 10 & 0xFFF) << scale)
    elif word & 0x3B200000 == 0x38000000:
        kind, scale = _single(word)
        after = word >> 10 & 3 == 1  # post-index: the base changes when it has been used
        yield from _based(word, registers, kind, 1 << scale, 0 if after else _signed(word >> 12, 9))
    elif word & 0x3B200C00 == 0x38200800:
        yield from _indexed(word, registers)
    elif word & 0x3B200C00 == 0x38200000:
        yield from _based(word, registers, UPDATE, 1 << (word >> 30), 0)
    elif word & 0x3A000000 == 0x28000000:
        yield from _pair(word, registers)
    elif word & 0x3B000000 == 0x18000000:
        offset = _signed(word >> 5, 19) * 4
        yield Access(
            kind=READ, address=pc + offset & MASK, size=4, terms=(("pc", pc, 1),), displacement=offset
        )
    elif word & 0x3F000000 == 0x08000000:
        yield from _based(word, registers, READ if word >> 22 & 1 else WRITE, 1 << (word >> 30), 0)
    elif word & 0xBE000000 == 0x0C000000:
        yield from _based(word, registers, READ if word >> 22 & 1 else WRITE, 0, 0)
    elif word & 0xFFFFFFE0 == 0xD50B7420:  # dc zva
        name = f"x{word & 31}"
        yield Access(kind=WRITE, address=registers[name], size=0, terms=((name, registers[name], 1),))


def _single(word: int) -> tuple[str, int]:
    """Kind and log2 of the size of a load or store of one register."""
    size, vector, opcode = word >> 30, word >> 26 & 1, word >> 22 & 3
    if vector:
        return (READ if opcode & 1 else WRITE), size | (opcode >> 1) << 2
    return (READ if opcode else WRITE), size


def _base(word: int) -> str:
    number = word >> 5 & 31
    return "sp" if number == 31 else f"x{number}"


def _based(word: int, registers: Registers, kind: str, size: int, offset: int) -> Iterator[Access]:
    name = _base(word)
    value = registers[name]
    yield Access(
        kind=kind, address=value + offset & MASK, size=size, terms=((name, value, 1),), displacement=offset
    )


def _indexed(word: int, registers: Registers) -> Iterator[Access]:
    kind, scale = _single(word)
    base, number, option = _base(word), word >> 16 & 31, word >> 13 & 7
    value = 0 if number == 31 else registers[f"x{number}"]
    if option & 3 == 2:  # uxtw, sxtw
        value &= 0xFFFFFFFF
        value -= (value >> 31 & option >> 2) << 32
    factor = 1 << scale if word >> 12 & 1 else 1
    terms = ((base, registers[base], 1), (f"x{number}" if number < 31 else "xzr", value, factor))
    address = registers[base] + value * factor & MASK
    yield Access(kind=kind, address=address, size=1 << scale, terms=terms)


def _pair(word: int, registers: Registers) -> Iterator[Access]:
    opcode, vector, load = word >> 30, word >> 26 & 1, word >> 22 & 1
    size = 4 << opcode if vector else 8 if opcode == 2 else 4
    offset = 0 if word >> 23 & 3 == 1 else _signed(word >> 15, 7) * size
    yield from _based(word, registers, READ if load else WRITE, 2 * size, offset)


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (value >> bits - 1 << bits)
