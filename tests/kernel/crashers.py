"""Compiles the programs of tests/programs that crash, once per change of a source, into build/programs."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

SOURCES = pathlib.Path(__file__).parents[1] / "programs"
DIRECTORY = SOURCES.parents[1] / "build" / "programs"
# -O1 keeps the frames that the sources name; -fno-optimize-sibling-calls as well.
FLAGS = ("-O1", "-g", "-Wall", "-Wextra", "-fno-optimize-sibling-calls", "-pthread")
# These do on purpose what the compiler warns of.
TOLERATED = ("-Wno-infinite-recursion", "-Wno-array-bounds", "-Wno-unknown-warning-option")


class CannotBuild(Exception):
    """There is no C compiler, or it refuses a source."""


def program(name: str, *, flags: tuple[str, ...] = (), directory: pathlib.Path = DIRECTORY) -> pathlib.Path:
    """The path of the compiled `name`.c. CannotBuild says why there is none."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise CannotBuild("there is no C compiler: install gcc")

    target = directory / "-".join([name, *(flag.lstrip("-").replace("/", "!") for flag in flags)])
    newest = max(path.stat().st_mtime for path in [*SOURCES.glob("*.h"), SOURCES / f"{name}.c"])
    if target.exists() and target.stat().st_mtime >= newest:
        return target

    directory.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    command = [
        compiler,
        *FLAGS,
        *TOLERATED,
        *flags,
        os.fspath(SOURCES / f"{name}.c"),
        "-o",
        os.fspath(unfinished),
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise CannotBuild(f"{name}.c does not compile: {made.stderr.strip()}")
    unfinished.rename(target)  # another test run may be doing the same
    return target


if __name__ == "__main__":
    for source in sorted(SOURCES.glob("*.c")):
        print(program(source.stem))
