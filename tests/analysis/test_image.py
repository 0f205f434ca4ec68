"""Memory and modules of a dead process."""

from __future__ import annotations

import os
import pathlib

import pytest
from elfbuilder import SIZE, STACK, TEXT, Function, build, dead, registers

from pycoredump import elfnote
from pycoredump.analysis.elf import Elf
from pycoredump.analysis.image import Image
from pycoredump.analysis.source import BytesSource, FileSource, ImageSource
from pycoredump.elfnote import MappedFile
from pycoredump.errors import CoreError

BASE = 0x10000000
X86 = elfnote.EM_X86_64
FILE = build([Function(name="f", start=TEXT, size=0x40, code=b"\xc3" * 0x40)])
ONE = [registers(X86, BASE + TEXT, STACK)]


def mapped(start: int = BASE, offset: int = 0, size: int = SIZE, path: bytes = b"/x.so") -> MappedFile:
    return MappedFile(start=start, end=start + size, offset=offset, path=path)


def made(segments: list[tuple[int, bytes, int]], *files: MappedFile, **modules: bytes) -> Image:
    core, layout = dead(segments, ONE, files=files)
    return Image(core, layout, {f"/{name}.so".encode(): BytesSource(data) for name, data in modules.items()})


def test_reads_go_across_segments_that_touch() -> None:
    memory = made([(0x1000, b"a" * 16, 6), (0x1010, b"b" * 16, 6)]).memory
    assert memory.read(0x100C, 8) == b"aaaabbbb"
    assert memory.word(0x1000) == 0x6161616161616161


@pytest.mark.parametrize("address", [0, 0xFFF, 0x1020, 1 << 63, (1 << 64) - 4, -1])
def test_what_is_not_in_the_core_is_an_error(address: int) -> None:
    memory = made([(0x1000, b"a" * 32, 6)]).memory
    with pytest.raises(CoreError, match="not in the core"):
        memory.read(address, 8)


def test_a_read_of_gigabytes_is_an_error() -> None:
    with pytest.raises(CoreError, match="asked for"):
        made([(0x1000, b"a", 6)]).memory.read(0x1000, 1 << 40)


def test_available_stops_at_the_gap() -> None:
    memory = made([(0x1000, b"a" * 10, 6)]).memory
    assert memory.available(0x1004, 100) == b"a" * 6
    assert memory.available(0x3000, 100) == b""


def test_code_comes_from_the_module_file() -> None:
    image = made([(BASE, FILE[:0x1000], 4)], mapped(), x=FILE)
    assert image.memory.read(BASE + TEXT, 4) == b"\xc3" * 4
    assert image.memory.read(BASE + 0xFFC, 8) == FILE[0xFFC:0x1004]


def test_code_does_not_come_from_another_build() -> None:
    other = build([], build_id=b"\x01" * 20)
    image = made([(BASE, FILE[:0x1000], 4)], mapped(), x=other)
    with pytest.raises(CoreError):
        image.memory.read(BASE + TEXT, 4)
    assert "another build" in image.modules[0].error


def test_writable_memory_does_not_come_from_the_file() -> None:
    core, layout = dead([(BASE, FILE[:0x1000], 4), (BASE + 0x1000, b"", 6)], ONE, files=(mapped(),))
    first, second = layout.segments
    # PT_LOAD without contents, as minimal cores have it: flags 6, memsz 4096, filesz 0
    empty = type(second)((1, 6, 0, BASE + 0x1000, 0, 0, 4096, 4096))
    image = Image(core, layout.replace(segments=(first, empty)), {b"/x.so": BytesSource(FILE)})
    with pytest.raises(CoreError):
        image.memory.read(BASE + TEXT, 4)


def test_modules_by_address() -> None:
    image = made([(BASE, FILE[:0x1000], 4)], mapped(), x=FILE)
    (module,) = image.modules
    assert (module.path, module.start, module.end, module.bias) == ("/x.so", BASE, BASE + SIZE, BASE)
    assert module.build_id == "ab" * 20
    assert image.module(BASE) is image.module(BASE + SIZE - 1) is module
    assert image.module(BASE - 1) is image.module(BASE + SIZE) is None
    assert isinstance(image.elf(module), Elf)


def test_one_file_loaded_twice_is_two_modules() -> None:
    second = BASE + 0x100000
    image = made([(BASE, FILE[:0x1000], 4), (second, FILE[:0x1000], 4)], mapped(), mapped(second), x=FILE)
    assert [m.bias for m in image.modules] == [BASE, second]


def test_a_part_mapped_once_more_elsewhere_is_found_with_its_own_bias() -> None:
    copy = 0x7000_0000_0000
    image = made([(BASE, FILE[:0x1000], 4)], mapped(), mapped(copy, TEXT, 0x1000), x=FILE)
    assert [m.bias for m in image.modules] == [BASE, copy - TEXT]
    assert image.memory.read(copy, 1) == b"\xc3"


def test_a_file_that_is_not_elf_is_no_module() -> None:
    assert made([(BASE, b"#!/bin/sh".ljust(4096), 4)], mapped(), x=b"#!/bin/sh").modules == ()


def test_a_module_whose_file_is_gone_says_so() -> None:
    image = made([(BASE + TEXT, b"\xc3" * 64, 5)], mapped(BASE, 0))
    assert image.modules == ()  # nothing of it is executable at its start, nothing is known
    image = made([(BASE, b"\xc3" * 64, 5)], mapped(BASE, 0))
    assert "not handed in" in image.modules[0].error


def test_the_program_itself_is_marked() -> None:
    core, layout = dead(
        [(BASE, FILE[:0x1000], 4)], ONE, files=(mapped(),), auxv={elfnote.AT_PHDR: BASE + 64}
    )
    image = Image(core, layout, {})
    assert image.modules[0].main
    assert image.module_of_executable() == image.modules[0]


def test_the_vdso_is_a_module_in_memory() -> None:
    core, layout = dead([(BASE, FILE, 5)], ONE, auxv={elfnote.AT_SYSINFO_EHDR: BASE})
    image = Image(core, layout)
    assert [m.path for m in image.modules] == ["linux-vdso.so.1"]


@pytest.mark.parametrize("machine", [elfnote.EM_386, elfnote.EM_ARM, 243])
def test_other_machines_are_named(machine: int) -> None:
    core, layout = dead([], [])
    with pytest.raises(CoreError, match="have no backtrace"):
        Image(core, layout.replace(abi=layout.abi.replace(machine=machine)))


def test_a_file_that_is_cut_short_meanwhile_is_an_error(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(200_000))
    fd = os.open(path, os.O_RDWR)
    source = FileSource(fd)
    try:
        assert source.read(10, 4) == bytes(4)
        assert len(source.read(0, 150_000)) == 150_000
        os.truncate(fd, 100)
        for offset, size in ((90_000, 4), (0, 150_000), (199_999, 4), (1 << 70, 1), (-1, 4), (0, -1)):
            with pytest.raises(CoreError):
                source.read(offset, size)
    finally:
        os.close(fd)


def test_offsets_of_an_image_that_are_not_mapped_are_an_error() -> None:
    source = ImageSource(made([(BASE, FILE[:0x1000], 4)]).memory, [(0, 0x1000, BASE)])
    assert source.read(0, 4) == b"\x7fELF"
    with pytest.raises(CoreError, match="not mapped"):
        source.read(0xFFE, 4)
