"""What differs between machines when a stack is walked. One file per machine."""

from __future__ import annotations

from pycoredump import elfnote
from pycoredump.corefile import Layout
from pycoredump.elfnote import Thread
from pycoredump.errors import CoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object  # the module typing costs 3 ms

# DWARF register number -> value; a register that is not in it is not known
Registers = dict[int, int]


class Memory(Protocol):
    """What the walkers need of image.CoreMemory."""

    def read(self, address: int, size: int) -> bytes: ...

    def word(self, address: int) -> int: ...


class Machine(Protocol):
    """The rules of one machine. The stack grows down on all of them."""

    sp: int  # DWARF number of the stack pointer
    fp: int  # and of the frame pointer
    pc: int  # a number for the program counter, which DWARF does not give everywhere

    def registers(self, thread: Thread) -> Registers:
        """Those of the thread when it died. CoreError if the core does not have them."""
        ...

    def interrupted(self, memory: Memory, registers: Registers) -> Registers | None:
        """If pc is at a signal trampoline, known by its code: the registers of what it interrupted."""
        ...

    def called(self, memory: Memory, address: int) -> bool:
        """Is the instruction before `address` a call? Code that is not in the core counts as no."""
        ...

    def leaf(self, memory: Memory, registers: Registers) -> Registers | None:
        """The caller, if the function has done nothing yet but being called."""
        ...

    def by_frame_pointer(self, memory: Memory, registers: Registers) -> Registers | None:
        """The caller, if the function keeps a frame pointer."""
        ...

    def by_prologue(self, memory: Memory, registers: Registers, start: int) -> Registers | None:
        """The caller, from what the code between `start` of the function and pc did to the stack."""
        ...

    def strip(self, address: int) -> int:
        """A return address as found on the stack, without what the machine may have added to it."""
        ...

    def link(self, registers: Registers, column: int) -> None:
        """Set pc from the return address in `column`."""
        ...


def machine(layout: Layout) -> Machine:
    """The rules for the machine of a core. CoreError if there are none."""
    # Imported here: each knows this module's names.
    from pycoredump.analysis.arch import aarch64, x86_64

    if layout.abi.machine == elfnote.EM_X86_64:
        return x86_64.X86_64()
    if layout.abi.machine == elfnote.EM_AARCH64:
        return aarch64.Aarch64(layout)
    raise CoreError(f"Stacks of machine {layout.abi.machine} cannot be read")
