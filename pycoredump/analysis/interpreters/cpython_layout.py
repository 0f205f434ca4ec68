"""Where CPython keeps what makes up its stacks, by version.

From 3.13 on the interpreter itself says so (_Py_DebugOffsets, Include/internal/pycore_runtime.h, from 3.14
pycore_debug_offsets.h). For 3.11 and 3.12 the offsets are those of the headers on a 64-bit machine; they did not
change within these series.
"""

from __future__ import annotations

import struct

from pycoredump.analysis.image import CoreMemory
from pycoredump.errors import CoreError
from pycoredump.record import Record

COOKIE = b"xdebugpy"


class Layout(Record):
    """Offsets in bytes from the beginning of each structure."""

    interpreters: int  # _PyRuntimeState.interpreters.head
    interpreter_next: int  # PyInterpreterState.next
    threads: int  # .threads.head
    thread_next: int  # PyThreadState.next
    native_id: int  # .native_thread_id
    current_frame: int  # .current_frame, or, with `through`, of _PyCFrame
    through: int = -1  # PyThreadState.cframe; -1: the thread names the frame itself
    previous: int  # _PyInterpreterFrame.previous
    code: int  # .f_code, .f_executable
    instruction: int  # .prev_instr, .instr_ptr
    owner: int  # .owner
    filename: int  # PyCodeObject.co_filename
    qualname: int
    linetable: int
    first_line: int
    bytecode: int  # .co_code_adaptive
    bytes_data: int = 32  # PyBytesObject.ob_sval
    bytes_size: int = 16
    text_length: int = 16  # PyASCIIObject.length
    text_state: int = 32
    text_ascii: int = 40  # sizeof(PyASCIIObject): where the characters are
    text_wide: int = 56  # sizeof(PyCompactUnicodeObject): where they are if not all are ASCII
    text_kind: int = 2  # first bit of `kind` in the state


FIXED = {
    (3, 11): Layout(
        interpreters=40,
        interpreter_next=0,
        threads=16,
        thread_next=8,
        native_id=160,
        through=56,
        current_frame=8,
        previous=48,
        code=32,
        instruction=56,
        owner=69,
        filename=112,
        qualname=128,
        linetable=136,
        first_line=72,
        bytecode=184,
        text_ascii=48,
        text_wide=72,
    ),
    (3, 12): Layout(
        interpreters=40,
        interpreter_next=0,
        threads=72,
        thread_next=8,
        native_id=144,
        through=56,
        current_frame=0,
        previous=8,
        code=0,
        instruction=56,
        owner=70,
        filename=112,
        qualname=128,
        linetable=136,
        first_line=68,
        bytecode=192,
    ),
}

# Fields of _Py_DebugOffsets in their order, 8 bytes each; those without a name here are not needed.
_RUNTIME = ("", "", "interpreters")
_THREAD = ("", "", "thread_next", "", "current_frame", "", "native_id", "", "")
_OBJECTS = 2 + 4 + 3 + 3 + 3 + 2 + 3  # pyobject, type, tuple, list, dict, float, long
DESCRIBED = {
    (3, 13): (
        *_RUNTIME,
        *("", "", "interpreter_next", "threads", *[""] * 9),
        *_THREAD,
        *("", "previous", "code", "instruction", "", "owner"),
        *("", "filename", "", "qualname", "linetable", "first_line", "", "", "", "bytecode"),
        *[""] * _OBJECTS,
        *("", "bytes_size", "bytes_data"),
        *("", "text_state", "text_length", "text_ascii"),
    ),
    (3, 14): (
        *_RUNTIME,
        *("", "", "interpreter_next", "threads", *[""] * 12),
        *_THREAD,
        *("", "previous", "code", "instruction", "", "owner", "", ""),
        *("", "filename", "", "qualname", "linetable", "first_line", "", "", "", "bytecode", ""),
        *[""] * (_OBJECTS + 4),  # and set
        *("", "bytes_size", "bytes_data"),
        *("", "text_state", "text_length", "text_ascii"),
    ),
}
OFFSET_MAX = 1 << 24  # bytes; the largest of the structures has some 300,000
FREE_THREADED_KIND = 8  # first bit of `kind` where the flag before it is a char of its own (unicodeobject.h)


def read(memory: CoreMemory, runtime: int, version: int) -> Layout:
    """The layout for the runtime at an address; `version` as PY_VERSION_HEX, 0 if unknown. CoreError."""
    head = memory.read(runtime, 24)
    if head[:8] == COOKIE:
        version = struct.unpack_from("<Q", head, 8)[0]
    series = (version >> 24 & 255, version >> 16 & 255)
    if series in FIXED:
        return FIXED[series]
    if head[:8] != COOKIE or series not in DESCRIBED:
        raise CoreError(f"Stacks of Python {series[0]}.{series[1]} are not known here")

    names = DESCRIBED[series]
    values = struct.unpack(f"<{len(names)}Q", memory.read(runtime + 24, 8 * len(names)))
    found = {name: value for name, value in zip(names, values, strict=True) if name}
    if max(found.values()) > OFFSET_MAX:
        raise CoreError("The interpreter's own description of its structures is damaged")
    return FIXED[3, 12].replace(
        **found,
        through=-1,
        text_wide=found["text_ascii"] + 16,
        text_kind=FREE_THREADED_KIND if head[16] and series >= (3, 14) else 2,
    )
