"""x86-64: register numbers of its psABI, signal frames of Linux, calls and prologues by their bytes."""

from __future__ import annotations

import struct

from pycoredump.analysis.arch import Memory, Registers
from pycoredump.elfnote import Thread
from pycoredump.errors import CoreError

RBP, RSP, RIP = 6, 7, 16

# user_regs_struct (asm/user_64.h), by position: the DWARF number, or -1
_GREGSET = (15, 14, 13, 12, 6, 3, 11, 10, 9, 8, 0, 2, 1, 4, 5, -1, 16, -1, -1, 7)

# struct sigcontext (asm/sigcontext.h), from 40 bytes into the ucontext that rsp points to in the trampoline
_SIGCONTEXT = (8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7, 16)
_SIGCONTEXT_AT = 40
_SIGRETURN = bytes.fromhex("48c7c00f0000000f05")  # mov $15, %rax; syscall

_ENDBR = bytes.fromhex("f30f1efa")
_PUSH_RBP = b"\x55"
_SET_RBP = (bytes.fromhex("4889e5"), bytes.fromhex("488bec"))
MASK = (1 << 64) - 1


class X86_64:
    sp, fp, pc = RSP, RBP, RIP

    def registers(self, thread: Thread) -> Registers:
        if len(thread.registers) < 27 * 8:
            raise CoreError(f"The core has no registers of thread {thread.tid}")
        values = struct.unpack_from("<20Q", thread.registers)
        return {number: value for number, value in zip(_GREGSET, values, strict=True) if number >= 0}

    def interrupted(self, memory: Memory, registers: Registers) -> Registers | None:
        try:
            if memory.read(registers[RIP], len(_SIGRETURN)) != _SIGRETURN:
                return None
            saved = memory.read(registers[RSP] + _SIGCONTEXT_AT, 17 * 8)
        except CoreError:
            return None
        return dict(zip(_SIGCONTEXT, struct.unpack("<17Q", saved), strict=True))

    def called(self, memory: Memory, address: int) -> bool:
        for size in (7, 6, 5, 3, 2):  # the instruction may begin where readable memory does
            try:
                return _ends_in_call(memory.read(address - size, size))
            except CoreError:
                continue
        return False

    def leaf(self, memory: Memory, registers: Registers) -> Registers | None:
        return _returned(memory, registers, registers[RSP], registers.get(RBP))

    def by_frame_pointer(self, memory: Memory, registers: Registers) -> Registers | None:
        base = registers.get(RBP, 0)
        if base < registers[RSP] or base % 8:
            return None
        try:
            saved = memory.word(base)
        except CoreError:
            return None
        return _returned(memory, registers, base + 8, saved)

    def by_prologue(self, memory: Memory, registers: Registers, start: int) -> Registers | None:
        pc, sp = registers[RIP], registers[RSP]
        try:
            code = memory.read(start, 16)
        except CoreError:
            return None
        at = len(_ENDBR) if code.startswith(_ENDBR) else 0
        if pc <= start + at or code[at : at + 1] != _PUSH_RBP:
            return self.leaf(memory, registers)

        at += 1
        if code[at : at + 3] in _SET_RBP and pc >= start + at + 3:
            return self.by_frame_pointer(memory, registers)
        try:
            return _returned(memory, registers, sp + 8, memory.word(sp))
        except CoreError:
            return None

    def strip(self, address: int) -> int:
        return address

    def link(self, registers: Registers, column: int) -> None:
        if column not in registers:
            raise CoreError("The return address is not known")
        registers[RIP] = registers[column]


def _returned(memory: Memory, registers: Registers, slot: int, rbp: int | None) -> Registers | None:
    # The state after `ret` with the return address at `slot`.
    try:
        pc = memory.word(slot)
    except CoreError:
        return None
    caller = registers | {RIP: pc, RSP: slot + 8 & MASK}
    if rbp is not None:
        caller[RBP] = rbp
    return caller


def _ends_in_call(code: bytes) -> bool:
    if len(code) >= 5 and code[-5] == 0xE8:  # call rel32
        return True
    return any(_is_indirect_call(code[-size:]) for size in (2, 3, 4, 6, 7) if size <= len(code))


# call r/m64 is FF /2: the ModRM byte tells how long it is (Intel SDM 2, table 2-2).
def _is_indirect_call(code: bytes) -> bool:
    if code[0] != 0xFF or code[1] >> 3 & 7 != 2:
        return False

    mode, operand = code[1] >> 6, code[1] & 7
    if mode == 3:
        return len(code) == 2
    size = 2 + (operand == 4) + (0, 1, 4)[mode]
    if mode == 0 and (operand == 5 or (operand == 4 and len(code) > 2 and code[2] & 7 == 5)):
        size += 4
    return len(code) == size
