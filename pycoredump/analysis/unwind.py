"""The stacks of all threads: by call frame information, and by marked guesses where that ends."""

from __future__ import annotations

import time

from pycoredump.analysis import arch
from pycoredump.analysis.arch import Registers
from pycoredump.analysis.callframe import (
    EXPRESSION,
    OFFSET,
    REGISTER,
    SAME,
    UNDEFINED,
    VAL_EXPRESSION,
    VAL_OFFSET,
    Row,
)
from pycoredump.analysis.cfi import Tables
from pycoredump.analysis.expression import evaluate
from pycoredump.analysis.frames import Resolver
from pycoredump.analysis.guess import Guesser
from pycoredump.analysis.image import Image
from pycoredump.analysis.lines import Lines
from pycoredump.analysis.model import Module, ThreadTrace
from pycoredump.analysis.symbols import Symbols
from pycoredump.elfnote import Thread
from pycoredump.errors import CoreError
from pycoredump.record import Record

MASK = (1 << 64) - 1
LINES_SECONDS = 2.0  # at most for source lines, which are a comfort


class Budget(Record):
    """How much a backtrace may cost."""

    frames: int = 64  # per thread, as systemd-coredump
    threads: int = 1024
    seconds: float = 10.0  # wall time for all threads; what is done by then is the answer


class Step:
    """One frame before it has a name."""

    __slots__ = ("doubt", "exact", "guess", "pc", "signal")

    def __init__(self, pc: int, *, exact: bool, guess: bool = False, doubt: bool = False) -> None:
        self.pc = pc
        self.exact = exact  # pc is where it stopped, not where it will return to
        self.guess = guess
        self.doubt = doubt  # it, or a frame before it, is a guess
        self.signal = False


class Stopped(Exception):
    """No caller: `reason` says why, "" if this was the first function of the thread."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def threads(image: Image, budget: Budget | None = None) -> tuple[ThreadTrace, ...]:
    """The stacks of all threads, the crashing one first, identical ones folded into the first of them.

    Never raises for what the core or the modules contain: a stack that cannot be walked says so in its
    `end`. What the budget cuts off is named in image.problems.
    """
    budget = budget or Budget()
    deadline = time.monotonic() + budget.seconds
    symbols = Symbols(image, deadline)
    walker = Walker(image, symbols, deadline=deadline, frames=budget.frames)
    resolver = Resolver(image, symbols, _lines(image, deadline), deadline)
    traces: dict[tuple[int, ...], ThreadTrace] = {}
    done = 0
    for thread in image.layout.threads[: budget.threads]:
        if done and time.monotonic() > deadline:
            break
        steps, end = walker.walk(thread)
        # The crashing thread stays alone: its stack is what people look for.
        key = (bool(done), *(step.pc for step in steps))
        known = traces.get(key)
        if known is not None:
            traces[key] = known.replace(same_as=(*known.same_as, thread.tid))
        else:
            frames = tuple(
                resolver.frame(s.pc, exact=s.exact or s.signal, guess=s.guess, signal=s.signal)
                for s in steps
            )
            traces[key] = ThreadTrace(tid=thread.tid, frames=frames, end=end)
        done += 1

    total = len(image.layout.threads)
    if done < total:
        image.problems.append(f"Of {total} threads {done} have a backtrace: the limits allow no more.")
    return tuple(traces.values())


def _lines(image: Image, deadline: float) -> Lines | None:
    files = (file for module in image.modules for file in (image.elf(module), image.debug(module)) if file)
    if not any(file.has_lines for file in files):
        return None
    return Lines(image, min(LINES_SECONDS, deadline - time.monotonic()))


class Walker:
    """Goes from frame to frame through one process."""

    def __init__(self, image: Image, symbols: Symbols, *, deadline: float, frames: int) -> None:
        self._image = image
        self._memory = image.memory
        self._deadline = deadline
        self._frames = frames
        self._machine = arch.machine(image.layout)
        self._tables: dict[int, Tables | None] = {}
        self._guesser = Guesser(image, self._machine, symbols)

    def walk(self, thread: Thread) -> tuple[list[Step], str]:
        """The frames, innermost first, and why there are no more ("" at the thread's first function)."""
        try:
            registers = self._machine.registers(thread)
        except CoreError as e:
            return [], str(e)

        step = Step(registers[self._machine.pc], exact=True)
        steps = [step]
        while True:
            if time.monotonic() > self._deadline:
                return steps, "the time for it was up"
            try:
                registers, step = self._caller(registers, step, innermost=len(steps) == 1)
            except Stopped as e:
                # Who guesses wrong does not arrive at a thread's first function.
                for step in steps if e.reason else ():
                    step.guess = step.doubt
                return steps, e.reason
            if len(steps) >= self._frames:
                return steps, f"only {self._frames} frames are shown"
            steps.append(step)

    def _caller(self, registers: Registers, step: Step, *, innermost: bool) -> tuple[Registers, Step]:
        machine = self._machine
        interrupted = machine.interrupted(self._memory, registers)
        if interrupted is not None:
            step.signal = True
            return interrupted, Step(interrupted[machine.pc], exact=True, doubt=step.doubt)

        try:
            row = self._row(step)
            if row is not None:
                caller = self._apply(row, registers)
                self._check(registers, caller, may_stay=step.exact, signal=row.signal)
                if step.doubt and not row.signal and not self._guesser.plausible(caller, registers):
                    raise CoreError("the guesses before this frame lead nowhere")
                step.signal = row.signal
                return caller, Step(caller[machine.pc], exact=row.signal, doubt=step.doubt)
            damage = ""
        except CoreError as e:
            damage = str(e)

        guessed = self._guesser.caller(registers, exact=step.exact, innermost=innermost)
        if guessed is None:
            raise Stopped(damage or self._guesser.reason(registers, innermost=innermost))
        caller, certain = guessed
        return caller, Step(
            caller[machine.pc], exact=False, guess=not certain, doubt=not certain or step.doubt
        )

    def _row(self, step: Step) -> Row | None:
        # A call may be the last instruction of its function: the return address then is in the next one.
        address = step.pc if step.exact else step.pc - 1
        module = self._image.module(address)
        tables = self._of(module) if module else None
        return tables.row(address - module.bias) if module and tables else None

    def _of(self, module: Module) -> Tables | None:
        if module.start not in self._tables:
            file = self._image.elf(module)
            self._tables[module.start] = Tables(file, self._image.debug(module)) if file else None
        return self._tables[module.start]

    def _apply(self, row: Row, registers: Registers) -> Registers:
        ra = row.rules.get(row.ra)
        if ra is not None and ra[0] == UNDEFINED:
            raise Stopped("")

        cfa = self._cfa(row, registers)
        caller = registers | {self._machine.sp: cfa}
        for register, (kind, value) in row.rules.items():
            if kind == OFFSET and isinstance(value, int):
                caller[register] = self._memory.word(cfa + value & MASK)
            else:
                self._rare(caller, register, kind, value, registers, cfa)
        if self._machine.sp not in caller:
            raise CoreError("the stack pointer of the caller is not known")
        self._machine.link(caller, row.ra)
        return caller

    def _cfa(self, row: Row, registers: Registers) -> int:
        if row.cfa_expression:
            return evaluate(row.cfa_expression, registers, self._memory.read)
        base = registers.get(row.cfa_register)
        if base is None:
            raise CoreError(f"register {row.cfa_register}, which the frame is found by, is not known")
        return base + row.cfa_offset & MASK

    def _rare(
        self, caller: Registers, register: int, kind: int, value: int | bytes, registers: Registers, cfa: int
    ) -> None:
        if kind == SAME:
            return
        if kind == UNDEFINED:
            caller.pop(register, None)
        elif isinstance(value, bytes) and kind in (EXPRESSION, VAL_EXPRESSION):
            result = evaluate(value, registers, self._memory.read, cfa)
            caller[register] = self._memory.word(result) if kind == EXPRESSION else result
        elif isinstance(value, int) and kind == VAL_OFFSET:
            caller[register] = cfa + value & MASK
        elif isinstance(value, int) and kind == REGISTER and value in registers:
            caller[register] = registers[value]
        else:
            caller.pop(register, None)

    def _check(self, registers: Registers, caller: Registers, *, may_stay: bool, signal: bool) -> None:
        pc, sp = self._machine.pc, self._machine.sp
        if caller[pc] == 0:
            raise Stopped("")
        if signal:
            return
        if caller[sp] < registers[sp]:
            raise Stopped("the stack turns back on itself")
        if caller[sp] == registers[sp] and (caller[pc] == registers[pc] or not may_stay):
            raise Stopped("the frame repeats itself")
