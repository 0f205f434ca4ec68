"""The records that the parts of the analysis hand to each other."""

from __future__ import annotations

from pycoredump.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object  # the module typing costs 3 ms


class Memory(Protocol):
    """The memory of the dead process, as far as the core (or a module file) still has it."""

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes at `address`. CoreError if any of them is missing."""
        ...


class Module(Record):
    """An ELF file that was mapped into the process."""

    path: str  # as in NT_FILE, for people; never opened by name with privileges
    start: int  # lowest mapped address
    end: int  # first address after the highest mapping
    bias: int  # run-time address minus p_vaddr of the file
    build_id: str = ""  # lower-case hex of NT_GNU_BUILD_ID, "" if it has none
    main: bool = False  # the program itself, not one of its libraries
    package: dict[str, str] | None = (
        None  # .note.package (0xcafe1a7e) or the owning package: type, name, version, architecture
    )
    error: str = ""  # why symbols or unwind tables of it could not be used, "" if they could


class Frame(Record):
    """One frame of a stack, innermost first."""

    pc: int  # return address as found; for the innermost frame the address of the faulting instruction
    symbol: str = ""  # demangled function name, "" if unknown
    symbol_offset: int = 0  # pc minus start of the function
    module: str = ""  # base name of the module's file, "" if pc is in none
    module_path: str = ""
    module_offset: int = 0  # pc minus the module's bias (an address in the file, as addr2line takes it)
    build_id: str = ""
    file: str = ""  # source file, "" if unknown
    line: int = 0
    guess: bool = False  # found by frame pointer or scan, not by unwind tables
    signal_frame: bool = (
        False  # this frame is a signal trampoline: the frame below it was interrupted, not calling
    )
    inline: bool = False  # a function inlined into the next frame


class ThreadTrace(Record):
    """The stack of one thread."""

    tid: int
    name: str = ""
    frames: tuple[Frame, ...] = ()
    end: str = ""  # why unwinding stopped before the first frame, "" if it reached it
    same_as: tuple[int, ...] = ()  # further threads with an identical stack, folded into this one


class ScriptFrame(Record):
    """One frame of an interpreted language (Python, ...), innermost first."""

    language: str
    function: str
    file: str
    line: int


class ScriptTrace(Record):
    """The interpreter's stack of one thread."""

    tid: int
    frames: tuple[ScriptFrame, ...]


class Report(Record):
    """What the analysis found. Everything is optional: a part that failed is named in `problems`."""

    threads: tuple[ThreadTrace, ...] = ()  # the crashing one first
    modules: tuple[Module, ...] = ()
    words: tuple[str, ...] = ()  # the fault in words, most telling first
    script: str = ""  # the script that an interpreter was running, "" if none
    scripts: tuple[ScriptTrace, ...] = ()
    signature: str = ""  # short stable id, lower-case hex
    title: str = ""  # "SIGSEGV in parse_header (nginx)"
    architecture: str = ""  # as systemd-coredump names it: AMD x86-64
    problems: tuple[str, ...] = ()  # one sentence each: what is missing and why


class Facts(Record):
    """What is known of the dead process besides its core. Everything is optional and may be a lie."""

    signal: int = 0  # for cores that do not tell it
    comm: str = ""
    exe: str = ""  # as the process saw it; never opened
    arguments: tuple[str, ...] = ()  # its command line
    maps: str = ""  # /proc/PID/maps: permissions and names that a small core does not have
    sizes: dict[str, int] = {}  # noqa: RUF012 - path of a mapped file -> bytes it has now; never changed
