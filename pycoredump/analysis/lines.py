"""Source file and line of an address, where a module or its debug file has line tables (DWARF 5, 6.2).

pyelftools reads the structures; the line number program itself, which has a million steps in a large
program, is run here. Only the unit around the address is read. Everything is bounded in size and time:
a line number is a comfort.
"""

from __future__ import annotations

import _bisect
import functools
import io
import posixpath
import struct
import time
from collections.abc import Iterator

from pycoredump.analysis import pyelftools
from pycoredump.analysis.elf import SHF_COMPRESSED, Elf, Section
from pycoredump.analysis.expression import sleb, uleb
from pycoredump.analysis.image import Image
from pycoredump.analysis.model import Module
from pycoredump.analysis.source import BytesSource, Source
from pycoredump.errors import CoreError

pyelftools.load()

from elftools.construct import Container  # noqa: E402 - load() imports it cheaply
from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo  # noqa: E402
from elftools.dwarf.lineprogram import LineProgram  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from typing_extensions import Buffer  # collections.abc has it from Python 3.12 on

    class _Attribute(Protocol):
        value: int
        form: str


SECONDS = 2.0  # for all lookups of one process
ARANGES_MAX = 16 << 20  # bytes
PROGRAM_MAX = 4 << 20  # bytes of one unit's line number program
ROWS_MAX = 400_000  # rows of one unit
UNITS_MAX = 2000  # units looked at where no .debug_aranges says which it is
TABLES_MAX = 8  # units whose rows are kept


class Lines:
    """The line tables of one process's modules."""

    def __init__(self, image: Image, seconds: float = SECONDS) -> None:
        self._image = image
        self._left = seconds
        self._modules: dict[int, _Dwarf | None] = {}

    def find(self, module: Module, address: int) -> tuple[str, int]:
        """(file, line) of the code at `address` (of the process), ("", 0) if nothing says."""
        if self._left <= 0:
            return "", 0

        began = time.monotonic()
        try:
            dwarf = self._of(module)
            return dwarf.find(address - module.bias, began + self._left) if dwarf else ("", 0)
        finally:
            self._left -= time.monotonic() - began

    def _of(self, module: Module) -> _Dwarf | None:
        if module.start not in self._modules:
            files = (self._image.elf(module), self._image.debug(module))
            file = next(
                (f for f in files if f and _section(f, "debug_line") and _section(f, "debug_info")), None
            )
            self._modules[module.start] = _Dwarf(file) if file else None
        return self._modules[module.start]


def _section(file: Elf, name: str) -> Section | None:
    return file.section(f".{name}") or file.section(f".z{name}")


_Unit = object  # of pyelftools, which has no types


class _Dwarf:
    """One file's debug info."""

    def __init__(self, file: Elf) -> None:
        self._file = file
        self._tables: dict[int, _Table | None] = {}
        self._units: list[tuple[int, int, int]] | None = None
        self._broken = False

    def find(self, vaddr: int, deadline: float) -> tuple[str, int]:
        if self._broken:
            return "", 0
        try:
            unit = self._unit(vaddr, deadline)
            table = self._table(unit, deadline) if unit is not None else None
            return table.find(vaddr) if table else ("", 0)
        except Exception:  # what pyelftools raises for damaged tables is any of a dozen kinds
            self._broken = True
            return "", 0

    def _unit(self, vaddr: int, deadline: float) -> int | None:
        """Offset of the compilation unit around `vaddr` in .debug_info."""
        if self._units is None:
            self._units = sorted(self._ranges(deadline))
        at = _bisect.bisect_right(self._units, (vaddr, 1 << 64, 0)) - 1
        for start, end, unit in reversed(self._units[max(at - 8, 0) : at + 1]):
            if start <= vaddr < end:
                return unit
        return None

    def _ranges(self, deadline: float) -> Iterator[tuple[int, int, int]]:
        section = _section(self._file, "debug_aranges")
        if section is not None:
            yield from _aranges(self._file.contents(section, ARANGES_MAX))
            return
        yield from self._unit_ranges(deadline)

    # clang and rustc write no .debug_aranges: each unit's own root entry says what it covers.
    def _unit_ranges(self, deadline: float) -> Iterator[tuple[int, int, int]]:
        dwarf = self._dwarf
        for number, unit in enumerate(dwarf.iter_CUs()):
            if number >= UNITS_MAX or time.monotonic() > deadline:
                return
            root = unit.get_top_DIE()
            low, high = root.attributes.get("DW_AT_low_pc"), root.attributes.get("DW_AT_high_pc")
            if low is not None and high is not None:
                end = high.value if high.form == "DW_FORM_addr" else low.value + high.value
                yield low.value, end, unit.cu_offset
            elif "DW_AT_ranges" in root.attributes:
                base = low.value if low else 0
                for start, end in self._range_list(unit, root.attributes["DW_AT_ranges"], base):
                    yield start, end, unit.cu_offset

    def _range_list(self, unit: _Unit, attribute: _Attribute, base: int) -> Iterator[tuple[int, int]]:
        for entry in self._dwarf.range_lists().get_range_list_at_offset(attribute.value, cu=unit):
            if hasattr(entry, "base_address"):
                base = entry.base_address
            else:
                shift = 0 if getattr(entry, "is_absolute", False) else base
                yield entry.begin_offset + shift, entry.end_offset + shift

    @functools.cached_property
    def _dwarf(self) -> DWARFInfo:
        # Not by ELFFile.get_dwarf_info(), which reads all debug sections of the file into memory.
        code = DWARFInfo.__init__.__code__  # releases differ in the sections that they take
        names = [n for n in code.co_varnames[1 : code.co_argcount] if n != "config"]
        config = DwarfConfig(little_endian=True, machine_arch="", default_address_size=8)
        return DWARFInfo(config, **{name: self._descriptor(name) for name in names})

    def _descriptor(self, parameter: str) -> DebugSectionDescriptor | None:
        name = parameter.removesuffix("_sec")
        section = _section(self._file, name)
        if section is None or not name.startswith("debug_"):
            return None
        size, stream = (
            section.size,
            io.BufferedReader(_Stream(self._file.source, section.offset, section.size), 4096),
        )
        if section.flags & SHF_COMPRESSED or section.name.startswith(".zdebug"):
            data = self._file.contents(section)
            size, stream = len(data), io.BufferedReader(_Stream(BytesSource(data), 0, len(data)), 4096)
        return DebugSectionDescriptor(
            stream=stream, name=section.name, global_offset=section.offset, size=size, address=0
        )

    def _table(self, unit: int, deadline: float) -> _Table | None:
        if unit not in self._tables:
            if len(self._tables) >= TABLES_MAX:
                self._tables.clear()
            program = self._dwarf.line_program_for_CU(self._dwarf.get_CU_at(unit))
            self._tables[unit] = _Table(program, deadline) if program else None
        return self._tables[unit]


class _Stream(io.RawIOBase):
    """A part of a Source as the file that pyelftools wants."""

    def __init__(self, source: Source, start: int, size: int) -> None:
        self._source = source
        self._start = start
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(offset + (0, self._at, self._size)[whence], 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        size = max(min(len(view), self._size - self._at), 0)
        view[:size] = self._source.read(self._start + self._at, size)
        self._at += size
        return size


class _Table:
    """The rows of one unit's line number program, sorted by address."""

    def __init__(self, program: LineProgram, deadline: float) -> None:
        self._header = program.header
        size = program.program_end_offset - program.program_start_offset
        if not 0 <= size <= PROGRAM_MAX:
            raise CoreError(f"A line number program has {size} bytes")
        program.stream.seek(program.program_start_offset)
        self._rows = _rows(program.stream.read(size), program.header, deadline)
        self._rows.sort()

    def find(self, vaddr: int) -> tuple[str, int]:
        at = _bisect.bisect_right(self._rows, (vaddr, 1 << 64, 0, 0)) - 1
        for start, end, file, line in reversed(self._rows[max(at - 4, 0) : at + 1]):
            if start <= vaddr < end and line:
                return self._file(file), line
        return "", 0

    def _file(self, number: int) -> str:
        header = self._header
        first = 0 if header["version"] >= 5 else 1
        files, directories = header["file_entry"], header["include_directory"]
        if not 0 <= number - first < len(files):
            return ""

        entry = files[number - first]
        name, directory = _text(entry["name"]), entry["dir_index"] or 0
        # Directory 0 is where the compiler ran: of no interest on another machine.
        if not directory or name.startswith("/") or not 0 <= directory - first < len(directories):
            return name
        return posixpath.join(_text(directories[directory - first]), name)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _aranges(data: bytes) -> Iterator[tuple[int, int, int]]:
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


def _rows(code: bytes, header: Container, deadline: float) -> list[tuple[int, int, int, int]]:
    """(start, end, file number, line) for each row but the last of each sequence (DWARF 5, 6.2.5)."""
    rows: list[tuple[int, int, int, int]] = []
    base, line_base, line_range = header["opcode_base"], header["line_base"], header["line_range"] or 1
    step, lengths = header["minimum_instruction_length"], header["standard_opcode_lengths"]
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
