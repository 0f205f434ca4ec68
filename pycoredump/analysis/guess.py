"""The caller where no call frame information tells it: by what a call does, by frame pointer, by search."""

from __future__ import annotations

from pycoredump.analysis.arch import Machine, Registers
from pycoredump.analysis.image import Image
from pycoredump.analysis.symbols import Symbols

SCAN_MAX = 1024  # words of the stack looked at for a return address
FRAME_MAX = 1 << 20  # bytes of one frame, where a frame pointer is trusted


class Guesser:
    """Guesses callers, and says which guesses are as good as knowledge."""

    def __init__(self, image: Image, machine: Machine, symbols: Symbols) -> None:
        self._image = image
        self._machine = machine
        self._symbols = symbols

    def caller(self, registers: Registers, *, exact: bool, innermost: bool) -> tuple[Registers, bool] | None:
        """(registers of the caller, is it certain) or None."""
        machine, memory = self._machine, self._image.memory
        code = self._image.executable(registers[machine.pc])
        if innermost and not code:
            # A call through a bad pointer: the call itself left the return address.
            left = machine.leaf(memory, registers)
            if left is not None and self.plausible(left, registers):
                return left, True

        start = self._start(registers[machine.pc] - (not exact)) if code else None
        if start is not None:
            by_prologue = machine.by_prologue(memory, registers, start)
            if by_prologue is not None and self.plausible(by_prologue, registers):
                return by_prologue, False

        by_pointer = machine.by_frame_pointer(memory, registers)
        if by_pointer is not None and (
            self.plausible(by_pointer, registers) or self._in_chain(by_pointer, registers)
        ):
            return by_pointer, False
        if self._outermost(registers, innermost=innermost):
            return None
        return self._scan(registers, innermost=innermost)

    def reason(self, registers: Registers, *, innermost: bool) -> str:
        """Why there is no caller, "" if this is the first function."""
        pc = registers[self._machine.pc]
        module = self._image.module(pc)
        if module is not None and module.error:
            return f"{module.path}: {module.error}"
        if self._outermost(registers, innermost=innermost):
            return ""
        if not self._image.executable(pc):
            return f"there is no code at {pc:#x}"
        return "no call frame information and no frame pointer"

    # The ABIs want the frame pointer of a thread's first function to be zero.
    def _outermost(self, registers: Registers, *, innermost: bool) -> bool:
        pc = registers[self._machine.pc]
        return not innermost and registers.get(self._machine.fp) == 0 and self._image.module(pc) is not None

    def plausible(self, caller: Registers, registers: Registers) -> bool:
        """Does the caller's pc stand behind a call, further up the stack?"""
        pc, sp = caller[self._machine.pc], caller[self._machine.sp]
        return (
            sp >= registers[self._machine.sp]
            and (sp, pc) != (registers[self._machine.sp], registers[self._machine.pc])
            and self._image.executable(pc)
            and self._machine.called(self._image.memory, pc)
        )

    # Interpreters made at run time (HotSpot's, for one) put return addresses on the stack without a call;
    # but they keep frame pointers, which then lead up the stack.
    def _in_chain(self, caller: Registers, registers: Registers) -> bool:
        pc, sp, fp = caller[self._machine.pc], caller[self._machine.sp], caller.get(self._machine.fp, 0)
        return (
            sp > registers[self._machine.sp]
            and sp <= fp < sp + FRAME_MAX
            and self._image.module(pc) is None
            and self._image.executable(pc)
        )

    def _start(self, pc: int) -> int | None:
        module = self._image.module(pc)
        if module is None:
            return None
        found = self._symbols.find(module, pc)
        return found.address if found is not None else None

    def _scan(self, registers: Registers, *, innermost: bool) -> tuple[Registers, bool] | None:
        machine = self._machine
        sp = registers[machine.sp] + 7 & ~7
        stack = self._image.memory.available(sp, SCAN_MAX * 8)
        for at in range(0, len(stack) - 7, 8):
            pc = machine.strip(int.from_bytes(stack[at : at + 8], "little"))
            if pc < 4096 or not self._image.executable(pc) or not machine.called(self._image.memory, pc):
                continue

            caller = dict(registers)
            caller[machine.pc], caller[machine.sp] = pc, sp + at + 8
            self._frame_pointer(caller, stack[max(at - 8, 0) : at])
            return caller, False
        return None

    # A function that keeps a frame pointer has saved its caller's right below the return address.
    def _frame_pointer(self, caller: Registers, saved: bytes) -> None:
        sp, fp = caller[self._machine.sp], self._machine.fp
        for candidate in (int.from_bytes(saved, "little"), caller.get(fp, 0)):
            if candidate % 8 == 0 and sp <= candidate < sp + FRAME_MAX:
                caller[fp] = candidate
                return
        caller.pop(fp, None)
