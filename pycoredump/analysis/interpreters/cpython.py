"""CPython 3.11 to 3.14: the stacks of all threads from the interpreter's own structures in the core, and the script."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from pycoredump.analysis import datasymbols
from pycoredump.analysis.image import Image
from pycoredump.analysis.interpreters import commandline, cpython_layout
from pycoredump.analysis.interpreters.commandline import Options
from pycoredump.analysis.interpreters.cpython_layout import Layout
from pycoredump.analysis.model import Module, ScriptFrame, ScriptTrace
from pycoredump.errors import CoreError

LANGUAGE = "Python"
OPTIONS = Options(
    code="c", module="m", valued="WX", words=frozenset({"--check-hash-based-pycs", "--help-xoptions"})
)

INTERPRETERS_MAX = 16
THREADS_MAX = 1024
FRAMES_MAX = 128  # of one thread that are told
STEPS_MAX = 4096  # frames looked at in one thread: those of the C stack between them, too
TEXT_MAX = 1024  # characters
TABLE_MAX = 1 << 20  # bytes of one function's line table
OWNED_BY_C = 3  # _frameowner: from here on frames of the interpreter itself

Code = tuple[str, str, int, bytes, int]  # file, function, first line, line table, address of the bytecode


class CPython:
    name = LANGUAGE
    program = re.compile(r"(python|pypy)[\d.]*(-dbg|-intel64|t|d)?")
    library = re.compile(r"libpython3")

    def script(self, arguments: tuple[str, ...]) -> str:
        return commandline.script(arguments, OPTIONS)

    def frames(self, process: Image, *, deadline: float) -> tuple[ScriptTrace, ...]:
        for module in process.modules:
            runtime = datasymbols.find(process, module, "_PyRuntime")
            if runtime is not None:
                version = _version(process, module)
                layout = cpython_layout.read(process.memory, runtime.address, version)
                return Walker(process, layout, deadline).traces(runtime.address)
        raise CoreError("No module of the process has the symbol _PyRuntime")


def _version(process: Image, module: Module) -> int:
    """PY_VERSION_HEX: by the variable that says it, else by the library's name; 0 if neither tells."""
    variable = datasymbols.find(process, module, "Py_Version")
    if variable is not None:
        try:
            return process.memory.word(variable.address)
        except CoreError:
            pass
    found = re.search(r"python(\d)\.(\d+)", module.path.rpartition("/")[2])
    return int(found[1]) << 24 | int(found[2]) << 16 if found else 0


class Walker:
    """Follows the lists of one interpreter process. Everything in it may be damaged: every list has an end here."""

    def __init__(self, process: Image, layout: Layout, deadline: float) -> None:
        self._memory = process.memory
        self._layout = layout
        self._deadline = deadline
        self._codes: dict[int, Code] = {}
        self._texts: dict[int, str] = {}

    def traces(self, runtime: int) -> tuple[ScriptTrace, ...]:
        """A thread's stack that is damaged ends where it is; those without any frame are left out."""
        found = []
        for thread in self._threads(runtime):
            tid = self._memory.word(thread + self._layout.native_id)
            frames = tuple(self._frames(thread))
            if frames and 0 < tid < 1 << 31:
                found.append(ScriptTrace(tid=tid, frames=frames))
        return tuple(found)

    def _threads(self, runtime: int) -> Iterator[int]:
        interpreters = self._list(runtime + self._layout.interpreters, self._layout.interpreter_next)
        for _, interpreter in zip(range(INTERPRETERS_MAX), interpreters, strict=False):
            threads = self._list(interpreter + self._layout.threads, self._layout.thread_next)
            for _, thread in zip(range(THREADS_MAX), threads, strict=False):
                yield thread

    def _list(self, head: int, following: int) -> Iterator[int]:
        """The addresses in a linked list; `head` is where the first one is stored."""
        while True:
            try:
                address = self._memory.word(head)
            except CoreError:
                return
            if not address or time.monotonic() > self._deadline:
                return
            yield address
            head = address + following

    def _frames(self, thread: int) -> Iterator[ScriptFrame]:
        layout = self._layout
        count = 0
        try:
            if layout.through >= 0:
                thread = self._memory.word(thread + layout.through)
            frames = self._list(thread + layout.current_frame, layout.previous)
            for _, frame in zip(range(STEPS_MAX), frames, strict=False):
                if self._memory.read(frame + layout.owner, 1)[0] >= OWNED_BY_C:
                    continue
                yield self._frame(frame)
                count += 1
                if count >= FRAMES_MAX:
                    return
        except CoreError:
            return

    def _frame(self, frame: int) -> ScriptFrame:
        layout = self._layout
        # Free-threaded builds keep a mark in the lowest bits of references.
        file, function, first, table, bytecode = self._code(self._memory.word(frame + layout.code) & ~7)
        instruction = self._memory.word(frame + layout.instruction)
        line = line_at(table, first, instruction - bytecode)
        return ScriptFrame(language=LANGUAGE, function=function, file=file, line=line)

    def _code(self, address: int) -> Code:
        found = self._codes.get(address)
        if found is None:
            layout, memory = self._layout, self._memory
            first = int.from_bytes(memory.read(address + layout.first_line, 4), "little", signed=True)
            found = self._codes[address] = (
                self._text(memory.word(address + layout.filename)),
                self._text(memory.word(address + layout.qualname)),
                first,
                self._bytes(memory.word(address + layout.linetable)),
                address + layout.bytecode,
            )
        return found

    def _bytes(self, address: int) -> bytes:
        size = self._memory.word(address + self._layout.bytes_size)
        return self._memory.read(address + self._layout.bytes_data, min(size, TABLE_MAX))

    def _text(self, address: int) -> str:
        if address not in self._texts:
            self._texts[address] = self._unicode(address)
        return self._texts[address]

    # PyASCIIObject, PyCompactUnicodeObject (Include/cpython/unicodeobject.h): interned, kind, compact, ascii.
    def _unicode(self, address: int) -> str:
        layout, memory = self._layout, self._memory
        length = min(memory.word(address + layout.text_length), TEXT_MAX)
        state = int.from_bytes(memory.read(address + layout.text_state, 4), "little") >> layout.text_kind
        width, compact, ascii_only = state & 7, state >> 3 & 1, state >> 4 & 1
        if width not in (1, 2, 4) or not compact:
            raise CoreError(f"There is no text at {address:#x}")
        at = address + (layout.text_ascii if ascii_only else layout.text_wide)
        encoding = {1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}[width]
        return memory.read(at, length * width).decode(encoding, "replace")


def line_at(table: bytes, first: int, offset: int) -> int:
    """The line of the instruction at `offset` bytes, 0 if it has none.

    co_linetable since 3.11 (Objects/locations.md): each entry has 1, code (4 bits), length - 1 (3 bits), and then
    by its code the change of the line.
    """
    line, start, at = first, 0, 0
    while at < len(table):
        head = table[at]
        code, size = head >> 3 & 15, ((head & 7) + 1) * 2
        delta = 0
        if code in (13, 14):
            delta = _signed(_varint(table, at + 1))
        elif 10 <= code <= 12:
            delta = code - 10
        line += delta
        if start <= offset < start + size:
            return line if code != 15 else 0
        start += size
        at += 1
        while at < len(table) and table[at] < 128:  # only the first byte of an entry has the highest bit
            at += 1
    return 0


def _varint(table: bytes, at: int) -> int:
    value, shift = 0, 0
    while at < len(table) and shift < 60:
        value |= (table[at] & 63) << shift
        if not table[at] & 64:
            break
        at, shift = at + 1, shift + 6
    return value


def _signed(value: int) -> int:
    return -(value >> 1) if value & 1 else value >> 1
