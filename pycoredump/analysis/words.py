"""The fault in words, for whoever runs the machine. Pure: a Fault in, sentences out, the most telling first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pycoredump import siginfo
from pycoredump.analysis import addresses, instruction, signalwords, syscalls
from pycoredump.analysis.fault import Fault
from pycoredump.analysis.instruction import Access
from pycoredump.crash import SIGNALS
from pycoredump.elfnote import EM_AARCH64, EM_X86_64

SI_KERNEL = 0x80  # asm-generic/siginfo.h


def explain(fault: Fault) -> tuple[str, ...]:
    """What happened, then the signal, the instruction and the registers."""
    return tuple([*_story(fault), _signal(fault), *_instruction(fault), *_registers(fault)])


def _story(fault: Fault) -> Iterator[str]:
    name = SIGNALS.get(fault.signal, "")
    if fault.code is not None and siginfo.has_sender(fault.code):
        yield _sender(fault)
        return
    tell = STORIES.get(name)
    if tell is not None:
        yield from tell(fault)


def _signal(fault: Fault) -> str:
    name = SIGNALS.get(fault.signal, f"Signal {fault.signal}")
    parts = [name]
    meaning = signalwords.signal(name)
    if meaning:
        parts.append(f": {meaning}")
    if fault.code is not None:
        code = siginfo.code_name(fault.signal, fault.code) or f"si_code {fault.code}"
        words = signalwords.code(code)
        parts.append(f" ({code}: {words})" if words else f" ({code})")
        if siginfo.has_address(fault.signal, fault.code) and fault.address is not None:
            parts.append(f", address {fault.address:#x}")
    return "".join(parts) + "."


def _sender(fault: Fault) -> str:
    name = SIGNALS.get(fault.signal, f"signal {fault.signal}")
    if fault.sender_pid == fault.pid and fault.pid:
        if name == "SIGABRT":
            return "The program ended itself: it called abort(), directly or for a failed check."
        return f"The program sent {name} to itself."
    who = f"Process {fault.sender_pid}" if fault.sender_pid else "A process outside of its process namespace"
    return f"{who} of user {fault.sender_uid} sent {name}: nothing in the program itself was wrong at that moment."


def _segv(fault: Fault) -> Iterator[str]:
    code = siginfo.code_name(fault.signal, fault.code) if fault.code is not None else ""
    used = _used(fault)
    if code not in ("SEGV_MAPERR", "SEGV_ACCERR"):
        yield from _without_address(fault, code)
        return
    address = fault.address or 0
    overflow = addresses.stack_overflow(fault, address)
    if overflow:
        yield overflow
    elif address == fault.pc or (
        used is not None and used.kind == instruction.JUMP and address < addresses.NULL_MAX
    ):
        yield addresses.jump(fault, address)
    elif address < addresses.NULL_MAX:
        yield addresses.null(address, used)
    elif code == "SEGV_ACCERR":
        yield addresses.forbidden(fault, address, used)
    else:
        yield addresses.unmapped(fault, address, used)


def _used(fault: Fault) -> Access | None:
    """The one of the instruction's accesses that the fault's address belongs to."""
    found = instruction.accesses(fault.machine, fault.instruction, fault.registers, fault.pc)
    address = fault.address or 0
    for access in found:
        if access.address <= address < access.address + max(access.size, 64):
            return access
    # Fault addresses of pages come without the offset in them on some ways through the kernel.
    return next((access for access in found if access.address >> 12 == address >> 12), None)


def _without_address(fault: Fault, code: str) -> Iterator[str]:
    # A general protection fault: the processor does not say for which address.
    if code == "SI_KERNEL":
        for access in instruction.accesses(fault.machine, fault.instruction, fault.registers, fault.pc):
            if not addresses.is_canonical(access.address):
                yield addresses.noncanonical(access)
                return
        if not addresses.is_canonical(fault.pc):
            yield addresses.jump(fault, fault.pc)
        elif any(a.address % 16 for a in _wide(fault)):
            yield "Use of memory that is not aligned to 16 bytes, by an instruction that needs it so: often a stack that is not aligned."
        else:
            yield "The processor refused the instruction (general protection fault), and gives no address."
    elif code in signalwords.CODES:
        yield f"{signalwords.code(code).capitalize()}."


def _wide(fault: Fault) -> list[Access]:
    found = instruction.accesses(fault.machine, fault.instruction, fault.registers, fault.pc)
    return [access for access in found if access.size >= 16]


def _bus(fault: Fault) -> Iterator[str]:
    code = siginfo.code_name(fault.signal, fault.code) if fault.code is not None else ""
    address = fault.address or 0
    if code == "BUS_ADRERR":
        yield addresses.beyond_file(fault, address)
    elif code.startswith("BUS_MCEERR"):
        yield f"The memory of this machine failed at {address:#x}: a hardware error, see the kernel log."
    elif code == "BUS_ADRALN":
        yield f"Use of the address {address:#x}, which is not aligned as the instruction needs it."
    else:
        yield from _without_address(fault, code)


def _fpe(fault: Fault) -> Iterator[str]:
    code = siginfo.code_name(fault.signal, fault.code) if fault.code is not None else ""
    if code != "FPE_INTDIV":
        if code in signalwords.CODES:
            yield f"{signalwords.code(code).capitalize()}."
        return
    by = instruction.division(fault.machine, fault.instruction, fault.registers, fault.pc)
    value = fault.registers.get(by)
    if value is not None and value & 0xFFFFFFFF:
        yield f"An integer division by {by} = {value:#x}, whose result has no room, as the smallest number divided by -1."
    elif by:
        yield f"An integer was divided by zero ({by}{' = 0' if value is not None else ''})."
    else:
        yield "An integer was divided by zero."


def _ill(fault: Fault) -> Iterator[str]:
    code = fault.instruction
    if fault.machine == EM_X86_64 and code[:2] in (b"\x0f\x0b", b"\x0f\xb9", b"\x0f\xff"):
        yield "The compiler put a stop here (ud2): code that must never be reached, as behind a failed check (__builtin_trap)."
    elif fault.machine == EM_AARCH64 and code[2:4] == b"\0\0" and len(code) >= 4:
        yield "The compiler put a stop here (udf): code that must never be reached."
    elif code[:1] in (b"\x62", b"\xc4", b"\xc5") and fault.machine == EM_X86_64:
        yield "A vector instruction that this processor does not have: the program was built for a newer one."
    elif not code:
        yield f"There is no code that can be read at {fault.pc:#x}."
    else:
        yield "The processor does not know the instruction: built for another processor, or no code at all."


def _trap(fault: Fault) -> Iterator[str]:
    if fault.machine == EM_AARCH64 and fault.instruction[3:4] == b"\xd4":
        yield "A breakpoint instruction (brk) that is part of the program: a failed check, or one that a debugger left."
    elif fault.machine == EM_X86_64:
        yield "A breakpoint instruction (int3) or single step with no debugger to take it: a failed check, or one that a debugger left."


def _sys(fault: Fault) -> Iterator[str]:
    name = syscalls.name(fault.syscall, fault.arch)
    call = f"{name} ({fault.syscall})" if name else f"number {fault.syscall}, which has no name here"
    code = siginfo.code_name(fault.signal, fault.code) if fault.code is not None else ""
    if code == "SYS_SECCOMP":
        yield f"The system call {call} is forbidden by a seccomp filter that the program runs under (SystemCallFilter= of a unit, a container's profile, or its own)."
    elif code:
        yield f"The system call {call} was made where the program wanted to be asked first."


def _quit(_: Fault) -> Iterator[str]:
    yield "It was asked to quit with a core, at a terminal with Ctrl+\\: nothing in the program itself was wrong at that moment."


def _cpu(_: Fault) -> Iterator[str]:
    yield "It has used all the processor time that its limit allows (RLIMIT_CPU, LimitCPU= of a unit): an endless loop, or too small a limit."


def _file_size(_: Fault) -> Iterator[str]:
    yield "It wrote a file beyond the size that its limit allows (RLIMIT_FSIZE, LimitFSIZE= of a unit)."


STORIES: dict[str, Callable[[Fault], Iterator[str]]] = {
    "SIGSEGV": _segv,
    "SIGBUS": _bus,
    "SIGFPE": _fpe,
    "SIGILL": _ill,
    "SIGTRAP": _trap,
    "SIGSYS": _sys,
    "SIGQUIT": _quit,
    "SIGXCPU": _cpu,
    "SIGXFSZ": _file_size,
}


def _instruction(fault: Fault) -> Iterator[str]:
    # A signal that somebody sent has nothing to do with the instruction that stands there.
    if not fault.instruction or fault.code is None or not 0 < fault.code <= SI_KERNEL:
        return
    place = f" ({fault.place})" if fault.place else ""
    size = 4 if fault.machine == EM_AARCH64 else len(fault.instruction)
    uses = [
        f"{access.kind} of {addresses.amount(access.size)} at {access.text} = {access.address:#x}"
        for access in instruction.accesses(fault.machine, fault.instruction, fault.registers, fault.pc)
        if fault.address != fault.pc
    ]
    text = f"Code at {fault.pc:#x}{place}: {fault.instruction[:size].hex(' ')}"
    yield f"{text} ({', '.join(uses)})" if uses else text


def _registers(fault: Fault) -> Iterator[str]:
    shown = {name: value for name, value in fault.registers.items() if name not in ("cs", "ss", "orig_rax")}
    if shown:
        yield "Registers: " + " ".join(f"{name}={value:#x}" for name, value in shown.items())
