"""Call frame information: against pyelftools' reading of the same tables, and damaged."""

from __future__ import annotations

import ctypes.util
import os
import pathlib
import random
import sys

import pytest
from elfbuilder import TEXT, Function, build, uleb
from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile

from pycoredump.analysis import callframe
from pycoredump.analysis.cfi import Tables, pointer
from pycoredump.analysis.elf import Elf
from pycoredump.analysis.source import BytesSource, FileSource
from pycoredump.errors import CoreError


def tables(instructions: bytes, **options: bytes) -> Tables:
    functions = [Function(name="f", start=TEXT, size=0x100, instructions=instructions)]
    return Tables(Elf(BytesSource(build(functions, **options))))  # type: ignore[arg-type] # only bytes are passed


def row(instructions: bytes, offset: int = 0x80) -> callframe.Row:
    found = tables(instructions).row(TEXT + offset)
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["libc", "python"])
def test_rows_are_those_of_pyelftools(name: str) -> None:
    path = os.path.realpath(sys.executable)
    if name == "libc":
        maps = pathlib.Path("/proc/self/maps").read_text().split()
        path = next((word for word in maps if word.endswith("/libc.so.6")), "")
    if not path or not ctypes.util.find_library("c"):
        pytest.skip("this C library is not glibc")

    with open(path, "rb") as file:
        ours = Tables(Elf(FileSource(file.fileno())))
        entries = [e for e in _fdes(file.fileno(), path)]
        assert entries
        for pc, cfa, rules in entries:
            found = ours.row(pc)
            assert found is not None
            if cfa is None:
                assert found.cfa_expression
            else:
                assert (found.cfa_register, found.cfa_offset) == cfa
            kept = {r: v for r, (kind, v) in found.rules.items() if kind == callframe.OFFSET}
            assert kept == rules


def _fdes(fd: int, path: str) -> list[tuple[int, tuple[int, int] | None, dict[int, int]]]:
    # All of .eh_frame takes pyelftools seconds: it gets a part, from a place where an entry begins.
    with open(path, "rb") as file:
        elf = ELFFile(file)
        section = elf.get_section_by_name(".eh_frame")
        if section is None:
            return []
        found = []
        info = elf.get_dwarf_info(relocate_dwarf_sections=False)
        info.eh_frame_sec = info.eh_frame_sec._replace(size=min(info.eh_frame_sec.size, 12_000))
        entries = [e for e in info.EH_CFI_entries() if isinstance(e, FDE)]
        for entry in random.Random(5).sample(entries, min(len(entries), 150)):
            for line in entry.get_decoded().table:
                cfa = None if line["cfa"].expr is not None else (line["cfa"].reg, line["cfa"].offset)
                rules = {r: v.arg for r, v in line.items() if r not in ("pc", "cfa") and v.type == "OFFSET"}
                found.append((line["pc"], cfa, rules))
        return found


def test_an_address_outside_of_all_entries_has_no_row() -> None:
    found = tables(b"")
    assert found.row(TEXT - 1) is None
    assert found.row(TEXT + 0x100) is None
    assert found.row(0) is None


def test_remembered_states_come_back_whole() -> None:
    # CFA 16 and rbx at -16; remember; CFA 32, rbx same value; restore
    code = bytes.fromhex("0e10 8302 0a 0e20 c3 0b")
    found = row(code)
    assert found.cfa_offset == 16
    assert found.rules[3] == (callframe.OFFSET, -16)


def test_restore_gives_the_rule_of_the_cie() -> None:
    code = b"\x08" + uleb(16) + b"\xc0" + b"\xd0"  # same_value rip, restore rax, restore rip
    assert row(code).rules == {16: (callframe.OFFSET, -8)}


def test_instructions_behind_the_address_do_not_count() -> None:
    code = bytes.fromhex("0e10 02 40 0e20")  # advance_loc1 0x40
    assert row(code, 0x3F).cfa_offset == 16
    assert row(code, 0x40).cfa_offset == 32


def test_every_instruction_of_the_standard_is_known() -> None:
    code = b"".join(
        (
            b"\x05" + uleb(3) + uleb(2),  # offset_extended
            b"\x06" + uleb(3),  # restore_extended
            b"\x07" + uleb(1),  # undefined
            b"\x09" + uleb(2) + uleb(4),  # register
            b"\x0d" + uleb(6),  # def_cfa_register
            b"\x11" + uleb(12) + b"\x7e",  # offset_extended_sf -2
            b"\x12" + uleb(6) + b"\x7c",  # def_cfa_sf -4
            b"\x13" + b"\x7d",  # def_cfa_offset_sf -3
            b"\x14" + uleb(13) + uleb(1),  # val_offset
            b"\x15" + uleb(14) + b"\x01",  # val_offset_sf
            b"\x10" + uleb(5) + b"\x02\x77\x08",  # expression
            b"\x16" + uleb(4) + b"\x02\x77\x10",  # val_expression
            b"\x2e" + uleb(16),  # GNU_args_size
            b"\x2f" + uleb(15) + uleb(3),  # GNU_negative_offset_extended
            b"\x03\x01\x00\x04\x01\x00\x00\x00",  # advance_loc2, advance_loc4
        )
    )
    found = row(code)
    assert (found.cfa_register, found.cfa_offset) == (6, 24)
    assert found.rules == {
        16: (callframe.OFFSET, -8),
        1: (callframe.UNDEFINED, 0),
        2: (callframe.REGISTER, 4),
        12: (callframe.OFFSET, 16),
        13: (callframe.VAL_OFFSET, -8),
        14: (callframe.VAL_OFFSET, -8),
        5: (callframe.EXPRESSION, b"\x77\x08"),
        4: (callframe.VAL_EXPRESSION, b"\x77\x10"),
        15: (callframe.OFFSET, 24),
    }


@pytest.mark.parametrize(
    "code",
    [
        b"\x0b",
        b"\x0a" * 100,
        b"\x3c",
        b"\x0c\x80",
        b"\x10\x05\x7f\x01",
        b"\x02",
        b"\x01" + bytes(8),
        b"\x0e" + b"\xff" * 20,
    ],
    ids=[
        "restore-nothing",
        "remember-forever",
        "unknown",
        "cut-leb",
        "cut-block",
        "cut-advance",
        "set-loc",
        "endless-leb",
    ],
)
def test_damaged_instructions_are_an_error(code: bytes) -> None:
    cie = callframe.Cie(code=1, data=-8, ra=16, encoding=0, augmented=False, signal=False, instructions=b"")
    fde = callframe.Fde(start=0, end=0x1000, cie=cie, instructions=code)
    with pytest.raises(CoreError):
        callframe.row_at(fde, 0xFFF)


def test_the_augmentation_marks_signal_frames() -> None:
    found = tables(b"", augmentation=b"zRS").row(TEXT)
    assert found is not None
    assert found.signal


@pytest.mark.parametrize(
    ("encoding", "data", "value"),
    [
        (0x00, bytes(7) + b"\x80", 1 << 63),
        (0x1B, b"\xff\xff\xff\xff", 0x0FFF),
        (0x3B, b"\x02\0\0\0", 0x2002),
        (0x01, b"\x81\x01", 129),
        (0x0A, b"\xfe\xff", (1 << 64) - 2),
    ],
    ids=["absolute", "relative-to-itself", "relative-to-the-table", "leb", "signed-16"],
)
def test_pointers(encoding: int, data: bytes, value: int) -> None:
    assert pointer(data, 0, encoding, 0x1000, 0x2000)[0] == value


@pytest.mark.parametrize("encoding", [0x0D, 0x2B, 0x5B], ids=["form", "textrel", "aligned"])
def test_unknown_pointers_are_an_error(encoding: int) -> None:
    with pytest.raises(CoreError, match="encoding"):
        pointer(bytes(16), 0, encoding, 0)
