"""The backtrace as lines, worded as systemd-coredump words its message, so that readers of those understand ours.

    Module libfoo.so.1 from deb foo-1.2.amd64
    Stack trace of thread 4711:
    #0  0x00007f2055d2f2ad read (libc.so.6 + 0xf82ad)
    #1  0x0000556902f42ab9 main (/usr/bin/cat + 0x30ab9) at src/cat.c:712
    ELF object binary architecture: AMD x86-64

What systemd-coredump does not have stands behind its own words on a line, or on lines of its own after the
frames of a thread.
"""

from __future__ import annotations

import os

from pycoredump.analysis.model import Frame, Module, Report, ThreadTrace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

TIDS_MAX = 20  # of threads with one stack; further ones are counted
SYMBOL_MAX = 512  # characters of a name; those of templates can fill a page each


def lines(report: Report, architecture: str = "") -> Iterator[str]:
    """The lines, without line ends. `architecture` as image.machine_name() has it."""
    for module in report.modules:
        yield from _module(module)

    starts = {module.path: module for module in reversed(report.modules)}
    for number, trace in enumerate(report.threads):
        if number:
            yield ""
        yield f"Stack trace of thread {trace.tid}:"
        for place, frame in enumerate(trace.frames):
            yield _frame(place, frame, starts.get(frame.module_path))
        yield from _remarks(trace)
    if architecture:
        yield f"ELF object binary architecture: {architecture}"


def _module(module: Module) -> Iterator[str]:
    name = _name(module)
    if not module.build_id:
        yield f"Module {name} without build-id."
    package = module.package or {}
    if not package.get("name"):
        return

    text = f"Module {name} from {package.get('type', 'n/a')} {package['name']}"
    if package.get("version"):
        text += f"-{package['version']}"
    if package.get("architecture"):
        text += f".{package['architecture']}"
    if module.build_id and not package.get("version"):
        text += f", build-id={module.build_id}"
    yield text


def _frame(number: int, frame: Frame, module: Module | None) -> str:
    symbol = frame.symbol or "n/a"
    if len(symbol) > SYMBOL_MAX:
        symbol = symbol[: SYMBOL_MAX - 1] + "…"
    # systemd-coredump counts from where the module begins in memory, not from the addresses in its file.
    offset = frame.pc - module.start if module else 0
    name = (_name(module) if module else frame.module) or "n/a"
    text = f"#{number:<2} 0x{frame.pc:016x} {symbol} ({name} + 0x{offset:x})"
    if frame.file:
        text += f" at {frame.file}:{frame.line}"
    if frame.signal_frame:
        text += " <signal handler called>"
    if frame.inline:
        text += " (inlined)"
    return f"{text} (guessed)" if frame.guess else text


def _remarks(trace: ThreadTrace) -> Iterator[str]:
    if trace.end:
        yield f"(no further frames: {trace.end})"
    if trace.same_as:
        shown = ", ".join(map(str, trace.same_as[:TIDS_MAX]))
        more = len(trace.same_as) - TIDS_MAX
        rest = f" and {more} more" if more > 0 else ""
        count = len(trace.same_as)
        yield f"(same stack: {count} thread{'s' if count > 1 else ''}, {shown}{rest})"


def _name(module: Module) -> str:
    return module.path if module.main else os.path.basename(module.path)
