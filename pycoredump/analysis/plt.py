"""Names of the stubs in .plt, .plt.sec and .plt.got (x86-64): `write@plt`, as gdb has them."""

from __future__ import annotations

import struct

from pycoredump.analysis.elf import SHT_DYNSYM, Elf
from pycoredump.errors import CoreError

EM_X86_64 = 62
SHT_RELA = 4
R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT = 6, 7
SECTION_MAX = 4 << 20  # bytes
_JUMP = b"\xff\x25"  # jmp *disp32(%rip)


def names(file: Elf) -> dict[int, str]:
    """Address of each stub -> name of the function that it jumps to. CoreError if a table is damaged."""
    if file.machine != EM_X86_64:
        return {}

    slots = _slots(file)
    found: dict[int, str] = {}
    for section in file.sections:
        if not section.name.startswith(".plt") or section.size > SECTION_MAX:
            continue
        data = file.contents(section)
        step = 8 if section.name == ".plt.got" else 16
        for at in range(0, len(data), step):
            jump = data.find(_JUMP, at, at + step)
            if jump < 0 or jump + 6 > len(data):
                continue
            target = (
                section.address + jump + 6 + int.from_bytes(data[jump + 2 : jump + 6], "little", signed=True)
            )
            if target in slots:
                found[section.address + at] = slots[target]
    return found


def _slots(file: Elf) -> dict[int, str]:
    """Address in the GOT -> name of the function whose address is stored there."""
    number = next((i for i, s in enumerate(file.sections) if s.type == SHT_DYNSYM), None)
    if number is None or file.sections[number].link >= len(file.sections):
        return {}

    symbols = file.contents(file.sections[number], SECTION_MAX * 4)
    strings = file.contents(file.sections[file.sections[number].link], SECTION_MAX * 4)
    slots: dict[int, str] = {}
    for section in file.sections:
        if section.type != SHT_RELA or section.link != number or section.size > SECTION_MAX * 4:
            continue
        data = file.contents(section)
        for place, info, _ in struct.iter_unpack("<QQq", data[: len(data) // 24 * 24]):
            if info & 0xFFFFFFFF in (R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT):
                slots[place] = _name(symbols, strings, info >> 32)
    return slots


def _name(symbols: bytes, strings: bytes, index: int) -> str:
    if (index + 1) * 24 > len(symbols):
        raise CoreError("A relocation names a symbol that is not there")
    at = int.from_bytes(symbols[index * 24 : index * 24 + 4], "little")
    return strings[at : strings.find(b"\0", at)].decode("utf-8", "replace")
