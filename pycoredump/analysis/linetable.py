"""One unit's line table: its line number program, run, and the names of its files (DWARF 2 to 5; DWARF 5, 6.2)."""

from __future__ import annotations

import _bisect
import posixpath
import struct
import time

from pycoredump.analysis.debuginfo import initial_length
from pycoredump.analysis.expression import sleb, uleb
from pycoredump.analysis.forms import FORM_STRING, form_value
from pycoredump.errors import CoreError
from pycoredump.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycoredump.analysis.part import Part

    Entry = tuple[tuple[int, int], int]  # ((form of the name, where it is), number of its directory)

PROGRAM_MAX = 4 << 20  # bytes of one unit's line number program
HEADER_MAX = 1 << 20  # bytes of the names in front of it
ROWS_MAX = 400_000  # rows of one unit
NAME_MAX = 4096  # bytes

DW_LNCT_PATH, DW_LNCT_DIRECTORY_INDEX = 1, 2


class Header(Record):
    """What the line number program has to know of its own header (DWARF 5, 6.2.4)."""

    step: int  # minimum_instruction_length
    line_base: int
    line_range: int
    opcode_base: int
    lengths: bytes  # standard_opcode_lengths


class LineTable:
    """The rows of one unit's line number program, sorted by address."""

    def __init__(self, lines: Part, texts: dict[int, Part], offset: int, deadline: float) -> None:
        self._texts = texts
        length, at, self._offset_size = initial_length(lines.some(offset, 12))
        if not 0 <= length <= PROGRAM_MAX + HEADER_MAX:
            raise CoreError(f"A line table has {length} bytes")
        data = lines.read(offset + at, length)
        (version,) = struct.unpack_from("<H", data)
        at = 4 if version >= 5 else 2  # address and segment selector size, which the file tells
        code = at + self._offset_size + int.from_bytes(data[at : at + self._offset_size], "little")
        at += self._offset_size
        step, at = data[at], at + (2 if version >= 4 else 1)  # and operations per instruction
        _, line_base, line_range, opcode_base = struct.unpack_from("<BbBB", data, at)
        at += 4
        self._names = data[at + opcode_base - 1 : code]
        self._version = version
        header = Header(
            step=step,
            line_base=line_base,
            line_range=line_range or 1,
            opcode_base=opcode_base,
            lengths=data[at : at + opcode_base - 1],
        )
        self._rows = _rows(data[code:], header, deadline)
        self._rows.sort()
        self._files: list[Entry] = []
        self._directories: list[Entry] = []

    def find(self, vaddr: int) -> tuple[str, int]:
        """(file, line) of the code at `vaddr` of the file, ("", 0) if no row is about it."""
        at = _bisect.bisect_right(self._rows, (vaddr, 1 << 64, 0, 0)) - 1
        for start, end, file, line in reversed(self._rows[max(at - 4, 0) : at + 1]):
            if start <= vaddr < end and line:
                return self._file(file), line
        return "", 0

    def _file(self, number: int) -> str:
        if not self._files:
            read = self._read_names if self._version >= 5 else self._read_old_names
            self._directories, self._files = read()
        first = 0 if self._version >= 5 else 1
        if not 0 <= number - first < len(self._files):
            return ""

        reference, directory = self._files[number - first]
        name = self._string(reference)
        # Directory 0 is where the compiler ran: of no interest on another machine.
        if not directory or name.startswith("/") or not 0 <= directory - first < len(self._directories):
            return name
        return posixpath.join(self._string(self._directories[directory - first][0]), name)

    def _read_old_names(self) -> tuple[list[Entry], list[Entry]]:
        """Of DWARF 2 to 4: lists of strings, each ended by an empty one."""
        data, at = self._names, 0
        directories, files = [], []
        while data[at]:
            directories.append(((FORM_STRING, at), 0))
            at = data.index(b"\0", at) + 1
        at += 1
        while data[at]:
            name = (FORM_STRING, at)
            directory, at = uleb(data, data.index(b"\0", at) + 1)
            _, at = uleb(data, at)  # the time it was changed
            _, at = uleb(data, at)  # its size
            files.append((name, directory))
        return directories, files

    def _read_names(self) -> tuple[list[Entry], list[Entry]]:
        """Of DWARF 5: two tables that tell their own form."""
        directories, at = self._entries(0)
        files, _ = self._entries(at)
        return directories, files

    def _entries(self, at: int) -> tuple[list[Entry], int]:
        data = self._names
        count, at = data[at], at + 1
        formats = []
        for _ in range(count):
            kind, at = uleb(data, at)
            form, at = uleb(data, at)
            formats.append((kind, form))
        total, at = uleb(data, at)
        if total > len(data):  # there are forms of no size: of these, there could be any number
            raise CoreError(f"A line table names {total} files in {len(data)} bytes")
        found = []
        for _ in range(total):
            name, directory = (FORM_STRING, len(data)), 0
            for kind, form in formats:
                value, at = form_value(form, data, at, self._offset_size)
                if kind == DW_LNCT_PATH:
                    name = (form, value)
                elif kind == DW_LNCT_DIRECTORY_INDEX:
                    directory = value
            found.append((name, directory))
        return found, at

    def _string(self, reference: tuple[int, int]) -> str:
        form, value = reference
        if form == FORM_STRING:
            text = self._names[value : value + NAME_MAX]
        else:
            text = self._texts[form].some(value, NAME_MAX) if form in self._texts else b""
        return text.partition(b"\0")[0].decode("utf-8", "replace")


def _rows(code: bytes, header: Header, deadline: float) -> list[tuple[int, int, int, int]]:
    """(start, end, file number, line) for each row but the last of each sequence (DWARF 5, 6.2.5)."""
    rows: list[tuple[int, int, int, int]] = []
    base, line_base, line_range = header.opcode_base, header.line_base, header.line_range
    step, lengths = header.step, header.lengths
    address, file, line = 0, 1, 1
    last: tuple[int, int, int] | None = None
    at = 0
    while at < len(code):
        op = code[at]
        at += 1
        ended = False
        if op >= base:
            op -= base
            address += op // line_range * step
            line += line_base + op % line_range
        elif op == 0:
            size, at = uleb(code, at)
            kind, body = code[at : at + 1], code[at + 1 : at + size]
            at += max(size, 1)
            if kind == b"\x02":  # DW_LNE_set_address
                address = int.from_bytes(body, "little")
                continue
            if kind != b"\x01":  # DW_LNE_end_sequence
                continue
            ended = True
        elif op == 2:  # DW_LNS_advance_pc
            value, at = uleb(code, at)
            address += value * step
            continue
        elif op == 3:  # DW_LNS_advance_line
            value, at = sleb(code, at)
            line += value
            continue
        elif op == 4:  # DW_LNS_set_file
            file, at = uleb(code, at)
            continue
        elif op == 8:  # DW_LNS_const_add_pc
            address += (255 - base) // line_range * step
            continue
        elif op == 9:  # DW_LNS_fixed_advance_pc
            address += int.from_bytes(code[at : at + 2], "little")
            at += 2
            continue
        elif op != 1:  # not DW_LNS_copy: of no interest here
            for _ in range(lengths[op - 1]):
                _, at = uleb(code, at)
            continue

        if last is not None and last[0] < address:
            rows.append((last[0], address, last[1], last[2]))
            if len(rows) > ROWS_MAX or (len(rows) % 4096 == 0 and time.monotonic() > deadline):
                return rows
        last = (address, file, line)
        if ended:
            address, file, line, last = 0, 1, 1, None
    return rows
