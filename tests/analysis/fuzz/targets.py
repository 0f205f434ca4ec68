"""What is fuzzed: functions that take any bytes and must end soon, with nothing but PycoredumpError inside.

Run by test_hostile.py (hypothesis, short) and atheris_fuzz.py (minutes).
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
import time
from collections.abc import Callable

sys.path.insert(
    0, os.fspath(pathlib.Path(__file__).resolve().parents[1])
)  # elfbuilder, also when atheris runs this
sys.path.insert(0, os.fspath(pathlib.Path(__file__).resolve().parents[2]))  # elfcore

import elfcore
from elfbuilder import STACK, TEXT, Function, build, dead, registers, uleb, words

from pycoredump import corefile, elfnote, metadata, zstd
from pycoredump.analysis import (
    abortmsg,
    dpkg,
    fault,
    interpreters,
    rpm,
    signature,
    stacktrace,
    stored,
    unwind,
    wire,
)
from pycoredump.analysis import words as words_of
from pycoredump.analysis.callframe import Cie, Fde, row_at
from pycoredump.analysis.demangle import demangle
from pycoredump.analysis.elf import Elf
from pycoredump.analysis.expression import evaluate
from pycoredump.analysis.image import Image
from pycoredump.analysis.model import Facts, Report
from pycoredump.analysis.source import BytesSource
from pycoredump.archive import Writer
from pycoredump.elfnote import MappedFile
from pycoredump.errors import PycoredumpError
from pycoredump.reader import Archive

BASE = 0x5555_0000_0000
CALLS = b"\xe8\0\0\0\0" * 12
FILES = {
    machine: build(
        [
            Function(
                name="_ZN3foo3barEv", start=TEXT, size=0x40, instructions=bytes.fromhex("0e10410e208603")
            ),
            Function(
                name="middle",
                start=TEXT + 0x40,
                size=0x40,
                instructions=bytes.fromhex("0f03770806"),
                code=CALLS,
            ),
            Function(
                name="first", start=TEXT + 0x80, size=0x40, instructions=b"\x07" + uleb(16), code=CALLS
            ),
        ],
        machine=machine,
    )
    for machine in (elfnote.EM_X86_64, elfnote.EM_AARCH64)
}
STACK_BYTES = words(0, BASE + TEXT + 0x4A, STACK + 64, BASE + TEXT + 0x8A) * 8


CORE = elfcore.linux_process().core()


def patched(base: bytes, data: bytes) -> bytes:
    """`base` with changes: 2 bytes say where, 1 how many, then the bytes."""
    out = bytearray(base)
    at = 0
    while at + 3 <= len(data):
        place = int.from_bytes(data[at : at + 2], "little") % len(out)
        size = data[at + 2] % 9
        out[place : place + size] = data[at + 3 : at + 3 + size][: len(out) - place]
        at += 3 + size
    return bytes(out)


def backtrace(data: bytes) -> None:
    """A whole backtrace through a damaged module and a damaged stack."""
    head, rest = data[:4].ljust(4, b"\0"), data[4:]
    machine = elfnote.EM_AARCH64 if head[0] & 1 else elfnote.EM_X86_64
    half = len(rest) * (head[1] or 128) // 256
    file, stack = patched(FILES[machine], rest[:half]), patched(STACK_BYTES, rest[half:])
    pc = BASE + TEXT + head[2]
    core, layout = dead(
        [(BASE, file[: 0x4000 if head[0] & 2 else 0x1000], 5), (STACK, stack, 6)],
        [registers(machine, pc, STACK, r4=STACK + 8 * (head[3] & 15), r29=STACK, r30=BASE + TEXT + 0x48)]
        if machine == elfnote.EM_AARCH64
        else [registers(machine, pc, STACK, r4=STACK + 8 * (head[3] & 15))],
        machine=machine,
        files=(MappedFile(start=BASE, end=BASE + 0x4000, offset=0, path=b"/x.so"),),
    )
    modules = {} if head[0] & 4 else {b"/x.so": BytesSource(file)}
    made = Image(core, layout, modules)
    if head[0] & 8:
        made.debug_files = {m.build_id: BytesSource(file) for m in made.modules}
    found = unwind.threads(made, unwind.Budget(seconds=2.0))
    list(stacktrace.lines(Report(threads=found, modules=made.modules)))


def rules(data: bytes) -> None:
    """A backtrace by frame instructions of all kinds, through a stack of all kinds."""
    machine = elfnote.EM_AARCH64 if data[:1] > b"\x7f" else elfnote.EM_X86_64
    size = data[1] if len(data) > 1 else 0
    instructions, stack = data[2 : 2 + size], data[2 + size :]
    functions = [Function(name="f", start=TEXT, size=0x80, instructions=instructions, code=CALLS + CALLS)]
    base = STACK - TEXT - 0x10  # so that few bytes of the stack make a return address
    core, layout = dead(
        [(base, build(functions, machine=machine), 5), (STACK + 0x10000, stack, 6)],
        [registers(machine, base + TEXT + 0x40, STACK + 0x10000, r4=STACK + 0x10008, r29=STACK + 0x10000)]
        if machine == elfnote.EM_AARCH64
        else [registers(machine, base + TEXT + 0x40, STACK + 0x10000, r4=STACK + 0x10008)],
        machine=machine,
        files=(MappedFile(start=base, end=base + 0x4000, offset=0, path=b"/x.so"),),
    )
    unwind.threads(Image(core, layout), unwind.Budget(seconds=2.0))


def core(data: bytes) -> None:
    """Any bytes as a core with a small module."""
    image = Image(BytesSource(data), corefile.parse(data), {})
    list(stacktrace.lines(Report(threads=unwind.threads(image, unwind.Budget(seconds=2.0)))))


def frame_rules(data: bytes) -> None:
    cie = Cie(code=1, data=-8, ra=16, encoding=0, augmented=False, signal=False, instructions=data[:20])
    row_at(Fde(start=0, end=1 << 32, cie=cie, instructions=data[20:]), 1 << 31)


def expression(data: bytes) -> None:
    evaluate(data, {n: n * 8 for n in range(17)}, lambda address, size: bytes(size), 1 << 40)


def name(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for prefix in ("", "_Z", "_ZN", "_R", "_RNv"):
        assert len(demangle(prefix + text)) < 1 << 20


def elf_file(data: bytes) -> None:
    file = Elf(BytesSource(patched(FILES[elfnote.EM_X86_64], data)))
    file.build_id, file.package_note, file.mini, file.dynamic, file.sections  # noqa: B018


def notes(data: bytes) -> None:
    """Any bytes as the notes of a core, of both word sizes."""
    abi = elfnote.Abi(word=8 if data[:1] < b"\x80" else 4, order="<", machine=elfnote.EM_X86_64)
    for note in elfnote.notes(data[1:], abi):
        elfnote.thread(note.data, abi)
        elfnote.signal_info(note.data, abi)
        elfnote.auxiliary_vector(note.data, abi)
        elfnote.mapped_files(note.data, abi)
        elfnote.process_info(note.data)


def _archive() -> bytes:
    fd = os.memfd_create("archive")
    writer = Writer(fd, limit=1 << 20)
    writer.head(CORE[:4096])
    writer.append(zstd.raw(CORE[4096:]), len(CORE) - 4096)
    writer.zeros(1 << 16)
    writer.finish(metadata.frame({"COREDUMP_PID": b"1"}))
    try:
        return os.pread(fd, 1 << 20, 0)
    finally:
        os.close(fd)


ARCHIVE = _archive()


def archive(data: bytes) -> None:
    """A damaged archive: its metadata, its core by parts and as a whole, and the analysis of that."""
    fd = os.memfd_create("archive")
    try:
        os.write(fd, patched(ARCHIVE, data))
        with contextlib.suppress(PycoredumpError):
            found = Archive(fd)
            assert all(isinstance(value, str) for value in found.fields.values())
            found.read(0, 1 << 16)
            for number, _ in zip(range(64), found.stream(), strict=False):
                assert number < 64
        source = stored.source(fd)
        Image(source, stored.layout(source), {})
    finally:
        os.close(fd)


def whole(data: bytes) -> None:
    """All parts of the analysis but those that are told to catch everything, on a damaged core of a small process."""
    source = BytesSource(patched(CORE, data))
    layout = corefile.parse(source.read(0, len(CORE)))
    facts = Facts(exe="/usr/bin/python3.11", arguments=("python3", "x.py"))
    made = Image(source, layout, {b"/x.so": BytesSource(patched(FILES[elfnote.EM_X86_64], data))})
    found = unwind.threads(made, unwind.Budget(seconds=2.0))
    words_of.explain(fault.gather(layout, facts, made))
    abortmsg.messages(made, found)
    with contextlib.suppress(PycoredumpError):
        for runtime in interpreters.runtimes():
            runtime.frames(made, deadline=time.monotonic() + 2)
    signature.identify(Report(threads=found), signal=11, program="x")


def report(data: bytes) -> None:
    """What a broken sandbox may answer, and what a broken handler may ask."""
    for read in (wire.report, wire.job):
        with contextlib.suppress(PycoredumpError):
            wire.encode(read(data))
    with contextlib.suppress(PycoredumpError):
        wire.report(b'{"version":1,' + data)


def package(data: bytes) -> None:
    """A header of rpm's database, and a stanza of dpkg's."""
    dpkg.describe(data, "x:amd64")
    rpm.owner(data, "/usr/bin/x")


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        *(backtrace, rules, core, frame_rules, expression, name, elf_file),
        *(notes, archive, whole, report, package),
    )
}


def run(target: str, data: bytes) -> None:
    """Any other exception than ours is a bug, and so is not coming back."""
    with contextlib.suppress(PycoredumpError):
        TARGETS[target](data)
