"""Call frame information: how to find the caller's registers at an address (DWARF 5, 6.4; LSB, .eh_frame).

Lookup is by binary search in .eh_frame_hdr; only the one FDE and its CIE are read. Sections that have no
such table (.debug_frame, .eh_frame of odd linkers) are indexed once, within bounds.
"""

from __future__ import annotations

import bisect
import functools
import struct

from pycoredump.analysis import elf
from pycoredump.analysis.callframe import MASK, Cie, Fde, Row, row_at
from pycoredump.analysis.elf import Elf
from pycoredump.analysis.expression import sleb, uleb
from pycoredump.errors import CoreError

ENTRY_MAX = 256 << 10  # bytes of one CIE or FDE
INDEX_MAX = 300_000  # entries of a section without a search table
SECTION_MAX = 32 << 20  # bytes of a section without a search table
ROWS_MAX = 20_000  # rows kept per module

_SIZES = {
    0x02: (2, False),
    0x03: (4, False),
    0x04: (8, False),
    0x0A: (2, True),
    0x0B: (4, True),
    0x0C: (8, True),
}
_SIZES[0x00] = (8, False)  # DW_EH_PE_absptr
OMIT = 0xFF


def pointer(data: bytes, at: int, encoding: int, field: int, base: int = 0) -> tuple[int, int]:
    """A DW_EH_PE_* value whose first byte has address `field`, and where it ends; `base` is for datarel."""
    form = encoding & 0x0F
    if form == 0x01:
        value, end = uleb(data, at)
    elif form == 0x09:
        value, end = sleb(data, at)
    elif form in _SIZES:
        size, signed = _SIZES[form]
        if at + size > len(data):
            raise CoreError("A table ends within a pointer")
        value, end = int.from_bytes(data[at : at + size], "little", signed=signed), at + size
    else:
        raise CoreError(f"Pointer encoding {encoding:#x} is unknown")

    relative = encoding & 0x70
    if relative == 0x10:
        value += field
    elif relative == 0x30:
        value += base
    elif relative:
        raise CoreError(f"Pointer encoding {encoding:#x} is unknown")
    return value & MASK, end


class _Section:
    """One section of entries: .eh_frame by address, .debug_frame by offset."""

    eh = True

    def __init__(self, file: Elf) -> None:
        self._file = file
        self._cies: dict[int, Cie] = {}

    def read(self, at: int, size: int) -> bytes:
        return self._file.read(at, size)

    def entry(self, at: int) -> tuple[int, bytes, int, int]:
        """(id, body after the id, position of the id, end) of the entry at `at`."""
        head = self.read(at, 4)
        length = int.from_bytes(head, "little")
        start, wide = at + 4, False
        if length == 0xFFFFFFFF:
            length = int.from_bytes(self.read(at + 4, 8), "little")
            start, wide = at + 12, True
        # .eh_frame keeps the id at 4 bytes also in entries of 64-bit length.
        id_size = 8 if wide and not self.eh else 4
        if length == 0:
            raise CoreError("The call frame information ends here")
        if not id_size <= length <= ENTRY_MAX:
            raise CoreError(f"An entry of call frame information has {length} bytes")

        data = self.read(start, length)
        return int.from_bytes(data[:id_size], "little"), data[id_size:], start, start + length

    def is_cie(self, number: int) -> bool:
        return number == 0

    def cie_at(self, number: int, position: int) -> int:
        return position - number

    def cie(self, at: int) -> Cie:
        found = self._cies.get(at)
        if found is None:
            number, body, _, _ = self.entry(at)
            if not self.is_cie(number):
                raise CoreError("An FDE does not point to a CIE")
            found = self._cies[at] = _cie(body)
        return found

    def fde(self, at: int) -> Fde:
        """The FDE at `at`. CoreError if it is none."""
        number, body, position, end = self.entry(at)
        if self.is_cie(number):
            raise CoreError("A CIE stands where an FDE should")

        cie = self.cie(self.cie_at(number, position))
        body_at = end - len(body)
        start, next_ = pointer(body, 0, cie.encoding, body_at)
        length, next_ = pointer(body, next_, cie.encoding & 0x0F, 0)
        if cie.augmented:
            size, next_ = uleb(body, next_)
            next_ += size
        return Fde(start=start, end=start + length, cie=cie, instructions=body[next_:])


class _DebugFrame(_Section):
    eh = False

    def __init__(self, file: Elf, data: bytes) -> None:
        super().__init__(file)
        self._data = data

    def read(self, at: int, size: int) -> bytes:
        if at < 0 or at + size > len(self._data):
            raise CoreError("The call frame information ends within an entry")
        return self._data[at : at + size]

    def is_cie(self, number: int) -> bool:
        return number in (0xFFFFFFFF, MASK)

    def cie_at(self, number: int, position: int) -> int:
        return number


def _cie(body: bytes) -> Cie:
    version = body[0] if body else 0
    end = body.find(b"\0", 1)
    if version not in (1, 3, 4) or end < 0:
        raise CoreError(f"A CIE of version {version}")

    augmentation, at = body[1:end], end + 1
    if augmentation == b"eh":
        at += 8
    if version == 4:
        if body[at : at + 2] != b"\x08\x00":
            raise CoreError("A CIE of another address size")
        at += 2
    code, at = uleb(body, at)
    data, at = sleb(body, at)
    if version == 1:
        ra, at = (body[at], at + 1) if at < len(body) else (0, at)
    else:
        ra, at = uleb(body, at)

    encoding, signal = 0, False
    if augmentation[:1] == b"z":
        size, at = uleb(body, at)
        encoding, signal = _augmentation(augmentation[1:], body[at : at + size])
        at += size
    elif augmentation not in (b"", b"eh"):
        raise CoreError(f"CIE augmentation {augmentation!r} is unknown")
    return Cie(
        code=code,
        data=data,
        ra=ra,
        encoding=encoding,
        augmented=augmentation[:1] == b"z",
        signal=signal,
        instructions=body[at:],
    )


def _augmentation(letters: bytes, data: bytes) -> tuple[int, bool]:
    encoding, signal, at = 0, False, 0
    for letter in letters:
        if letter in b"SBG":  # signal frame; aarch64: B key, tagged stack
            signal |= letter == ord("S")
        elif letter in b"LRP" and at < len(data):
            value, at = data[at], at + 1
            if letter == ord("R"):
                encoding = value
            if letter == ord("P"):
                _, at = pointer(data, at, value & 0x0F, 0)
        else:
            break  # z tells the size of what is not understood
    return encoding, signal


class Tables:
    """The call frame information of one file (and of its separate debug file, if there is one)."""

    def __init__(self, file: Elf, debug: Elf | None = None) -> None:
        self._file = file
        self._debug = debug
        self._eh = _Section(file)
        self._rows: dict[int, Row | None] = {}
        self._fdes: dict[int, Fde] = {}

    def row(self, address: int) -> Row | None:
        """What holds at `address` (of the file), None if nothing says. CoreError if a table is damaged."""
        if address in self._rows:
            return self._rows[address]

        fde = self._find(address)
        row = row_at(fde, address) if fde else None
        if len(self._rows) >= ROWS_MAX:
            self._rows.clear()
        self._rows[address] = row
        return row

    def function(self, address: int) -> tuple[int, int] | None:
        """Start and end of the entry around `address`: mostly those of the function."""
        fde = self._find(address)
        return (fde.start, fde.end) if fde else None

    def _find(self, address: int) -> Fde | None:
        damage: CoreError | None = None
        for find in (self._by_header, self._by_index):
            try:
                fde = find(address)
            except CoreError as e:
                damage = e
                continue
            if fde is not None:
                return fde
        if damage is not None:
            raise damage
        return None

    def _by_header(self, address: int) -> Fde | None:
        header = self._header
        if header is None:
            return None

        offset, count, vaddr, wide = header
        form, size = ("<qq", 16) if wide else ("<ii", 8)
        low, high = 0, count
        while low < high:  # the last entry whose start is not above the address
            middle = (low + high) // 2
            start, _ = struct.unpack(form, self._file.source.read(offset + middle * size, size))
            if (start + vaddr) & MASK <= address:
                low = middle + 1
            else:
                high = middle
        if low == 0:
            return None
        _, at = struct.unpack(form, self._file.source.read(offset + (low - 1) * size, size))
        fde = self._cached(self._eh, (at + vaddr) & MASK)
        return fde if fde.start <= address < fde.end else None

    def _cached(self, section: _Section, at: int) -> Fde:
        if section is not self._eh:
            return section.fde(at)
        fde = self._fdes.get(at)
        if fde is None:
            if len(self._fdes) >= ROWS_MAX:
                self._fdes.clear()
            fde = self._fdes[at] = section.fde(at)
        return fde

    @functools.cached_property
    def _header(self) -> tuple[int, int, int, bool] | None:
        """(offset of the search table, entries, address that they count from, 8 bytes each)."""
        for segment in self._file.segments:
            if segment.type == elf.PT_GNU_EH_FRAME and segment.filesz >= 12:
                try:
                    return self._search_table(segment)
                except CoreError:
                    return None
        return None

    def _search_table(self, segment: elf.Segment) -> tuple[int, int, int, bool] | None:
        head = self._file.source.read(segment.offset, min(segment.filesz, 28))
        version, start_encoding, count_encoding, table_encoding = head[:4]
        if version != 1 or OMIT in (start_encoding, count_encoding) or table_encoding not in (0x3B, 0x3C):
            return None

        _, at = pointer(head, 4, start_encoding, segment.vaddr + 4, segment.vaddr)
        count, at = pointer(head, at, count_encoding, segment.vaddr + at, segment.vaddr)
        wide = table_encoding == 0x3C
        if count == 0 or count * (16 if wide else 8) > segment.filesz:
            return None
        return segment.offset + at, count, segment.vaddr, wide

    def _by_index(self, address: int) -> Fde | None:
        for starts, places, section in self._indices:
            at = bisect.bisect_right(starts, address) - 1
            if at >= 0:
                fde = section.fde(places[at])
                if fde.start <= address < fde.end:
                    return fde
        return None

    @functools.cached_property
    def _indices(self) -> list[tuple[list[int], list[int], _Section]]:
        indices = []
        if self._header is None:
            indices += self._eh_index()
        for file in (self._file, self._debug):
            section = file.section(".debug_frame") or file.section(".zdebug_frame") if file else None
            if file is None or section is None:
                continue
            try:
                data = file.contents(section, SECTION_MAX)
            except CoreError:
                continue
            indices.append(_index(_DebugFrame(file, data), 0, len(data)))
        return indices

    def _eh_index(self) -> list[tuple[list[int], list[int], _Section]]:
        section = self._file.section(".eh_frame")
        if section is None or section.size > SECTION_MAX:
            return []
        return [_index(self._eh, section.address, section.address + section.size)]


def _index(section: _Section, at: int, end: int) -> tuple[list[int], list[int], _Section]:
    found: list[tuple[int, int]] = []
    while at < end and len(found) < INDEX_MAX:
        try:
            number, body, position, next_ = section.entry(at)
            if not section.is_cie(number):
                cie = section.cie(section.cie_at(number, position))
                found.append((pointer(body, 0, cie.encoding, next_ - len(body))[0], at))
        except CoreError:
            try:  # an entry of no use; the next one is found by its length alone
                next_ = at + 4 + int.from_bytes(section.read(at, 4), "little")
            except CoreError:
                break
            if next_ == at + 4 + 0xFFFFFFFF:
                break
        at = next_
    found.sort()
    return [start for start, _ in found], [at for _, at in found], section
