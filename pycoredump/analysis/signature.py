"""A short stable id of a crash and its title. Pure.

The id is a hash of the signal, the program, and up to FRAMES frames of the crashing thread from the place that
did it: frames that only end the process (abort, assert, terminate, a signal handler that raises again) are
dropped, as are those where every thread begins.

A frame is known by its function's name, else by its module's name and the offset in it; neither depends on where
things were loaded. A name also survives a new build of the program, an offset does not; and two bugs in one
function with the same callers are one id. That is the trade: ids are to group what belongs to one
report, and a function's name is what an admin and a developer mean by "the same crash" (satyr takes the offset
first, and splits by build; apport takes names only, and has none for stripped programs).
"""

from __future__ import annotations

import _blake2
import os
from collections.abc import Iterator, Sequence

from pycoredump.analysis import framenames
from pycoredump.analysis.model import Frame, Report, ScriptFrame
from pycoredump.crash import SIGNALS
from pycoredump.record import Record

FRAMES = 6
LOOKED_AT = 48  # frames from the top in which an abort() or a handler that raises again is looked for
UNNAMED_MAX = 3  # frames of the C library without a name beside those that end the process
GAP_MAX = 8  # other frames between two that end it: a program's own fatal(), a handler's print
REPEATS = 4  # times that a group of frames stands in a row before it counts as a recursion
PERIOD_MAX = 8  # frames of one round of a recursion
NOWHERE = "?"  # code outside of every module: a jump to a wild address, or code made at run time
RECURSION = "recursion"
EVALUATORS = ("_PyEval_EvalFrameDefault", "_PyEval_EvalFrame", "PyEval_EvalCode")


class Identity(Record):
    id: str  # 16 hexadecimal digits
    title: str


def identify(report: Report, *, signal: int, program: str, sent: bool = False) -> Identity:
    """The id and the title of the crash. Without any frame they tell the signal and the program.

    `sent`: the signal came from another process; the frames then tell where the program was waiting or hanging.
    """
    name = SIGNALS.get(signal, f"signal {signal}")
    thread = report.threads[0] if report.threads else None
    script = _crashing_script(report)
    places = tuple(culprits(thread.frames if thread else (), script))
    text = "\n".join((name, program, *places[:FRAMES]))
    # Not hashlib: it loads OpenSSL, 3.5 ms.
    digest = _blake2.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    of = f"{program}, {os.path.basename(report.script)}" if report.script else program
    how = f"{name} from outside" if sent else name
    return Identity(
        id=digest, title=f"{how} in {_headline(places, script)} ({of})" if places else f"{how} ({of})"
    )


def _crashing_script(report: Report) -> Sequence[ScriptFrame]:
    if not report.threads:
        return ()
    tid = report.threads[0].tid
    return next((trace.frames for trace in report.scripts if trace.tid == tid), ())


def _headline(places: Sequence[str], script: Sequence[ScriptFrame]) -> str:
    first = places[0]
    if script and (mine := _place(script[0])) in places[1:]:
        return mine if "+0x" in first else f"{first}, called by {mine}"
    if first == RECURSION:
        return f"endless recursion of {places[1]}"
    caller = next((p for p in places[1:] if not _serves(p) and p != NOWHERE), "")
    if first == NOWHERE:
        return f"{caller}, calling what is no function" if caller else "code that is in no file"
    return f"{first}, called by {caller}" if caller and _serves(first) else first


def _serves(name: str) -> bool:
    return name in framenames.SERVING or _is_unnamed_libc(name)


def culprits(frames: Sequence[Frame], script: Sequence[ScriptFrame] = ()) -> Iterator[str]:
    """The identities of the frames that count, innermost first."""
    believed = tuple(_believed(frames))
    start = _beginning(believed)
    named = [identity(frame) for frame in believed[start:] if not frame.signal_frame]
    named = _spliced(named, script)
    named = _without_start(named)
    recursion = _recursion(named)
    yield from recursion or _folded(named)


def _without_start(named: list[str]) -> list[str]:
    end = next((at for at, name in enumerate(named) if at and name in framenames.STARTING), len(named))
    # Without debug symbols the function between main and __libc_start_main has no name.
    if (
        end < len(named)
        and end > 1
        and named[end].startswith("__libc_start")
        and _is_unnamed_libc(named[end - 1])
    ):
        end -= 1
    return named[:end]


def _is_unnamed_libc(name: str) -> bool:
    return name.startswith(("libc.so.6+0x", "libc-2")) and "+0x" in name


# Guesses may be different ones the next time. The innermost frame never is one.
def _believed(frames: Sequence[Frame]) -> Iterator[Frame]:
    for frame in frames:
        if frame.guess:
            return
        if not frame.inline:
            yield frame


def identity(frame: Frame) -> str:
    """Survives ASLR: a function's plain name, or module+0xoffset, or NOWHERE."""
    if frame.symbol:
        return framenames.plain(frame.symbol)
    if frame.module:
        return f"{frame.module}+{frame.module_offset:#x}"
    return NOWHERE


def _beginning(frames: Sequence[Frame]) -> int:
    """How many frames only tell how it ended."""
    names = [framenames.plain(frame.symbol) if frame.symbol else "" for frame in frames[:LOOKED_AT]]
    first = next((at for at, name in enumerate(names) if name), len(names))
    if first == len(names):
        return 0
    # Without debug symbols the last steps inside the C library have no names.
    if first > UNNAMED_MAX or any(frame.module != frames[first].module for frame in frames[:first]):
        return 0
    gap = GAP_MAX if first < len(names) and names[first] in framenames.RAISING else 0
    start = 0
    for at in range(first, len(names)):
        if framenames.is_ending(names[at]):
            start = at + 1
        elif frames[at].signal_frame and start and gap:
            start = at + 1  # a handler that raised again: what it interrupted is the place
        elif at >= max(start, first) + gap:
            break
    start = _after_messages(frames, names, start)
    return start if start < len(frames) else max(0, start - 1)


# Without its symbols the C library's way from free() to abort() has no names; with them it is dropped by name.
def _after_messages(frames: Sequence[Frame], names: Sequence[str], start: int) -> int:
    if not start:
        return 0
    for at in range(start, min(start + UNNAMED_MAX + 1, len(names))):
        if not frames[at].module.startswith("libc"):
            break
        if names[at]:
            return at
    return start


# Frames of the interpreter's loop tell nothing, the program's own do.
def _spliced(named: list[str], script: Sequence[ScriptFrame]) -> list[str]:
    if not script:
        return named
    loop = next((at for at, name in enumerate(named) if name in EVALUATORS), len(named))
    native = [
        n
        for n in named[:loop]
        if not n.startswith(("_PyObject_", "PyObject_", "cfunction_", "_PyVectorcall"))
    ]
    return native + [_place(frame) for frame in script]


def _place(frame: ScriptFrame) -> str:
    return f"{frame.function}:{os.path.basename(frame.file)}"


def _recursion(named: Sequence[str]) -> list[str]:
    """The functions of an endless recursion, in one order wherever in it the stack was full; [] if it is none."""
    for period in range(1, PERIOD_MAX + 1):
        for start in range(min(PERIOD_MAX, len(named))):
            size = _repeated(named, start, period)
            if size >= max(REPEATS * period, 16):
                return [RECURSION, *sorted(set(named[start : start + period]))]
    return []


def _repeated(named: Sequence[str], start: int, period: int) -> int:
    at = start + period
    while at < len(named) and named[at] == named[at - period]:
        at += 1
    return at - start


def _folded(named: Sequence[str]) -> list[str]:
    """Neighbours with one name count once: how deep a recursion is, or how often a thing was inlined, varies."""
    return [name for at, name in enumerate(named) if at == 0 or name != named[at - 1]]
