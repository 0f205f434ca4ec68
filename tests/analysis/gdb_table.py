"""Backtraces of many real programs: ours, systemd-coredump's and gdb's, as a table for the README.

    gdb_table.py [--debug] DIRECTORY [NAME...]

builds and crashes what can be had here, and prints Markdown; `make compare` runs it. What the shares mean is in gdb_compare.py.
"""

from __future__ import annotations

import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence

import crashes
import gdb_compare
from gdb_compare import Score

from pycoredump.errors import PycoredumpError
from pycoredump.record import Record

# Programs that are one line of the table, by a pattern for their names; the first that fits.
GROUPS = {
    "C, 13 more ways to die (gcc -O2)": f"c-O2-({'|'.join(way for way in crashes.WAYS if way != 'null')})$",
    "C, 14 ways to die, static (gcc -O1)": r"c-O1-static-",
    "C, -O0 to -O3 and -Os, with and without frame pointers, CET, realigned stack, -g, stripped": (
        r"c-(O[0123s]|O2-frame-pointer|O2-stripped|O2-cet|O2-realign|O2-g)-null$"
    ),
    "C without unwind tables, or with those of .debug_frame alone": r"c-O\d-(no-tables|debug-frame)-",
    "C, static and static-pie": r"c-O2-static",
    "C, clang": r"clang-",
    "C, musl": r"musl-(?!static)",
    "C, musl, static": r"musl-static",
    "C++ exception, g++ -O0 to -O3, clang++, static": r"(cpp|clang\+\+)",
    "Rust panic, debug, release, v0 mangling": r"rust-",
    "Go": r"go$",
    "CPython": r"(python|gcore-python)",
    "node (V8)": r"node",
    "java (HotSpot)": r"java",
    "coreutils, findutils, grep, sed, awk, xz, less": r"(sleep|cat|tail|sort|find|grep|sed|awk|xz|less)$",
    "bash, dash, zsh, busybox": r"(bash|dash|zsh|busybox|gcore-bash)$",
    "perl, ruby, php, lua, guile, tcl": r"(perl|ruby|php|lua|guile|tclsh)$",
}


class Measured(Record):
    """One line: some programs together."""

    programs: int = 0
    threads: int = 0
    ours: Score = Score()
    theirs: Score = Score()

    def __add__(self, other: Measured) -> Measured:
        return Measured(
            programs=self.programs + other.programs,
            threads=self.threads + other.threads,
            ours=self.ours + other.ours,
            theirs=self.theirs + other.theirs,
        )


def measured(directory: pathlib.Path, *, debug: bool) -> Measured:
    """One core. PycoredumpError if it has none that gdb can read."""
    core, exe = directory / "core", directory / "exe"
    stacks, _, image = gdb_compare.ours(core, debug=debug)
    judge = gdb_compare.gdb(core, exe, debug=debug)
    message = gdb_compare.systemd_message(directory, debug=debug)
    other = gdb_compare.systemd(message) if message else gdb_compare.elfutils(core, exe, debug=debug)
    return Measured(
        programs=1,
        threads=len(judge),
        ours=gdb_compare.score(stacks, judge, image),
        theirs=gdb_compare.score(other, judge, image),
    )


def group(name: str) -> str:
    return next((title for title, pattern in GROUPS.items() if re.match(pattern, name)), name)


def made(root: pathlib.Path, wanted: Sequence[str]) -> Iterator[str]:
    """Names of the cases that left a core; of the others it is said why not."""
    for case in crashes.cases():
        if wanted and case.name not in wanted:
            continue
        directory = root / case.name
        problem = "" if (directory / "core").exists() else crashes.make(case, directory)
        if problem:
            print(f"{case.name}: {problem}", file=sys.stderr)
            continue
        found = shutil.which(case.argv[0])
        if not (directory / "exe").exists() and found:
            (directory / "exe").symlink_to(os.path.realpath(found))
        yield case.name


def table(rows: dict[str, Measured]) -> Iterator[str]:
    yield "| program | cores | threads | gdb's frames | ours: address | ours: name | systemd-coredump: address | name |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    total = Measured()
    for title, one in rows.items():
        yield _row(title, one)
        total += one
    yield _row("**all**", total)


def _row(title: str, one: Measured) -> str:
    shares = [
        gdb_compare.share(part, whole).strip()
        for score in (one.ours, one.theirs)
        for part, whole in ((score.same_pc, score.frames), (score.same_name, score.names))
    ]
    return f"| {title} | {one.programs} | {one.threads} | {one.ours.frames} | {' | '.join(shares)} |"


def versions() -> Iterator[str]:
    """Of what took part."""
    for command in (["gdb", "--version"], ["coredumpctl", "--version"], ["eu-stack", "--version"]):
        try:
            shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        except OSError:
            continue
        yield shown.split("\n", 1)[0]
    yield f"Linux {platform.release().split('-')[0]} {platform.machine()}"


def main() -> int:
    crashes.LOCK_SECONDS = 600.0  # tests hold it for minutes
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    root = pathlib.Path(words[0]).resolve()
    rows: dict[str, Measured] = {}
    for name in made(root, words[1:]):
        try:
            one = measured(root / name, debug="--debug" in sys.argv)
        except PycoredumpError as e:
            print(f"{name}: {e}", file=sys.stderr)
            continue
        if one.threads:
            rows[group(name)] = rows.get(group(name), Measured()) + one
            print(f"{name}: {_row(name, one)}", file=sys.stderr, flush=True)
    guessed = sum(one.ours.guessed for one in rows.values())
    print("\n".join((*table(rows), "", f"{guessed} frames were left out that gdb guessed.", *versions())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
