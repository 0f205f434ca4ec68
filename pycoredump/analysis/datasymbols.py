"""Addresses of variables by name: of the few that libraries leave their last words in."""

from __future__ import annotations

import struct

from pycoredump.analysis.elf import SHT_DYNSYM, SHT_SYMTAB, Elf, Section
from pycoredump.analysis.image import Image
from pycoredump.analysis.model import Module
from pycoredump.errors import CoreError
from pycoredump.record import Record

TABLE_MAX = 48 << 20  # bytes of a symbol table, and of its names
TWINS_MAX = 16  # places where a name stands in the string table: as a tail of others, for example
ENTRY = struct.Struct("<IBBHQQ")  # Elf64_Sym


class Variable(Record):
    """Where a variable is in the process."""

    address: int
    size: int


def find(process: Image, module: Module, name: str) -> Variable | None:
    """None if no table of the module names it. Looks at .dynsym, then at .symtab."""
    file = process.elf(module)
    if file is None:
        return None
    for kind in (SHT_DYNSYM, SHT_SYMTAB):
        for section in file.sections:
            if section.type == kind:
                found = _in_table(file, section, name)
                if found is not None:
                    return found.replace(address=found.address + module.bias)
    return None


def _in_table(file: Elf, section: Section, name: str) -> Variable | None:
    if section.link >= len(file.sections):
        return None
    names = file.sections[section.link]
    if section.size > TABLE_MAX or names.size > TABLE_MAX:
        return None
    try:
        strings = file.source.read(names.offset, names.size)
        wanted = set(_places(strings, name.encode() + b"\0"))
        if not wanted:
            return None
        table = file.source.read(section.offset, section.size // ENTRY.size * ENTRY.size)
    except CoreError:
        return None
    return _entry(table, wanted)


def _places(strings: bytes, name: bytes) -> list[int]:
    places: list[int] = []
    at = strings.find(name)
    while at >= 0 and len(places) < TWINS_MAX:
        places.append(at)
        at = strings.find(name, at + 1)
    return places


# Searched as bytes: a loop over the 100,000 symbols of a large program takes a tenth of a second.
def _entry(table: bytes, wanted: set[int]) -> Variable | None:
    for place in wanted:
        pattern = struct.pack("<I", place)
        at = table.find(pattern)
        while at >= 0:
            if at % ENTRY.size == 0:
                _, _, _, section, value, size = ENTRY.unpack_from(table, at)
                if section and value:
                    return Variable(address=value, size=size)
            at = table.find(pattern, at + 1)
    return None
