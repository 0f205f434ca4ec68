"""Which name an address gets."""

from __future__ import annotations

import lzma
import struct

import pytest
from elfbuilder import STACK, TEXT, Function, build, image, registers

from pycoredump import elfnote
from pycoredump.analysis.elf import SHT_SYMTAB, Elf
from pycoredump.analysis.model import Module
from pycoredump.analysis.source import BytesSource
from pycoredump.analysis.symbols import Strings, Symbols, Table, from_section
from pycoredump.errors import CoreError

GLOBAL, WEAK, LOCAL = 0x12, 0x22, 0x02
LABEL, OBJECT = 0x10, 0x11


def table(*rows: tuple[str, int, int, int]) -> Table:
    """(name, info, address, size)"""
    names, data = b"\0", b""
    for name, info, address, size in rows:
        data += struct.pack("<IBBHQQ", len(names), info, 0, 1, address, size)
        names += name.encode() + b"\0"
    return Table(
        data, Strings(lambda at, size: names[at : at + size], len(names)), lambda section: section == 1
    )


def name(found: Table, address: int, section: int = -1) -> str:
    symbol = found.find(address, section)
    return symbol.name if symbol else ""


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ((("__read", GLOBAL, 16, 8), ("read", WEAK, 16, 8), ("__libc_read", GLOBAL, 16, 8)), "read"),
        ((("sccp", LOCAL, 16, 8), ("__syscall_cp_c", WEAK, 16, 8)), "__syscall_cp_c"),
        ((("label", LABEL, 16, 0), ("function", GLOBAL, 16, 8)), "function"),
        ((("outer", GLOBAL, 10, 100), ("label", LABEL, 16, 0)), "outer"),
        ((("before", GLOBAL, 10, 4), ("label", LABEL, 16, 0)), "label"),
        ((("before", GLOBAL, 10, 4),), ""),
        ((("outer", GLOBAL, 8, 100), ("inner", GLOBAL, 10, 2)), "outer"),
        ((("data", OBJECT, 16, 8),), ""),
        ((("read@@GLIBC_2.2.5", GLOBAL, 16, 8),), "read"),
        (((".L12", LOCAL, 16, 8), ("$x", LOCAL, 16, 8)), ""),
        ((), ""),
    ],
    ids=[
        "last-of-aliases",
        "global-before-local",
        "function-before-label",
        "sized-before-label",
        "label-behind-the-end",
        "behind-the-end",
        "overlap",
        "data",
        "version",
        "compilers-labels",
        "empty",
    ],
)
def test_choice(rows: tuple[tuple[str, int, int, int], ...], expected: str) -> None:
    assert name(table(*rows), 17) == expected


def test_a_symbol_of_another_section_names_nothing() -> None:
    assert name(table(("f", GLOBAL, 16, 8)), 17, section=2) == ""


def test_the_address_of_a_name() -> None:
    found = table(("f", GLOBAL, 16, 8), ("g@@V1", GLOBAL, 32, 8))
    assert found.address("g") == 32
    assert found.address("h") is None


FUNCTIONS = [
    Function(name="visible", start=TEXT, size=0x40),
    Function(name="other", start=TEXT + 0x40, size=0x40),
]


def test_mini_debug_info_is_read() -> None:
    hidden = build([Function(name="hidden", start=TEXT + 0x80, size=0x40)])
    file = Elf(BytesSource(_with_section(build(FUNCTIONS), lzma.compress(hidden))))
    assert file.mini is not None
    found = from_section(file.mini, SHT_SYMTAB)
    assert found is not None
    assert name(found, TEXT + 0x90) == "hidden"


def test_damaged_mini_debug_info_is_none() -> None:
    assert Elf(BytesSource(_with_section(build(FUNCTIONS), b"\xfd7zXZ\0nonsense"))).mini is None


def test_mini_debug_info_that_unpacks_to_gigabytes_is_none_or_bounded() -> None:
    bomb = lzma.compress(bytes(80 << 20))
    assert Elf(BytesSource(_with_section(build(FUNCTIONS), bomb))).mini is None


# The last section header becomes .gnu_debugdata, its contents are appended.
def _with_section(file: bytes, contents: bytes) -> bytes:
    out = bytearray(file)
    names_at = 0x3C00 + 40
    out[names_at : names_at + 15] = b".gnu_debugdata\0"
    struct.pack_into("<IIQQQQIIQQ", out, 0x3D00 + 64 * 5, 40, 1, 0, 0, len(out), len(contents), 0, 0, 1, 0)
    struct.pack_into("<Q", out, 0x3D00 + 64 * 4 + 32, 64)  # size of .shstrtab
    return bytes(out) + contents


def test_addresses_of_a_process_and_its_debug_file() -> None:
    stripped, debug = build(FUNCTIONS, symbols=False), build(FUNCTIONS)
    made = image(stripped, 0x10000000, b"", [registers(elfnote.EM_X86_64, 0, STACK)])
    module = made.modules[0]
    assert Symbols(made).find(module, 0x10000000 + TEXT + 4) is None
    made.debug_files = {module.build_id: BytesSource(debug)}
    symbols = Symbols(made)
    found = symbols.find(module, 0x10000000 + TEXT + 0x44)
    assert found is not None
    assert (found.name, found.address) == ("other", 0x10000000 + TEXT + 0x40)
    assert symbols.address(module, "visible") == 0x10000000 + TEXT


def test_a_debug_file_of_another_build_is_not_used() -> None:
    made = image(build(FUNCTIONS, symbols=False), 0x10000000, b"", [registers(elfnote.EM_X86_64, 0, STACK)])
    made.debug_files = {made.modules[0].build_id: BytesSource(build(FUNCTIONS, build_id=b"\x01" * 20))}
    assert Symbols(made).find(made.modules[0], 0x10000000 + TEXT + 4) is None


def test_a_symbol_table_too_large_is_an_error() -> None:
    out = bytearray(build(FUNCTIONS))
    struct.pack_into("<Q", out, 0x3D00 + 64 * 2 + 32, 1 << 40)
    with pytest.raises(CoreError, match="entries"):
        from_section(Elf(BytesSource(bytes(out))), SHT_SYMTAB)


def test_a_module_without_a_file_has_no_names() -> None:
    made = image(build(FUNCTIONS), 0x10000000, b"", [registers(elfnote.EM_X86_64, 0, STACK)])
    assert Symbols(made).find(Module(path="/x", start=1, end=2, bias=0), 1) is None
