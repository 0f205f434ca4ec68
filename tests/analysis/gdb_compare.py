"""How our backtraces compare with gdb's, and elfutils' with gdb's (systemd-coredump unwinds with libdw).

    gdb_compare.py [-v] [--debug] DIRECTORY...

Each directory has `core` and `exe` in it, as crashes.py leaves them, and may have `systemd`, the MESSAGE of
systemd-coredump for that core, which then takes the place of libdw's tool. With --debug everybody may use
the separate debug files under /usr/lib/debug, otherwise nobody. -v lists the differences.

A frame is equal if it stands at the same place of the stack with the same program counter; its name, if gdb
has one, must be the same string as gdb's, or as the name that gdb finds in the symbol table (debug info
may spell it another way: `total<F>` for `total`). What gdb itself guesses is not held against anybody: its frames in memory
that no file was mapped to or that is not code (just-in-time code, smashed stacks) and all frames behind them are counted apart,
since gdb then takes any word of the stack for a return address.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator

import systemd_coredump

from pycoredump.analysis import debugfiles, demangle, separate, stored, unwind
from pycoredump.analysis.image import Image
from pycoredump.record import Record

FRAMES = 64


class Seen(Record):
    """One frame as somebody sees it."""

    pc: int
    name: str
    guess: bool = False
    symbol: str = ""  # gdb only: the name in the symbol table, where debug info may have another


class Score(Record):
    """How one backtrace of one core compares with gdb's."""

    frames: int = 0  # gdb's, without its guesses
    same_pc: int = 0
    names: int = 0  # frames whose pc is the same or not, and for which gdb has a name
    same_name: int = 0
    guessed: int = 0  # gdb's frames that were left out

    def __add__(self, other: Score) -> Score:
        return Score(**{name: getattr(self, name) + getattr(other, name) for name in self._fields})


Stacks = dict[int, list[Seen]]


def ours(core: pathlib.Path, *, debug: bool = False) -> tuple[Stacks, float, Image]:
    """Our frames by thread, the CPU seconds that they took, and what they were made from."""
    with core.open("rb") as file:
        layout = stored.layout(stored.source(file.fileno()))
        began = time.process_time()
        directories = separate.DIRECTORIES if debug else ()
        with debugfiles.opened(file.fileno(), layout, debug_directories=directories) as image:
            stacks: Stacks = {}
            for trace in unwind.threads(image, unwind.Budget(frames=FRAMES)):
                seen = [Seen(pc=f.pc, name=f.symbol, guess=f.guess) for f in trace.frames if not f.inline]
                for tid in (trace.tid, *trace.same_as):
                    stacks[tid] = seen
            seconds = time.process_time() - began
    return stacks, seconds, image


def gdb(core: pathlib.Path, exe: pathlib.Path, *, debug: bool = False) -> Stacks:
    """gdb's frames by thread, without debuginfod; {} if gdb fails."""
    script = pathlib.Path(__file__).with_name("gdb_frames.py")
    settings = ["debuginfod enabled off", "backtrace past-main on", "python print-stack full"]
    settings += [] if debug else ["debug-file-directory /nonexistent"]
    command = ["gdb", "-nx", "-batch"]
    for setting in settings:
        command += ["-iex", f"set {setting}"]
    command += ["-x", os.fspath(script), os.fspath(exe), os.fspath(core)]
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=120, check=False
    )
    found = next((line for line in done.stdout.splitlines() if line.startswith("FRAMES")), "FRAMES{}")
    return {
        int(tid): [
            Seen(pc=f["pc"], name="" if f["signal"] else f["name"], symbol=f["symbol"]) for f in frames
        ]
        for tid, frames in json.loads(found[6:]).items()
    }


def elfutils(core: pathlib.Path, exe: pathlib.Path, *, debug: bool = False) -> Stacks:
    """The frames of eu-stack, which like systemd-coredump is libdw with little around it."""
    command = ["eu-stack", "-n", str(FRAMES), "--core", os.fspath(core), "-e", os.fspath(exe)]
    command += [] if debug else ["--debuginfo-path=/nonexistent"]
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=120, check=False
    )
    stacks: Stacks = {}
    frames: list[Seen] = []
    for line in done.stdout.splitlines():
        if line.startswith("TID "):
            frames = stacks[int(line[4:].rstrip(":"))] = []
        elif found := re.match(r"#\d+ +0x([0-9a-f]+)(?: - \d+)? *(.*)$", line):
            name = re.sub(r"^- 1 *", "", found[2])
            frames.append(Seen(pc=int(found[1], 16), name=name))
    return stacks


def systemd(message: str) -> Stacks:
    """The frames in systemd-coredump's MESSAGE. Its names are mangled."""
    stacks: Stacks = {}
    frames: list[Seen] = []
    for line in message.splitlines():
        if found := re.match(r"Stack trace of thread (\d+):", line):
            frames = stacks[int(found[1])] = []
        elif found := re.match(r"#\d+ +0x([0-9a-f]+) (\S+) \(", line):
            name = "" if found[2] == "n/a" else demangle.demangle(found[2])
            frames.append(Seen(pc=int(found[1], 16), name=name))
    return stacks


def systemd_message(directory: pathlib.Path, *, debug: bool) -> str:
    """Of this machine's systemd-coredump, kept for the next time; "" if it cannot be run."""
    kept = directory / ("systemd-debug" if debug else "systemd")
    if not kept.exists() and os.geteuid() == 0 and os.path.exists(systemd_coredump.PROGRAM):
        kept.write_text(systemd_coredump.message(directory / "core", debug=debug))
    return kept.read_text() if kept.exists() else ""


def judged(frames: list[Seen], image: Image) -> list[Seen]:
    """gdb's frames up to the first that is its guess. The innermost is always known."""
    for at, frame in enumerate(frames[1:], 1):
        if image.module(frame.pc) is None or not image.executable(frame.pc):
            return frames[:at]
    return frames


def bare(name: str) -> str:
    """A name without blanks and compilers' suffixes, in which gdb (also by way of its Go and D demanglers) differs."""
    name = re.sub(r"\s|@.*$|::h[0-9a-f]{16}$|\[[0-9a-f]{10,16}\]", "", name)
    return re.sub(r"(\[cold\]|\[clone.*\]|\.(cold|part|constprop|isra|abi0|llvm)[.\d]*)+$", "", name)


def same_name(judge: Seen, other: Seen) -> bool:
    return bare(other.name) in (bare(judge.name), bare(judge.symbol))


def score(theirs: Stacks, judge: Stacks, image: Image) -> Score:
    """Compare all threads of one core."""
    total = Score()
    for tid, every in judge.items():
        frames = judged(every, image)
        mine = theirs.get(tid, [])
        pairs = list(zip(frames, mine, strict=False))
        equal = [(a, b) for a, b in pairs if a.pc == b.pc]
        total += Score(
            frames=len(frames),
            same_pc=len(equal),
            names=sum(bool(f.name) for f in frames),
            same_name=sum(bool(a.name) and same_name(a, b) for a, b in equal),
            guessed=len(every) - len(frames),
        )
    return total


def differences(mine: Stacks, judge: Stacks, image: Image) -> Iterator[str]:
    """What is not equal, for whoever has to find out why."""
    for tid, every in judge.items():
        frames = judged(every, image)
        found = mine.get(tid, [])
        for at in range(max(len(frames), len(found))):
            a = frames[at] if at < len(frames) else None
            b = found[at] if at < len(found) else None
            if a and b and a.pc == b.pc and (not a.name or same_name(a, b)):
                continue
            if a is None and len(frames) < len(every):
                break
            left = f"{a.pc:#x} {a.name}" if a else "-"
            right = f"{b.pc:#x} {b.name}{' (guess)' if b.guess else ''}" if b else "-"
            yield f"    {tid} #{at}: gdb {left} | ours {right}"


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:5.1f}" if whole else "    -"


def row(name: str, threads: int, us: Score, them: Score, seconds: float) -> str:
    return (
        f"{name:26} {threads:4} {us.frames:6} {share(us.same_pc, us.frames)} {share(us.same_name, us.names)}"
        f"   {share(them.same_pc, them.frames)} {share(them.same_name, them.names)} {us.guessed:6} {seconds:7.3f}"
    )


def main() -> int:
    verbose, debug = "-v" in sys.argv, "--debug" in sys.argv
    all_ours, all_theirs, threads = Score(), Score(), 0
    print(f"{'':26} {'':4} {'gdb':>6} {'ours =':>11}   {'libdw =':>11} {'gdb':>6} {'ours':>7}")
    print(
        f"{'program':26} {'thr':>4} {'frames':>6} {'pc %':>5} {'fn %':>5}   {'pc %':>5} {'fn %':>5} {'guess':>6} {'CPU s':>7}"
    )
    for argument in sys.argv[1:]:
        directory = pathlib.Path(argument)
        core, exe = directory / "core", directory / "exe"
        if not core.exists() or not exe.exists():
            continue
        stacks, seconds, image = ours(core, debug=debug)
        judge = gdb(core, exe, debug=debug)
        message = systemd_message(directory, debug=debug)
        other = systemd(message) if message else elfutils(core, exe, debug=debug)
        us, them = score(stacks, judge, image), score(other, judge, image)
        print(row(directory.name, len(judge), us, them, seconds), flush=True)
        if verbose:
            for line in differences(stacks, judge, image):
                print(line)
        all_ours, all_theirs, threads = all_ours + us, all_theirs + them, threads + len(judge)
    print(row("all", threads, all_ours, all_theirs, 0.0))
    return 0


if __name__ == "__main__":
    sys.exit(main())
