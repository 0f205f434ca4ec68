"""What call frame instructions say at one address: the rule for the CFA and for each register (DWARF 5, 6.4.2)."""

from __future__ import annotations

from pycoredump.analysis.expression import sleb, uleb
from pycoredump.errors import CoreError
from pycoredump.record import Record

STATES_MAX = 64  # depth of DW_CFA_remember_state
MASK = (1 << 64) - 1

# Kinds of register rules
UNDEFINED, SAME, OFFSET, VAL_OFFSET, REGISTER, EXPRESSION, VAL_EXPRESSION = range(7)
Rule = tuple[int, int | bytes]


class Row:
    """What holds at one address. A plain class: one is made for each distinct return address."""

    __slots__ = ("cfa_expression", "cfa_offset", "cfa_register", "ra", "rules", "signal", "signed")

    def __init__(self, ra: int, signal: bool) -> None:
        self.ra = ra  # the column that holds the return address
        self.signal = signal  # a signal trampoline: the caller was interrupted at its pc
        self.cfa_register = -1
        self.cfa_offset = 0
        self.cfa_expression = b""
        self.rules: dict[int, Rule] = {}
        self.signed = False  # aarch64: the return address carries a pointer authentication code


class Cie(Record):
    """A common information entry."""

    code: int  # code alignment factor
    data: int  # data alignment factor
    ra: int
    encoding: int  # DW_EH_PE_* of addresses in its FDEs
    augmented: bool  # its FDEs carry augmentation data
    signal: bool
    instructions: bytes


class Fde(Record):
    """A frame description entry; addresses are those of the file."""

    start: int
    end: int
    cie: Cie
    instructions: bytes


def row_at(fde: Fde, address: int) -> Row:
    """The row at `address`. CoreError if an instruction is unknown or the bytes end within one."""
    cie = fde.cie
    row = Row(cie.ra, cie.signal)
    try:
        _run(cie.instructions, cie, row, {}, 0, MASK)
        initial = dict(row.rules)
        _run(fde.instructions, cie, row, initial, fde.start, address)
    except IndexError:
        raise CoreError("The call frame instructions end within one") from None
    return row


# One loop on purpose: this is where a backtrace spends its time, and each case is one line of DWARF 5, 6.4.2.
def _run(code: bytes, cie: Cie, row: Row, initial: dict[int, Rule], location: int, address: int) -> None:
    rules = row.rules
    states: list[tuple[int, int, bytes, dict[int, Rule]]] = []
    at, end = 0, len(code)
    while at < end:
        op = code[at]
        at += 1
        high, low = op & 0xC0, op & 0x3F
        if high == 0x40:  # DW_CFA_advance_loc
            location += low * cie.code
        elif high == 0x80:  # DW_CFA_offset
            value, at = uleb(code, at)
            rules[low] = (OFFSET, value * cie.data)
            continue
        elif high == 0xC0:  # DW_CFA_restore
            _restore(rules, initial, low)
            continue
        elif op == 0x00:  # DW_CFA_nop
            continue
        elif op == 0x01:  # DW_CFA_set_loc: no compiler emits it; its encoding would need the field's address
            raise CoreError("DW_CFA_set_loc is not read")
        elif op in (0x02, 0x03, 0x04):  # DW_CFA_advance_loc1, 2, 4
            size = 1 << (op - 2)
            if at + size > end:
                raise IndexError
            location += int.from_bytes(code[at : at + size], "little") * cie.code
            at += size
        elif op == 0x0A:  # DW_CFA_remember_state
            if len(states) >= STATES_MAX:
                raise CoreError("The call frame instructions remember too many states")
            states.append((row.cfa_register, row.cfa_offset, row.cfa_expression, dict(rules)))
            continue
        elif op == 0x0B:  # DW_CFA_restore_state
            if not states:
                raise CoreError("The call frame instructions restore a state that they did not remember")
            row.cfa_register, row.cfa_offset, row.cfa_expression, rules = states.pop()
            row.rules = rules
            continue
        elif op == 0x0C:  # DW_CFA_def_cfa
            row.cfa_register, at = uleb(code, at)
            row.cfa_offset, at = uleb(code, at)
            row.cfa_expression = b""
            continue
        elif op == 0x0D:  # DW_CFA_def_cfa_register
            row.cfa_register, at = uleb(code, at)
            continue
        elif op == 0x0E:  # DW_CFA_def_cfa_offset
            row.cfa_offset, at = uleb(code, at)
            continue
        else:
            at = _rare(op, code, at, cie, row, initial)
            continue
        if location > address:
            return


def _rare(op: int, code: bytes, at: int, cie: Cie, row: Row, initial: dict[int, Rule]) -> int:
    rules = row.rules
    match op:
        case 0x0F:  # DW_CFA_def_cfa_expression
            row.cfa_expression, at = _block(code, at)
            return at
        case 0x12:  # DW_CFA_def_cfa_sf
            row.cfa_register, at = uleb(code, at)
            offset, at = sleb(code, at)
            row.cfa_offset, row.cfa_expression = offset * cie.data, b""
            return at
        case 0x13:  # DW_CFA_def_cfa_offset_sf
            offset, at = sleb(code, at)
            row.cfa_offset = offset * cie.data
            return at
        case 0x2D:  # DW_CFA_AARCH64_negate_ra_state (elsewhere DW_CFA_GNU_window_save, SPARC only)
            row.signed = not row.signed
            return at
        case 0x2E:  # DW_CFA_GNU_args_size
            return uleb(code, at)[1]

    register, at = uleb(code, at)
    match op:
        case 0x05:  # DW_CFA_offset_extended
            value, at = uleb(code, at)
            rules[register] = (OFFSET, value * cie.data)
        case 0x06:  # DW_CFA_restore_extended
            _restore(rules, initial, register)
        case 0x07:  # DW_CFA_undefined
            rules[register] = (UNDEFINED, 0)
        case 0x08:  # DW_CFA_same_value
            rules[register] = (SAME, 0)
        case 0x09:  # DW_CFA_register
            value, at = uleb(code, at)
            rules[register] = (REGISTER, value)
        case 0x10 | 0x16:  # DW_CFA_expression, DW_CFA_val_expression
            block, at = _block(code, at)
            rules[register] = (EXPRESSION if op == 0x10 else VAL_EXPRESSION, block)
        case 0x11 | 0x15:  # DW_CFA_offset_extended_sf, DW_CFA_val_offset_sf
            value, at = sleb(code, at)
            rules[register] = (OFFSET if op == 0x11 else VAL_OFFSET, value * cie.data)
        case 0x14:  # DW_CFA_val_offset
            value, at = uleb(code, at)
            rules[register] = (VAL_OFFSET, value * cie.data)
        case 0x2F:  # DW_CFA_GNU_negative_offset_extended
            value, at = uleb(code, at)
            rules[register] = (OFFSET, -value * cie.data)
        case _:
            raise CoreError(f"Call frame instruction {op:#x} is unknown")
    return at


def _restore(rules: dict[int, Rule], initial: dict[int, Rule], register: int) -> None:
    if register in initial:
        rules[register] = initial[register]
    else:
        rules.pop(register, None)


def _block(code: bytes, at: int) -> tuple[bytes, int]:
    size, at = uleb(code, at)
    if at + size > len(code):
        raise IndexError
    return code[at : at + size], at + size
