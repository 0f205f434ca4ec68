"""Which memory one machine instruction uses, and how. One file per machine; only what touches memory is read."""

from __future__ import annotations

from collections.abc import Mapping

from pycoredump import elfnote
from pycoredump.record import Record

READ, WRITE, UPDATE, JUMP = "read", "write", "update", "jump"
MASK = (1 << 64) - 1


class Access(Record):
    """One use of memory by an instruction."""

    kind: str
    address: int
    size: int  # bytes; 0 if not known
    terms: tuple[tuple[str, int, int], ...]  # (register, its value, factor)
    displacement: int = 0

    @property
    def text(self) -> str:
        """rax+8*rcx+0x18"""
        parts = [name if factor == 1 else f"{factor}*{name}" for name, _, factor in self.terms]
        if self.displacement or not parts:
            sign = "-" if self.displacement < 0 and parts else "+" if parts else ""
            parts.append(f"{sign}{abs(self.displacement):#x}")
            return "+".join(parts[:-1]) + parts[-1]
        return "+".join(parts)


def accesses(machine: int, code: bytes, registers: Mapping[str, int], pc: int) -> tuple[Access, ...]:
    """What the instruction at the beginning of `code` uses; () if it is none that is known here."""
    # Imported here: each knows this module's names.
    from pycoredump.analysis.instruction import aarch64, x86_64

    try:
        if machine == elfnote.EM_X86_64:
            return tuple(x86_64.accesses(code, registers, pc))
        if machine == elfnote.EM_AARCH64:
            return tuple(aarch64.accesses(code, registers, pc))
    except (IndexError, KeyError):  # the bytes end too early, or a register is not known
        pass
    return ()


def division(machine: int, code: bytes, registers: Mapping[str, int], pc: int) -> str:
    """The register or the place that an integer division divides by; "" if it is no division."""
    from pycoredump.analysis.instruction import x86_64

    try:
        return x86_64.divisor(code, registers, pc) if machine == elfnote.EM_X86_64 else ""
    except (IndexError, KeyError):
        return ""
