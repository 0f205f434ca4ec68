"""The units of one file's debug information: which code each is about and where its line table stands (DWARF 2 to 5).

Of every unit only the header and the root entry are read; who wants types and variables has a debugger. Ours, not
pyelftools': that inflates every debug section and reads whole tables of abbreviations, which costs each crash on a
host with debug packages eight times as much as all the rest of its backtrace.
"""

from __future__ import annotations

import _bisect
import struct
import time

from pycoredump.analysis.expression import sleb, uleb
from pycoredump.analysis.forms import FORM_ADDR, FORM_IMPLICIT_CONST, FORM_RNGLISTX, FORMS_ADDRX, form_value
from pycoredump.analysis.part import part
from pycoredump.errors import CoreError
from pycoredump.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycoredump.analysis.elf import Elf

    Value = tuple[int, int]  # (DW_FORM_*, the number)

ARANGES_MAX = 16 << 20  # bytes
UNITS_MAX = 2000  # units looked at where no .debug_aranges says which it is
ABBREVIATIONS_MAX = 1000  # looked at for the one of a root entry, which is the first or second of its table
ATTRIBUTES_MAX = 100  # of a root entry
RANGES_MAX = 10_000  # of one unit
HEAD = 4096  # bytes of a unit, and of a table of abbreviations, that are looked at

AT_STMT_LIST, AT_LOW_PC, AT_HIGH_PC, AT_RANGES = 0x10, 0x11, 0x12, 0x55
AT_ADDR_BASE, AT_RNGLISTS_BASE = 0x73, 0x74


class Unit(Record):
    """The head of a unit and its root entry."""

    end: int  # in .debug_info
    version: int
    offset_size: int  # 8 in 64-bit DWARF
    attributes: dict[int, Value]

    def number(self, attribute: int, otherwise: int = 0) -> int:
        return self.attributes.get(attribute, (0, otherwise))[1]


class Units:
    """The units of one file. CoreError, struct.error, LookupError and ValueError for what is damaged."""

    def __init__(self, file: Elf) -> None:
        self._info = part(file, "debug_info")
        self._abbreviations = part(file, "debug_abbrev")
        self._aranges = part(file, "debug_aranges")
        self._addresses = part(file, "debug_addr")
        self._old_ranges = part(file, "debug_ranges")
        self._range_lists = part(file, "debug_rnglists")
        self._places: list[tuple[int, int, int]] | None = None

    def line_table(self, vaddr: int, deadline: float) -> int | None:
        """Offset in .debug_line of the table for the code at `vaddr`; None if no unit is about it."""
        if self._places is None:
            self._places = sorted(self._ranges(deadline))
        at = _bisect.bisect_right(self._places, (vaddr, 1 << 64, 0)) - 1
        for start, end, unit in reversed(self._places[max(at - 8, 0) : at + 1]):
            if start <= vaddr < end:
                return self.unit(unit).attributes.get(AT_STMT_LIST, (0, None))[1]
        return None

    def unit(self, offset: int) -> Unit:
        data = self._info.some(offset, HEAD)
        length, at, offset_size = initial_length(data)
        end = offset + at + length
        (version,) = struct.unpack_from("<H", data, at)
        at += 2
        if not 2 <= version <= 5:
            raise CoreError(f"DWARF {version} is not known")
        kind = 0
        if version >= 5:
            kind = data[at]
            at += 2  # and the size of an address, which that of the file tells
        abbreviations = int.from_bytes(data[at : at + offset_size], "little")
        at += offset_size + (1 if version < 5 else 0)
        at += {4: 8, 5: 8, 2: 8 + offset_size, 6: 8 + offset_size}.get(kind, 0)  # DW_UT_skeleton, …_type

        code, at = uleb(data, at)
        attributes: dict[int, Value] = {}
        for attribute, form, constant in self._abbreviation(abbreviations, code):
            value = constant
            if form != FORM_IMPLICIT_CONST:
                value, at = form_value(form, data, at, offset_size)
            attributes.setdefault(attribute, (form, value))
        return Unit(end=end, version=version, offset_size=offset_size, attributes=attributes)

    def _abbreviation(self, offset: int, code: int) -> list[tuple[int, int, int]]:
        """(attribute, form, value of an implicit constant)."""
        data = self._abbreviations.some(offset, HEAD)
        at = 0
        for _ in range(ABBREVIATIONS_MAX):
            own, at = uleb(data, at)
            if not own:
                break
            _, at = uleb(data, at)  # the tag
            at += 1  # whether it has children
            found = []
            for _ in range(ATTRIBUTES_MAX):
                attribute, at = uleb(data, at)
                form, at = uleb(data, at)
                constant = 0
                if form == FORM_IMPLICIT_CONST:
                    constant, at = sleb(data, at)
                if not attribute and not form:
                    break
                found.append((attribute, form, constant))
            if own == code:
                return found
        raise CoreError(f"Abbreviation {code} is missing")

    def _ranges(self, deadline: float) -> Iterator[tuple[int, int, int]]:
        if self._aranges.size:
            yield from aranges(self._aranges.read(0, min(self._aranges.size, ARANGES_MAX)))
            return

        # clang and rustc write no .debug_aranges: each unit's own root entry says what it covers.
        offset = 0
        for _ in range(UNITS_MAX):
            if offset >= self._info.size or time.monotonic() > deadline:
                return
            unit = self.unit(offset)
            for start, end in self._covered(unit):
                yield start, end, offset
            offset = unit.end

    def _covered(self, unit: Unit) -> Iterator[tuple[int, int]]:
        low = self._address(unit, AT_LOW_PC)
        if AT_RANGES in unit.attributes:
            form, value = unit.attributes[AT_RANGES]
            if unit.version < 5:
                yield from self._old_list(value, low)
                return
            if form == FORM_RNGLISTX:
                base = unit.number(AT_RNGLISTS_BASE)
                entry = self._range_lists.read(base + value * unit.offset_size, unit.offset_size)
                value = base + int.from_bytes(entry, "little")
            yield from self._list(value, low, unit)
        elif AT_HIGH_PC in unit.attributes:
            form, high = unit.attributes[AT_HIGH_PC]
            absolute = form == FORM_ADDR or form in FORMS_ADDRX
            yield low, self._address(unit, AT_HIGH_PC) if absolute else low + high

    def _address(self, unit: Unit, attribute: int) -> int:
        form, value = unit.attributes.get(attribute, (FORM_ADDR, 0))
        return self._indexed(unit, value) if form in FORMS_ADDRX else value

    def _indexed(self, unit: Unit, index: int) -> int:
        return int.from_bytes(self._addresses.read(unit.number(AT_ADDR_BASE, 8) + index * 8, 8), "little")

    def _old_list(self, offset: int, base: int) -> Iterator[tuple[int, int]]:
        for number in range(RANGES_MAX):
            start, end = struct.unpack("<QQ", self._old_ranges.read(offset + number * 16, 16))
            if start == (1 << 64) - 1:
                base = end
            elif start or end:
                yield base + start, base + end
            else:
                return

    def _list(self, offset: int, base: int, unit: Unit) -> Iterator[tuple[int, int]]:
        """A list of .debug_rnglists (DWARF 5, 2.17.3)."""
        for _ in range(RANGES_MAX):
            data = self._range_lists.some(offset, 32)  # no entry is longer
            kind, at = data[0], 1
            first = second = 0
            if kind in (1, 2, 3, 4):
                first, at = uleb(data, at)
            elif kind in (5, 6, 7):
                first, at = int.from_bytes(data[1:9], "little"), 9
            if kind in (2, 3, 4, 7):
                second, at = uleb(data, at)
            elif kind == 6:
                second, at = int.from_bytes(data[9:17], "little"), 17
            if kind in (1, 2, 3):  # DW_RLE_base_addressx, startx_endx, startx_length
                first = self._indexed(unit, first)
            if kind == 0 or kind > 7:
                return
            if kind in (1, 5):
                base = first
            elif kind == 2:
                yield first, self._indexed(unit, second)
            elif kind == 4:
                yield base + first, base + second
            elif kind == 6:
                yield first, second
            else:
                yield first, first + second
            offset += at


def initial_length(data: bytes) -> tuple[int, int, int]:
    """A unit's length, where what it counts begins, and the size of an offset (DWARF 5, 7.4)."""
    (length,) = struct.unpack_from("<I", data)
    if length < 0xFFFFFFF0:
        return length, 4, 4
    return *struct.unpack_from("<Q", data, 4), 12, 8


def aranges(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(start, end, offset of the unit) of .debug_aranges."""
    at = 0
    while at + 12 <= len(data):
        length, version, unit, address_size, segment_size = struct.unpack_from("<IHIBB", data, at)
        end = at + 4 + length
        if length >= 0xFFFFFFF0 or version != 2 or address_size != 8 or segment_size:
            if length >= 0xFFFFFFF0:  # 64-bit DWARF, which no distribution uses
                return
            at = end
            continue
        first = at + 16  # tuples are aligned to their size
        for start, size in struct.iter_unpack("<QQ", data[first : first + max(end - first, 0) // 16 * 16]):
            if size:
                yield start, start + size, unit
        at = end
