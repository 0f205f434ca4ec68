"""The parts of one 64-bit little-endian ELF file that a backtrace needs, read when they are asked for (elf(5))."""

from __future__ import annotations

import functools
import lzma
import struct
import zlib

from pycoredump.analysis.source import BytesSource, Source
from pycoredump.errors import CoreError
from pycoredump.record import Record

ET_EXEC = 2
PT_LOAD = 1
PT_DYNAMIC = 2
PT_NOTE = 4
PT_GNU_EH_FRAME = 0x6474E550
PF_X = 1
PF_W = 2
SHT_SYMTAB = 2
SHT_NOBITS = 8
SHT_DYNSYM = 11
SHF_COMPRESSED = 0x800
NT_GNU_BUILD_ID = 3
NT_FDO_PACKAGE = 0xCAFE1A7E
PAGE = 4096

SEGMENTS_MAX = 128  # real files have about a dozen
NOTE_SEGMENTS_MAX = 8
NOTES_MAX = 1 << 16  # bytes of one PT_NOTE
DECOMPRESSED_MAX = 64 << 20  # bytes of one section; larger ones are not worth the sandbox's memory


class Segment(Record):
    """One program header."""

    type: int
    flags: int
    offset: int
    vaddr: int
    filesz: int
    memsz: int


class Section(Record):
    """One section header."""

    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    entry: int


class Elf:
    """An ELF file behind a Source. CoreError wherever it is not what it claims."""

    def __init__(self, source: Source) -> None:
        self.source = source
        head = source.read(0, 64)
        if head[:4] != b"\x7fELF":
            raise CoreError(f"The file begins with {head[:4]!r}, which is not ELF")
        if head[4:6] != b"\x02\x01":
            raise CoreError("The file is not a 64-bit little-endian ELF file")

        fields = struct.unpack_from("<HHIQQQIHHHHHH", head, 16)
        self.type, self.machine = fields[0], fields[1]
        self.entry = fields[3]
        self._section_table = (fields[5], fields[10], fields[11], fields[12])
        self.segments = self._segments(fields[4], fields[8], fields[9])
        self.loads = tuple(s for s in self.segments if s.type == PT_LOAD)

    def _segments(self, offset: int, size: int, count: int) -> tuple[Segment, ...]:
        if count == 0:
            return ()
        if size != 56 or count > SEGMENTS_MAX:
            raise CoreError(f"The file has {count} program headers of {size} bytes")

        rows = struct.iter_unpack("<IIQQQQQQ", self.source.read(offset, size * count))
        return tuple(
            Segment(type=t, flags=f, offset=o, vaddr=v, filesz=fs, memsz=ms)
            for t, f, o, v, _, fs, ms, _ in rows
        )

    @functools.cached_property
    def sections(self) -> tuple[Section, ...]:
        """() if the file has none, or they are not mapped, or make no sense."""
        offset, size, count, names_at = self._section_table
        if offset == 0 or count == 0 or size != 64 or names_at >= count:
            return ()

        try:
            rows = list(struct.iter_unpack("<IIQQQQIIQQ", self.source.read(offset, size * count)))
            names = self.source.read(rows[names_at][4], min(rows[names_at][5], 1 << 20))
        except CoreError:
            return ()
        return tuple(
            Section(
                name=names[n : max(names.find(b"\0", n), n)].decode("ascii", "replace"),
                type=t,
                flags=f,
                address=a,
                offset=o,
                size=s,
                link=link,
                entry=entry,
            )
            for n, t, f, a, o, s, link, _, _, entry in rows
        )

    def section(self, name: str) -> Section | None:
        """None if there is none of that name, or it has no contents in this file (a debug file's .text)."""
        found = self._by_name.get(name)
        return found if found is not None and found.type != SHT_NOBITS and found.size else None

    @property
    def has_lines(self) -> bool:
        """Are there line tables? Cheap enough to ask of every module."""
        return self.section(".debug_line") is not None or self.section(".zdebug_line") is not None

    @functools.cached_property
    def _by_name(self) -> dict[str, Section]:
        return {section.name: section for section in reversed(self.sections)}

    def contents(self, section: Section, limit: int = DECOMPRESSED_MAX) -> bytes:
        """The contents, decompressed. CoreError if they are larger than `limit` bytes."""
        if section.size > limit:
            raise CoreError(f"Section {section.name} has {section.size} bytes, more than {limit}")

        data = self.source.read(section.offset, section.size)
        if section.flags & SHF_COMPRESSED:
            kind, _, size, _ = struct.unpack_from("<IIQQ", data) if len(data) >= 24 else (0, 0, 0, 0)
            if kind != 1 or size > limit:
                raise CoreError(
                    f"Section {section.name} is compressed in a way (type {kind}) that is not read"
                )
            return _inflate(data[24:], size)
        if data[:4] == b"ZLIB" and section.name.startswith(".zdebug"):
            size = int.from_bytes(data[4:12], "big")
            return _inflate(data[12:], min(size, limit))
        return data

    def offset(self, vaddr: int) -> int:
        """Where the byte at `vaddr` stands in the file. CoreError if it is not in it."""
        for segment in self.loads:
            if segment.vaddr <= vaddr < segment.vaddr + segment.filesz:
                return segment.offset + vaddr - segment.vaddr
        raise CoreError(f"Address {vaddr:#x} is not in the file")

    def read(self, vaddr: int, size: int) -> bytes:
        return self.source.read(self.offset(vaddr), size)

    def flags(self, vaddr: int) -> int:
        """PF_* of the segment around `vaddr`, 0 outside all of them."""
        for segment in self.loads:
            if segment.vaddr <= vaddr < segment.vaddr + segment.memsz:
                return segment.flags
        return 0

    def bias(self, start: int, offset: int) -> int:
        """Run-time address minus p_vaddr, from a mapping of the file at `start` of `offset`."""
        if self.type == ET_EXEC:
            return 0
        for segment in self.loads:
            if segment.offset // PAGE * PAGE <= offset < segment.offset + max(segment.filesz, 1):
                return start - offset + segment.offset - segment.vaddr
        raise CoreError(f"Offset {offset:#x} is in no segment of the file")

    def notes(self) -> list[tuple[bytes, int, bytes]]:
        """(owner, type, description) of every PT_NOTE that can be read."""
        found: list[tuple[bytes, int, bytes]] = []
        segments = [s for s in self.segments if s.type == PT_NOTE and s.filesz <= NOTES_MAX]
        for segment in segments[:NOTE_SEGMENTS_MAX]:
            try:
                found += _notes(self.source.read(segment.offset, segment.filesz))
            except CoreError:
                continue
        return found

    @functools.cached_property
    def build_id(self) -> str:
        """Lower-case hex of NT_GNU_BUILD_ID, "" if there is none."""
        for owner, kind, description in self.notes():
            if owner == b"GNU" and kind == NT_GNU_BUILD_ID and 2 <= len(description) <= 64:
                return description.hex()
        return ""

    @functools.cached_property
    def package_note(self) -> bytes:
        """.note.package: JSON by https://systemd.io/PACKAGE_METADATA_FOR_EXECUTABLE_FILES, b"" if none."""
        for owner, kind, description in self.notes():
            if owner == b"FDO" and kind == NT_FDO_PACKAGE:
                return description.rstrip(b"\0")
        return b""

    @functools.cached_property
    def dynamic(self) -> dict[int, int]:
        """DT_* -> value, the first of each; {} without PT_DYNAMIC."""
        for segment in self.segments:
            if segment.type == PT_DYNAMIC:
                try:
                    data = self.source.read(segment.offset, min(segment.filesz, 1 << 16) // 16 * 16)
                except CoreError:
                    return {}
                values: dict[int, int] = {}
                for tag, value in struct.iter_unpack("<qQ", data):
                    if tag == 0:
                        break
                    values.setdefault(tag, value)
                return values
        return {}

    @functools.cached_property
    def mini(self) -> Elf | None:
        """The file inside .gnu_debugdata ("mini debug info"), None if there is none that can be read."""
        section = self.section(".gnu_debugdata")
        if section is None:
            return None
        try:
            packed = self.contents(section, 16 << 20)
            unpacker = lzma.LZMADecompressor(memlimit=96 << 20)
            return Elf(BytesSource(unpacker.decompress(packed, DECOMPRESSED_MAX)))
        except (CoreError, lzma.LZMAError, EOFError):
            return None


def _inflate(data: bytes, size: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, max(size, 1))
    except zlib.error as e:
        raise CoreError(f"A compressed section is damaged: {e}") from e


def _notes(data: bytes) -> list[tuple[bytes, int, bytes]]:
    found = []
    at = 0
    while at + 12 <= len(data):
        name_size, size, kind = struct.unpack_from("<III", data, at)
        start = at + 12 + (name_size + 3 & ~3)
        if start + size > len(data):
            break
        found.append((data[at + 12 : at + 12 + name_size].rstrip(b"\0"), kind, data[start : start + size]))
        at = start + (size + 3 & ~3)
    return found
