"""The dead process as far as it is left: its memory and its modules.

    image = Image(core_fd, corefile.scan(...), {b"/usr/bin/cat": fd})
    image.memory.read(address, size)      bytes, or CoreError
    image.module(address)                 Module, or None
    image.elf(module)                     Elf: build id, sections, notes, symbols; or None

No path is opened here: whoever calls hands in descriptors of the module files (those of
/proc/PID/map_files, or found by analysis/debugfiles.py), or none. A file whose build id is not the one
in the core is not used.
"""

from __future__ import annotations

import bisect
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping

from pycoredump import corefile, elfnote
from pycoredump.analysis import elf
from pycoredump.analysis.elf import Elf
from pycoredump.analysis.model import Module
from pycoredump.analysis.source import FileSource, ImageSource, Source
from pycoredump.errors import CoreError

MODULES_MAX = 4096
READ_MAX = 16 << 20  # bytes of one read of the process's memory
VDSO = "linux-vdso.so.1"  # the name that libdw, and so systemd-coredump, gives it
PIECES_MAX = 4096  # segments that one read may touch

Fallback = Callable[[int, int], bytes]


class CoreMemory:
    """The bytes in the core's segments; what it lacks is asked of `fallback`(address, size)."""

    def __init__(self, source: Source, segments: tuple[corefile.Segment, ...]) -> None:
        rows = sorted((s.vaddr, s.vaddr + s.filesz, s.offset) for s in segments if s.filesz)
        self._source = source
        self._rows = rows
        self._starts = [row[0] for row in rows]
        self.fallback: Fallback | None = None

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes at `address`. CoreError if any of them is missing."""
        at = bisect.bisect_right(self._starts, address) - 1
        if at >= 0:
            start, end, offset = self._rows[at]
            if address + size <= end and size >= 0:
                return self._source.read(offset + address - start, size)

        return self._pieces(address, size)

    def word(self, address: int) -> int:
        """The 8 bytes at `address`, little-endian."""
        return int.from_bytes(self.read(address, 8), "little")

    def available(self, address: int, size: int) -> bytes:
        """As many of `size` bytes from `address` on as there are without a gap, perhaps none."""
        try:
            return self.read(address, size)
        except CoreError:
            parts: list[bytes] = []
            with contextlib.suppress(CoreError):
                self._collect(address, size, parts)
            return b"".join(parts)

    def _pieces(self, address: int, size: int) -> bytes:
        if not 0 <= size <= READ_MAX:
            raise CoreError(f"{size} bytes of memory at {address:#x} are asked for")

        parts: list[bytes] = []
        self._collect(address, size, parts)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _collect(self, address: int, size: int, parts: list[bytes]) -> None:
        size = min(size, READ_MAX)
        while size > 0:
            part = self._piece(address, size) if len(parts) < PIECES_MAX else b""
            if not part:
                raise CoreError(f"Memory at {address:#x} is not in the core")
            parts.append(part)
            address += len(part)
            size -= len(part)

    def _piece(self, address: int, size: int) -> bytes:
        at = bisect.bisect_right(self._starts, address)
        if at > 0:
            start, end, offset = self._rows[at - 1]
            if address < end:
                return self._source.read(offset + address - start, min(size, end - address))
        if self.fallback is None:
            return b""

        until = self._starts[at] if at < len(self._starts) else 1 << 64
        return self.fallback(address, min(size, until - address))


class Image:
    """Memory and modules of the process in one core."""

    def __init__(
        self,
        core: int | Source,
        layout: corefile.Layout,
        modules: Mapping[bytes, int | Source] | None = None,
    ) -> None:
        """`modules`: the path as in NT_FILE -> an open descriptor of that file, which stays the caller's.

        CoreError if the core is of a machine whose stacks are not understood here.
        """
        if layout.abi.machine not in (elfnote.EM_X86_64, elfnote.EM_AARCH64) or layout.abi.order != "<":
            raise CoreError(
                f"Cores of {machine_name(layout.abi.machine)} ({8 * layout.abi.word} bit) have no backtrace",
                hint="gdb-multiarch can read them.",
            )

        self.layout = layout
        self.problems: list[str] = []  # what had to be left out, one sentence each
        source = FileSource(core) if isinstance(core, int) else core
        self.memory = CoreMemory(source, layout.segments)
        self._segments = sorted(layout.segments, key=lambda s: s.vaddr)
        self._segment_starts = [s.vaddr for s in self._segments]
        self._elves: dict[int, Elf] = {}
        self.debug_files: Mapping[str, int | Source] = {}  # build id -> separate debug file, open
        self._debug: dict[str, Elf | None] = {}
        self._mappings = _mappings(layout)
        self._mapping_starts = [m.start for m in self._mappings]

        self.modules: tuple[Module, ...] = ()
        self._starts: list[int] = []
        found = list(_Finder(self, modules or {}).modules())
        self.modules = tuple(sorted(found, key=lambda m: m.start))
        self._starts = [m.start for m in self.modules]
        main = self.module_of_executable()
        self.modules = tuple(m.replace(main=True) if m is main else m for m in self.modules)
        self.memory.fallback = self._from_file

    def module(self, address: int) -> Module | None:
        """The module around `address`."""
        at = bisect.bisect_right(self._starts, address) - 1
        return self.modules[at] if at >= 0 and address < self.modules[at].end else None

    def elf(self, module: Module) -> Elf | None:
        """The module's ELF file, from its descriptor or out of the core; None if neither has it."""
        return self._elves.get(module.start)

    def debug(self, module: Module) -> Elf | None:
        """The module's separate debug file, None if none was handed in or it is of another build."""
        handed = self.debug_files.get(module.build_id) if module.build_id else None
        if handed is None:
            return None
        if module.build_id not in self._debug:
            try:
                file = Elf(FileSource(handed) if isinstance(handed, int) else handed)
            except CoreError:
                self._debug[module.build_id] = None
            else:
                self._debug[module.build_id] = file if file.build_id == module.build_id else None
        return self._debug[module.build_id]

    def module_of_executable(self) -> Module | None:
        """The program itself: the module that the kernel gave AT_PHDR (or AT_ENTRY) of."""
        auxv = self.layout.auxv
        return self.module(auxv.get(elfnote.AT_PHDR, 0)) or self.module(auxv.get(elfnote.AT_ENTRY, 0))

    def segment(self, address: int) -> corefile.Segment | None:
        """The core's PT_LOAD around `address`, also where its bytes were not dumped."""
        at = bisect.bisect_right(self._segment_starts, address) - 1
        if at < 0 or address >= self._segments[at].vaddr + self._segments[at].memsz:
            return None
        return self._segments[at]

    def executable(self, address: int) -> bool:
        """Could there be code at `address`? By the core's segments, else by the module's own headers."""
        segment = self.segment(address)
        if segment is not None:
            return bool(segment.flags & corefile.PF_X)

        module = self.module(address)
        file = self._elves.get(module.start) if module else None
        return module is not None and file is not None and bool(file.flags(address - module.bias) & elf.PF_X)

    def mapping(self, address: int) -> elfnote.MappedFile | None:
        """The mapping of NT_FILE around `address`."""
        at = bisect.bisect_right(self._mapping_starts, address) - 1
        return self._mappings[at] if at >= 0 and address < self._mappings[at].end else None

    # Read-only pages of files are not dumped (coredump_filter bit 2, core(5)). Pages that the process
    # could have changed are never taken from the file.
    def _from_file(self, address: int, size: int) -> bytes:
        module = self.module(address)
        mapping = self.mapping(address)
        file = self._elves.get(module.start) if module else None
        if module is None or mapping is None or file is None or isinstance(file.source, ImageSource):
            return b""

        segment = self.segment(address)
        if segment is not None and segment.flags & corefile.PF_W:
            return b""
        vaddr = address - module.bias
        for load in file.loads:
            if load.vaddr <= vaddr < load.vaddr + load.filesz and not load.flags & elf.PF_W:
                length = min(size, load.vaddr + load.filesz - vaddr, mapping.end - address)
                return file.source.read(load.offset + vaddr - load.vaddr, length)
        return b""


def machine_name(machine: int) -> str:
    """As libdw, and so systemd-coredump, names e_machine."""
    names = {3: "Intel 80386", 40: "ARM", 62: "AMD x86-64", 183: "AARCH64"}
    return names.get(machine, f"machine {machine}")


def _mappings(layout: corefile.Layout) -> list[elfnote.MappedFile]:
    return sorted((f for f in layout.files if f.start < f.end), key=lambda f: f.start)


class _Finder:
    """Groups the mappings of NT_FILE into modules and finds the ELF file of each."""

    def __init__(self, image: Image, files: Mapping[bytes, int | Source]) -> None:
        self._image = image
        self._files = files
        self._spans: dict[int, int] = {}  # address of a group's first mapping -> bytes that belong to it
        self._heads: dict[bytes, Elf | None] = {}  # path -> what the core has of that file's header

    def modules(self) -> Iterator[Module]:
        groups = self._groups()
        if len(groups) > MODULES_MAX:
            self._image.problems.append(f"Of {len(groups)} mapped files {MODULES_MAX} are looked at.")
        for group in groups[:MODULES_MAX]:
            module = self._module(group)
            if module is not None:
                yield module

        vdso = self._vdso()
        if vdso is not None:
            yield vdso

    def _groups(self) -> list[list[elfnote.MappedFile]]:
        groups: list[list[elfnote.MappedFile]] = []
        open_groups: dict[bytes, list[elfnote.MappedFile]] = {}
        for mapping in self._image._mappings:
            group = open_groups.get(mapping.path)
            if group is None or not self._continues(group, mapping):
                group = open_groups[mapping.path] = []
                groups.append(group)
            group.append(mapping)
        return groups

    # dlmopen() maps a whole file twice, and V8 maps its own code once more, near its heap; but lld and
    # mold map the first page of a small file more than once. What is within the segments' span is one.
    def _continues(self, group: list[elfnote.MappedFile], mapping: elfnote.MappedFile) -> bool:
        first = group[0]
        if first.start not in self._spans:
            file = self._in_core(group[:1]) or self._in_file(first.path, None)[0]
            loads = file.loads if file else ()
            lowest = min((s.vaddr // elf.PAGE * elf.PAGE for s in loads), default=0)
            self._spans[first.start] = max((s.vaddr + s.memsz for s in loads), default=1 << 64) - lowest
        return mapping.start < first.start + self._spans[first.start]

    def _module(self, group: list[elfnote.MappedFile]) -> Module | None:
        first = group[0]
        in_core = self._heads[first.path] = self._in_core(group) or self._heads.get(first.path)
        in_file, error = self._in_file(first.path, in_core)
        best = in_file or in_core
        if best is None:
            runs = any(self._image.executable(m.start) for m in group)
            if not runs:
                return None
            error = error or "its file was not handed in, and its header is not in the core"

        try:
            bias = best.bias(first.start, first.offset) if best else first.start - first.offset
        except CoreError as e:
            best, bias, error = None, first.start - first.offset, str(e)
        if best is not None:
            self._image._elves[first.start] = best
        build_id = (in_core.build_id if in_core else "") or (in_file.build_id if in_file else "")
        return Module(
            path=os.fsdecode(first.path),
            start=first.start,
            end=group[-1].end,
            bias=bias,
            build_id=build_id,
            error=error,
        )

    def _in_core(self, group: list[elfnote.MappedFile]) -> Elf | None:
        mappings = [(m.offset, m.end - m.start, m.start) for m in group]
        try:
            return Elf(ImageSource(self._image.memory, mappings))
        except CoreError:
            return None

    def _in_file(self, path: bytes, in_core: Elf | None) -> tuple[Elf | None, str]:
        handed = self._files.get(path)
        if handed is None:
            return None, ""
        try:
            file = Elf(FileSource(handed) if isinstance(handed, int) else handed)
        except CoreError as e:
            return None, str(e) if in_core else ""

        if in_core is not None and not _same_file(file, in_core):
            return (
                None,
                f"its file is another build ({file.build_id or 'no build id'}) than the one that ran",
            )
        return file, ""

    def _vdso(self) -> Module | None:
        address = self._image.layout.auxv.get(elfnote.AT_SYSINFO_EHDR, 0)
        segment = self._image.segment(address) if address else None
        if segment is None:
            return None
        end = segment.vaddr + segment.memsz
        try:
            file = Elf(ImageSource(self._image.memory, [(0, end - address, address)]))
            bias = file.bias(address, 0)
        except CoreError:
            return None
        self._image._elves[address] = file
        return Module(path=VDSO, start=address, end=end, bias=bias, build_id=file.build_id)


# The build ids decide; without any, the program headers, which no two builds of a program share by accident
# as completely as that: offsets and sizes of all segments.
def _same_file(file: Elf, in_core: Elf) -> bool:
    if file.build_id and in_core.build_id:
        return file.build_id == in_core.build_id
    return file.segments == in_core.segments and file.entry == in_core.entry
