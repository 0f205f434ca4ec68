"""How a value of debug information is written: the forms of DWARF 2 to 5 (DWARF 5, 7.5.6) and GNU's."""

from __future__ import annotations

from pycoredump.analysis.expression import sleb, uleb
from pycoredump.errors import CoreError

FORM_STRP, FORM_LINE_STRP = 0x0E, 0x1F
FORM_ADDR, FORM_STRING, FORM_INDIRECT, FORM_IMPLICIT_CONST, FORM_RNGLISTX = 0x01, 0x08, 0x16, 0x21, 0x23
FORMS_ADDRX = frozenset((0x1B, 0x29, 0x2A, 0x2B, 0x2C, 0x1F01))

# Bytes of the forms of a fixed size (DWARF 5, 7.5.6, and GNU's).
FIXED = {
    0x01: 8, 0x05: 2, 0x06: 4, 0x07: 8, 0x0B: 1, 0x0C: 1, 0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8, 0x19: 0, 0x1C: 4,
    0x1E: 16, 0x20: 8, 0x24: 8, 0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4, 0x29: 1, 0x2A: 2, 0x2B: 3, 0x2C: 4,
}  # fmt: skip
OFFSETS = frozenset((0x0E, 0x10, 0x17, 0x1D, 0x1F, 0x1F20, 0x1F21))  # 4 bytes, 8 in 64-bit DWARF
NUMBERS = frozenset((0x0F, 0x15, 0x1A, 0x1B, 0x22, 0x23, 0x1F01, 0x1F02))  # unsigned LEB128
BLOCKS = {0x03: 2, 0x04: 4, 0x0A: 1}  # bytes of the length in front
LEB_BLOCKS = frozenset((0x09, 0x18))


def form_value(form: int, data: bytes, at: int, offset_size: int) -> tuple[int, int]:
    """A value of a form and where it ends; a block's or a string's is where it begins. CoreError for unknown forms."""
    size = offset_size if form in OFFSETS else FIXED.get(form)
    if size is not None:
        if at + size > len(data):
            raise CoreError("An attribute ends behind what is read of its unit")
        return int.from_bytes(data[at : at + size], "little"), at + size
    if form in NUMBERS:
        return uleb(data, at)
    if form == 0x0D:  # DW_FORM_sdata
        return sleb(data, at)
    if form == FORM_STRING:
        return at, data.index(b"\0", at) + 1
    if form in LEB_BLOCKS:
        length, start = uleb(data, at)
        return start, start + length
    if form in BLOCKS:
        start = at + BLOCKS[form]
        return start, start + int.from_bytes(data[at:start], "little")
    if form == FORM_INDIRECT:
        inner, at = uleb(data, at)
        if inner != FORM_INDIRECT:
            return form_value(inner, data, at, offset_size)
    raise CoreError(f"Form {form:#x} is not known")
