"""aarch64: register numbers of its ABI, signal frames of Linux, calls by their bits, signed return addresses."""

from __future__ import annotations

import struct

from pycoredump import elfnote
from pycoredump.analysis.arch import Memory, Registers
from pycoredump.corefile import Layout
from pycoredump.elfnote import Thread
from pycoredump.errors import CoreError

FP, LR, SP, PC = 29, 30, 31, 32
NT_ARM_PAC_MASK = 0x406  # linux/elf.h; struct user_pac_mask: data_mask, insn_mask
ADDRESS_BITS = (1 << 48) - 1  # where the core does not name the mask: user space of the common kernels

_SIGRETURN = struct.pack("<II", 0xD2801168, 0xD4000001)  # mov x8, #139; svc #0
# struct rt_sigframe (arch/arm64/kernel/signal.c): siginfo (128), ucontext; uc_mcontext is 176 into that, and
# begins with the fault address.
_SIGCONTEXT_AT = 128 + 176 + 8

_PROLOGUE_MAX = 64  # instructions looked at
_PUSH_MASK, _PUSH = 0xFFC07FFF, 0xA9807BFD  # stp x29, x30, [sp, #-n]!
_SET_FP_MASK, _SET_FP = 0xFFC003FF, 0x910003FD  # add x29, sp, #n
MASK = (1 << 64) - 1


class Aarch64:
    sp, fp, pc = SP, FP, PC

    def __init__(self, layout: Layout | None = None) -> None:
        self._code_bits = ADDRESS_BITS
        notes = elfnote.notes(layout.notes, layout.abi) if layout else iter(())
        mask = next((n.data for n in notes if n.type == NT_ARM_PAC_MASK and len(n.data) >= 16), b"")
        if mask:
            self._code_bits = MASK & ~int.from_bytes(mask[8:16], "little")

    def registers(self, thread: Thread) -> Registers:
        if len(thread.registers) < 34 * 8:
            raise CoreError(f"The core has no registers of thread {thread.tid}")
        return dict(enumerate(struct.unpack_from("<33Q", thread.registers)))

    def interrupted(self, memory: Memory, registers: Registers) -> Registers | None:
        try:
            if memory.read(registers[PC], len(_SIGRETURN)) != _SIGRETURN:
                return None
            saved = memory.read(registers[SP] + _SIGCONTEXT_AT, 33 * 8)
        except CoreError:
            return None
        return dict(enumerate(struct.unpack("<33Q", saved)))

    def called(self, memory: Memory, address: int) -> bool:
        try:
            word = int.from_bytes(memory.read(address - 4, 4), "little")
        except CoreError:
            return False
        return word >> 26 == 0b100101 or word & 0xFEFFF800 == 0xD63F0800 or word & 0xFFFFFC1F == 0xD63F0000

    def leaf(self, memory: Memory, registers: Registers) -> Registers | None:
        if LR not in registers:
            return None
        return registers | {PC: self.strip(registers[LR])}

    def by_frame_pointer(self, memory: Memory, registers: Registers) -> Registers | None:
        base = registers.get(FP, 0)
        return self._restored(memory, registers, base, base + 16) if base >= registers[SP] else None

    def by_prologue(self, memory: Memory, registers: Registers, start: int) -> Registers | None:
        pushed = 0
        for address in range(start, min(registers[PC], start + 4 * _PROLOGUE_MAX), 4):
            try:
                word = int.from_bytes(memory.read(address, 4), "little")
            except CoreError:
                return None
            if word & _PUSH_MASK == _PUSH:
                pushed = 8 * (128 - (word >> 15 & 0x7F))
            elif word & _SET_FP_MASK == _SET_FP and pushed:
                return self.by_frame_pointer(memory, registers)
        if pushed:
            return self._restored(memory, registers, registers[SP], registers[SP] + pushed)
        return self.leaf(memory, registers)

    def link(self, registers: Registers, column: int) -> None:
        if column not in registers:
            raise CoreError("The return address is not known")
        registers[PC] = registers[LR] = self.strip(registers[column])

    def strip(self, address: int) -> int:
        """The return address without its pointer authentication code."""
        return address & self._code_bits

    def _restored(self, memory: Memory, registers: Registers, record: int, sp: int) -> Registers | None:
        # A frame record is the saved x29 and x30 (AAPCS64, "The Frame Pointer").
        try:
            fp, lr = struct.unpack("<QQ", memory.read(record, 16))
        except CoreError:
            return None
        return registers | {FP: fp, LR: self.strip(lr), PC: self.strip(lr), SP: sp & MASK}
