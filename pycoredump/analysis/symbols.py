"""Function names by address, from .symtab, .dynsym, .gnu_debugdata and separate debug files.

Which of several symbols names an address is decided as gdb does it (minsyms.c), so that both tell the
same story: of equal addresses a global one, then the last name in byte order, sized symbols before labels, and no name at
all behind the end of a sized symbol.
"""

from __future__ import annotations

import bisect
import struct
import time
from collections.abc import Callable, Iterator

from pycoredump.analysis import plt
from pycoredump.analysis.elf import SHT_DYNSYM, SHT_SYMTAB, Elf, Section
from pycoredump.analysis.image import Image
from pycoredump.analysis.model import Module
from pycoredump.errors import CoreError
from pycoredump.record import Record

SYMBOLS_MAX = 1_000_000  # of one table; about 70 MB while it is in use
LARGE = 200_000  # symbols; of tables this large only the last one used is kept
STRINGS_MAX = 512 << 20  # bytes of .strtab
NAME_MAX = 4096  # bytes; longer ones (templates) are cut
BACK_MAX = 1000  # symbols looked back at from an address

STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_GNU_IFUNC = 0, 1, 2, 10
STB_LOCAL = 0
_CODE = frozenset((STT_NOTYPE, STT_FUNC, STT_GNU_IFUNC))
_DATA = frozenset((STT_NOTYPE, STT_OBJECT))
SHF_EXECINSTR = 4
SHN_LORESERVE = 0xFF00
_ENTRY = struct.Struct("<IBBHQQ")  # Elf64_Sym

DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_GNU_HASH = 4, 5, 6, 10, 0x6FFFFEF5


class Symbol(Record):
    """A function, or a label in code."""

    name: str  # as in the file: mangled, without @VERSION
    address: int
    size: int  # 0 if not known


class Strings:
    """A string table."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        self._size = min(size, STRINGS_MAX)

    def at(self, offset: int) -> str:
        """The name at `offset`, "" if there is none."""
        for length in (64, NAME_MAX):
            size = min(length, self._size - offset)
            if offset < 0 or size <= 0:
                return ""
            data = self._read(offset, size)
            end = data.find(b"\0")
            if end >= 0 or size < length or length == NAME_MAX:
                return data[: end if end >= 0 else size].decode("utf-8", "replace")
        return ""


class Table:
    """One symbol table, sorted by address."""

    def __init__(
        self,
        data: bytes,
        strings: Strings,
        is_wanted: Callable[[int], bool],
        kinds: frozenset[int] = _CODE,
    ) -> None:
        """`is_wanted` tells of a section, by its number, whether it has what is looked for."""
        self._data = data
        self._strings = strings
        keys: list[int] = [
            value << 24 | index
            for index, (_, info, _, section, value, _) in enumerate(_ENTRY.iter_unpack(data))
            if info & 15 in kinds and value and section > 0 and is_wanted(section)
        ]
        keys.sort()
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, address: int, section: int) -> Symbol | None:
        """The symbol around `address` of the file, in section number `section` (-1: any)."""
        keys = self._keys
        at = bisect.bisect_right(keys, address << 24 | 0xFFFFFF) - 1
        label: int | None = None
        for back in range(at, max(at - BACK_MAX, -1), -1):
            value, size, where = self._place(back)
            if section >= 0 and where != section:
                continue
            if size == 0:
                label = back if label is None else label
                continue
            if address < value + size:
                return self._symbol(back)
            if back == 0 or not self._covers(back - 1, address):
                break
        return self._symbol(label) if label is not None else None

    def address(self, name: str) -> int | None:
        """Where the function `name` is. Slow: looks at every name."""
        for key in self._keys:
            at: int = _ENTRY.unpack_from(self._data, (key & 0xFFFFFF) * 24)[0]
            if self._strings.at(at).split("@", 1)[0] == name:
                return key >> 24
        return None

    def _place(self, at: int) -> tuple[int, int, int]:
        key = self._keys[at]
        _, _, _, section, _, size = _ENTRY.unpack_from(self._data, (key & 0xFFFFFF) * 24)
        return key >> 24, size, section

    def _covers(self, at: int, address: int) -> bool:
        value, size, _ = self._place(at)
        return size == 0 or address < value + size

    def _symbol(self, at: int) -> Symbol | None:
        # Of names for one place gdb takes a global one, and of these the last in order.
        value, size, _ = self._place(at)
        named = [self._read(twin, value) for twin in self._twins(at)]
        usable = [
            (found[0], found[1].name, found[1]) for found in named if found and (found[1].size or not size)
        ]
        return max(usable, key=lambda rank: rank[:2])[2] if usable else None

    def _twins(self, at: int) -> Iterator[int]:
        value = self._keys[at] >> 24
        first = bisect.bisect_left(self._keys, value << 24)
        for twin in range(first, min(first + BACK_MAX, len(self._keys))):
            if self._keys[twin] >> 24 != value:
                return
            yield twin

    def _read(self, at: int, value: int) -> tuple[bool, Symbol] | None:
        """(is it global, the symbol), None if its name is of no use."""
        fields = _ENTRY.unpack_from(self._data, (self._keys[at] & 0xFFFFFF) * 24)
        name = self._strings.at(fields[0]).split("@", 1)[0]
        if not name or name.startswith((".L", "$")):  # compilers' labels; arm64's mapping symbols
            return None
        return fields[1] >> 4 != STB_LOCAL, Symbol(name=name, address=value, size=fields[5])


def from_section(file: Elf, kind: int, *, code: bool = True) -> Table | None:
    """The table in section type SHT_SYMTAB or SHT_DYNSYM; None if there is none. CoreError if it is damaged.

    Its functions, or unless `code` its variables.
    """
    section = next((s for s in file.sections if s.type == kind and s.size), None)
    if section is None or section.link >= len(file.sections):
        return None
    if section.size > SYMBOLS_MAX * 24:
        raise CoreError(f"The symbol table has {section.size // 24} entries, more than {SYMBOLS_MAX}")

    names = file.sections[section.link]
    data = file.source.read(section.offset, section.size // 24 * 24)
    strings = Strings(lambda at, size: file.source.read(names.offset + at, size), names.size)
    wanted = [bool(s.flags & SHF_EXECINSTR) is code for s in file.sections]
    kinds = _CODE if code else _DATA
    return Table(data, strings, lambda index: index < len(wanted) and wanted[index], kinds)


def from_dynamic(file: Elf, bias: int) -> Table | None:
    """The table that PT_DYNAMIC points to: all that an image in memory has."""
    dynamic = file.dynamic
    if not dynamic.get(DT_SYMTAB) or not dynamic.get(DT_STRTAB):
        return None

    # ld.so writes run-time addresses over those of the file.
    table, names = (v - bias if v >= bias else v for v in (dynamic[DT_SYMTAB], dynamic[DT_STRTAB]))
    count = min(max(names - table, 0) // 24, SYMBOLS_MAX)  # linkers put the names directly behind
    if not count:
        return None
    data = file.read(table, count * 24)
    strings = Strings(lambda at, size: file.read(names + at, size), dynamic.get(DT_STRSZ, 0))
    return Table(data, strings, lambda section: section < SHN_LORESERVE)


class Symbols:
    """The names of one process's functions."""

    def __init__(self, image: Image, deadline: float | None = None) -> None:
        """After `deadline` (time.monotonic()) no further table is read."""
        self._image = image
        self._deadline = deadline
        self._tables: dict[int, list[Table]] = {}
        self._plts: dict[int, dict[int, str]] = {}
        self._found: dict[tuple[int, int], Symbol | None] = {}

    def find(self, module: Module, address: int) -> Symbol | None:
        """The function around `address` (of the process); its address is of the process, too."""
        key = (module.start, address)
        if key not in self._found:
            self._found[key] = self._find(module, address - module.bias, module.bias)
        return self._found[key]

    def address(self, module: Module, name: str) -> int | None:
        """Where the function `name` of that module is in the process, None if no table has it."""
        for table in self._of(module):
            try:
                found = table.address(name)
            except CoreError:
                continue
            if found is not None:
                return found + module.bias
        return None

    def _find(self, module: Module, vaddr: int, bias: int) -> Symbol | None:
        file = self._image.elf(module)
        if file is None:
            return None
        number, section = _section_at(file, vaddr)
        if section is not None and section.name.startswith(".plt"):
            name = self._plt(module, file).get(vaddr & ~15 if section.name != ".plt.got" else vaddr & ~7)
            if name:
                return Symbol(name=f"{name}@plt", address=(vaddr & ~15) + bias, size=16)

        tables = self._of(module)
        data = _data_section_at(file, vaddr) if section is None else -1
        if data >= 0:
            # Somebody jumped to data: the variable is named, as gdb does it.
            tables, number = self._data(module, file), data
        best: Symbol | None = None
        for table in tables:
            try:
                found = table.find(vaddr, number)
            except CoreError:
                continue
            if found is not None and (
                best is None or (found.address, found.name) > (best.address, best.name)
            ):
                best = found
        return best.replace(address=best.address + bias) if best else None

    def _plt(self, module: Module, file: Elf) -> dict[int, str]:
        if module.start not in self._plts:
            try:
                self._plts[module.start] = plt.names(file)
            except CoreError:
                self._plts[module.start] = {}
        return self._plts[module.start]

    def _of(self, module: Module) -> list[Table]:
        tables = self._tables.get(module.start)
        if tables is None:
            if self._deadline is not None and time.monotonic() > self._deadline:
                return []
            tables = list(self._read(module))
            if sum(map(len, tables)) > LARGE:
                self._tables = {k: v for k, v in self._tables.items() if sum(map(len, v)) <= LARGE}
            self._tables[module.start] = tables
        return tables

    def _data(self, module: Module, file: Elf) -> list[Table]:
        for candidate in (file, self._image.debug(module)):
            for kind in (SHT_SYMTAB, SHT_DYNSYM):
                table = _try(candidate, kind, code=False)
                if table is not None:
                    return [table]
        return []

    def _read(self, module: Module) -> Iterator[Table]:
        file = self._image.elf(module)
        if file is None:
            return
        for candidate in (file, self._image.debug(module)):
            table = _try(candidate, SHT_SYMTAB)
            if table is not None:
                yield table
                return

        table = _try(file, SHT_DYNSYM)
        if table is None:
            try:
                table = from_dynamic(file, module.bias)
            except CoreError:
                table = None
        if table is not None:
            yield table
        mini = _try(file.mini, SHT_SYMTAB)
        if mini is not None:
            yield mini


def _try(file: Elf | None, kind: int, *, code: bool = True) -> Table | None:
    try:
        return from_section(file, kind, code=code) if file is not None else None
    except CoreError:
        return None


def _section_at(file: Elf, vaddr: int) -> tuple[int, Section | None]:
    for number, section in enumerate(file.sections):
        if section.flags & SHF_EXECINSTR and section.address <= vaddr < section.address + section.size:
            return number, section
    return -1, None


def _data_section_at(file: Elf, vaddr: int) -> int:
    for number, section in enumerate(file.sections):
        if section.address and section.address <= vaddr < section.address + section.size:
            return number
    return -1
