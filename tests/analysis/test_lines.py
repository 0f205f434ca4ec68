"""Source lines and debug files, of programs that are compiled here."""

from __future__ import annotations

import itertools
import os
import pathlib
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from random import Random

import pytest
from elfbuilder import STACK, dead, registers
from elftools.dwarf.dwarfinfo import DWARFInfo
from elftools.elf.elffile import ELFFile

from pycoredump import elfnote
from pycoredump.analysis import debugfiles
from pycoredump.analysis.elf import Elf
from pycoredump.analysis.image import Image
from pycoredump.analysis.lines import Lines
from pycoredump.analysis.linetable import LineTable
from pycoredump.analysis.model import Module
from pycoredump.analysis.part import Plain
from pycoredump.analysis.source import BytesSource, FileSource
from pycoredump.analysis.symbols import Symbols
from pycoredump.elfnote import MappedFile
from pycoredump.errors import CoreError

BASE = 0x5555_0000_0000
SOURCE = """\
static int
twice(int x)
{
    volatile int y = x;

    return y * 2;
}

int main(int argc, char **argv)
{
    return twice(argc);
}
"""


def process(path: pathlib.Path) -> tuple[Image, Module, int]:
    """A process that has only mapped the file; (image, its module, a descriptor to close)."""
    fd = os.open(path, os.O_RDONLY)
    file = Elf(FileSource(fd))
    loads = file.loads
    files = tuple(
        MappedFile(
            start=BASE + s.vaddr // 4096 * 4096,
            end=BASE + (s.vaddr + s.filesz + 4095) // 4096 * 4096,
            offset=s.offset // 4096 * 4096,
            path=os.fsencode(path),
        )
        for s in loads
    )
    head = os.pread(fd, 4096, 0)
    core, layout = dead([(BASE, head, 4)], [registers(elfnote.EM_X86_64, 0, STACK)], files=files)
    image = Image(core, layout, {os.fsencode(path): fd})
    return image, image.modules[0], fd


@pytest.fixture
def source(tmp_path: pathlib.Path) -> pathlib.Path:
    if shutil.which("gcc") is None or os.uname().machine != "x86_64":
        pytest.skip("gcc for x86-64 is not installed")
    path = tmp_path / "twice.c"
    path.write_text(SOURCE)
    return path


FLAGS = {
    "dwarf5": ["-gdwarf-5"],
    "dwarf4": ["-gdwarf-4"],
    "dwarf3": ["-gdwarf-3"],
    "compressed": ["-g", "-gz=zlib"],
    "no-aranges": ["-g", "-fno-function-sections"],
    "functions-apart": ["-g", "-O2", "-ffunction-sections"],
}

SPLIT = {  # addresses and ranges by index
    "split4": ["-gdwarf-4", "-gsplit-dwarf", "-ffunction-sections"],
    "split5": ["-gdwarf-5", "-gsplit-dwarf", "-ffunction-sections"],
}


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
def test_lines_of_a_compiler(source: pathlib.Path, flags: list[str]) -> None:
    exe = source.with_name("exe")
    subprocess.run(["gcc", "-pie", "-O0", *flags, "-o", exe, source], check=True)
    image, module, fd = process(exe)
    try:
        start = Symbols(image).address(module, "main")
        assert start is not None
        file, line = Lines(image).find(module, start + 1)
        assert os.path.basename(file) == "twice.c"
        assert line in ((4, 10) if "-O2" in flags else (10,))  # optimised, the first is twice()'s
        assert Lines(image).find(module, module.start + 16) == ("", 0)
        assert Lines(image, seconds=0).find(module, start) == ("", 0)
    finally:
        os.close(fd)


@pytest.mark.parametrize("aranges", [True, False], ids=["aranges", "root-entries"])
@pytest.mark.parametrize("flags", (FLAGS | SPLIT).values(), ids=FLAGS | SPLIT)
def test_lines_are_those_that_pyelftools_reads(
    source: pathlib.Path, flags: list[str], aranges: bool
) -> None:
    exe, other = source.with_name("exe"), source.with_name("other")
    # pyelftools reads no split units of DWARF 5; the code is the same without them.
    for path, chosen in ((exe, flags), (other, [flag for flag in flags if flag != "-gsplit-dwarf"])):
        subprocess.run(["gcc", "-pie", "-O2", *chosen, "-o", path, source], check=True, cwd=source.parent)
    if not aranges:  # as clang and rustc leave it
        subprocess.run(["objcopy", "--remove-section=.debug_aranges", exe], check=True)
    image, module, fd = process(exe)
    lines = Lines(image)
    try:
        with open(other, "rb") as file:
            expected = dict(rows(ELFFile(file).get_dwarf_info()))
        assert len(expected) > 3
        found = {address: lines.find(module, address + module.bias) for address in expected}
        assert {at: (os.path.basename(name), line) for at, (name, line) in found.items()} == expected
    finally:
        os.close(fd)


def rows(info: DWARFInfo) -> Iterator[tuple[int, tuple[str, int]]]:
    """Address -> (file, line), by pyelftools."""
    for unit in info.iter_CUs():
        program = info.line_program_for_CU(unit)
        states = [entry.state for entry in program.get_entries() if entry.state]
        first = 0 if program["version"] >= 5 else 1
        for state, following in itertools.pairwise(states):
            if not state.end_sequence and following.address > state.address:
                name = program["file_entry"][state.file - first].name
                yield state.address, (os.path.basename(name.decode()), state.line)


@pytest.mark.parametrize("damage", range(40))
def test_damaged_debug_information_costs_the_line_alone(source: pathlib.Path, damage: int) -> None:
    exe = source.with_name("exe")
    subprocess.run(["gcc", "-pie", "-g", "-o", exe, source], check=True)
    with open(exe, "rb") as file:
        sections = [s for s in ELFFile(file).iter_sections() if s.name.startswith(".debug_")]
        places = [(s["sh_offset"], s["sh_size"]) for s in sections]
    random = Random(damage)
    data = bytearray(exe.read_bytes())
    for offset, size in places:
        for _ in range(random.randrange(1, 6)):
            data[offset + random.randrange(min(size, 64))] = random.randrange(256)
    exe.write_bytes(data)
    image, module, fd = process(exe)
    try:
        lines = Lines(image)
        for address in range(0x1000, 0x1200, 3):
            assert isinstance(lines.find(module, module.bias + address), tuple)
    finally:
        os.close(fd)


def test_a_table_of_files_of_no_size_is_refused() -> None:
    """DW_FORM_flag_present takes no byte: any number of such names would fit."""
    names = b"\x01\x01\x19" + b"\xff" * 9 + b"\x01"  # one column, a path of that form; 2**64 - 1 rows
    header = b"\x01\x01\x01\xfb\x0e\x01" + names
    program = b"\x00\x09\x02" + struct.pack("<Q", 0x1000) + b"\x01\x02\x10\x00\x01\x01"
    body = struct.pack("<HBBI", 5, 8, 0, len(header)) + header + program
    data = struct.pack("<I", len(body)) + body
    table = LineTable(Plain(BytesSource(data), 0, len(data)), {}, 0, time.monotonic() + 5)
    assert table.find(0x5000) == ("", 0)
    with pytest.raises(CoreError, match="18446744073709551615 files"):
        table.find(0x1000)


def test_a_separate_debug_file_has_names_and_lines(source: pathlib.Path, tmp_path: pathlib.Path) -> None:
    exe, directory = tmp_path / "exe", tmp_path / "debug"
    subprocess.run(
        ["gcc", "-pie", "-g", "-O0", "-Wl,--build-id=0xabcdef0123", "-o", exe, source], check=True
    )
    debug = directory / ".build-id" / "ab" / "cdef0123.debug"
    debug.parent.mkdir(parents=True)
    subprocess.run(["objcopy", "--only-keep-debug", exe, debug], check=True)
    subprocess.run(["strip", exe], check=True)
    image, module, fd = process(exe)
    files = debugfiles.open_debug(image.modules, [os.fspath(tmp_path / "none"), os.fspath(directory)])
    try:
        assert list(files) == ["abcdef0123"]
        assert Symbols(image).address(module, "main") is None
        image.debug_files = files
        start = Symbols(image).address(module, "main")
        assert start is not None
        assert Lines(image).find(module, start)[1] == 10
    finally:
        for opened in (fd, *files.values()):
            os.close(opened)


def test_modules_are_opened_below_a_root_and_nothing_but_files(tmp_path: pathlib.Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.so").write_bytes(b"\x7fELF")
    os.mkfifo(tmp_path / "lib" / "pipe")
    names = (
        b"/lib/a.so",
        b"/../lib/./a.so",
        b"/lib/pipe",
        b"/lib",
        b"/dev/zero",
        b"/lib/a.so (deleted)",
        b"/a\0b",
        b"",
    )
    files = tuple(MappedFile(start=n, end=n + 1, offset=0, path=name) for n, name in enumerate(names))
    _, layout = dead([], [], files=files)
    found = debugfiles.open_modules(layout, os.fspath(tmp_path))
    for fd in found.values():
        os.close(fd)
    assert set(found) == {b"/lib/a.so", b"/../lib/./a.so"}


def test_build_ids_that_are_none_are_not_looked_for(tmp_path: pathlib.Path) -> None:
    modules = [
        Module(path="/x", start=0, end=1, bias=0, build_id=text)
        for text in ("", "ab", "../../etc", "zz" * 20)
    ]
    assert debugfiles.open_debug(modules, [os.fspath(tmp_path)]) == {}
