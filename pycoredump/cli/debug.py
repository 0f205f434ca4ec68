"""pycoredumpctl debug: the core in gdb, lldb or another debugger that takes their arguments."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys

from pycoredump.cli import core, dump, info, options, screen, search
from pycoredump.cli.incident import Incident
from pycoredump.cli.incidents import Incidents
from pycoredump.cli.screen import Style
from pycoredump.errors import ArgumentError, CoreError


def run(command: options.Command) -> int:
    """The debugger's exit status. NothingFound, NoCore."""
    dump.unwind_on_signals()
    one, found = search.newest(command)
    debugger = _debugger(command)
    if not command.has("quiet"):
        for line in info.text(one, found, Style(colour=screen.wants_colour(tty=sys.stdout.isatty()))):
            print(line)
        print(flush=True)

    with contextlib.ExitStack() as held:
        path = _core_file(one, found, held)
        exe = executable(one, root=found.place.root)
        return start([*debugger, *_settings(debugger, one, found), *exe, "-c", path])


def _debugger(command: options.Command) -> list[str]:
    program = command.get("debugger") or os.environ.get("SYSTEMD_DEBUGGER") or "gdb"
    try:
        words = [*shlex.split(program), *shlex.split(command.get("debugger-arguments"))]
    except ValueError as e:
        raise ArgumentError(f"--debugger-arguments= cannot be split into words: {e}") from None
    if not words or not shutil.which(words[0]):
        raise ArgumentError(
            f"No debugger {program!r}", hint="Install gdb, or name another one by --debugger=."
        )
    return words


def executable(one: Incident, *, root: str = "") -> list[str]:
    """The program's file; [] if it is not there: a core alone still tells much, with debuginfod nearly all."""
    exe = one.get("COREDUMP_EXE")
    if exe.startswith("/") and os.path.isfile(f"{root}{exe}"):
        if _is_another_build(one, f"{root}{exe}"):
            why = f"The executable {root}{exe} was replaced since the crash"
            print(f"{screen.shown(why)}: names and lines may be wrong.", file=sys.stderr, flush=True)
        return [f"{root}{exe}"]
    why = f"The executable {root}{exe} is gone" if exe else "The executable is not known"
    print(f"{screen.shown(why)}: the debugger gets the core alone.", file=sys.stderr, flush=True)
    return []


def _is_another_build(one: Incident, path: str) -> bool:
    """Whether the file has another build id than what crashed; False where one of them is not known."""
    from pycoredump.analysis.elf import Elf
    from pycoredump.analysis.source import FileSource

    wanted = [line.partition(" ") for line in one.get("COREDUMP_MODULES").split("\n")]
    crashed = next((build for build, _, module in wanted if module == one.get("COREDUMP_EXE")), "-")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        there = Elf(FileSource(fd)).build_id
    except (CoreError, OSError):
        return False
    finally:
        os.close(fd)
    return crashed not in ("", "-", there) and there != ""


def _settings(debugger: list[str], one: Incident, found: Incidents) -> list[str]:
    """Where the debugger finds the crash's files, and whether it may ask a debuginfod server."""
    name = os.path.basename(debugger[0])
    sysroot = found.place.root or one.get("COREDUMP_ROOT").rstrip("/")
    if not (sysroot.isprintable() and os.path.isdir(sysroot)):  # it is told in the debugger's language
        sysroot = ""
    if "gdb" in name:
        settings = ["-iex", f"set sysroot {sysroot}"] if sysroot else []
        return (
            [*settings, "-iex", "set debuginfod enabled on"]
            if os.environ.get("DEBUGINFOD_URLS")
            else settings
        )
    if "lldb" in name and sysroot:
        return ["-O", f"platform select --sysroot {shlex.quote(sysroot)} host"]
    return []


def _core_file(one: Incident, found: Incidents, held: contextlib.ExitStack) -> str:
    """A file that a debugger can read: plain cores are read where they are."""
    if one.file:
        with core.opened(one, found) as archive:
            if archive.plain:
                return os.path.abspath(archive.name)
    return dump.to_temporary(one, found, held)


def start(command: list[str]) -> int:
    """Run the debugger in the foreground; Ctrl+C is its own. Its exit status."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with subprocess.Popen(command, preexec_fn=_default_interrupt) as child:
            try:
                status = child.wait()
            except BaseException:
                child.terminate()
                raise
    finally:
        signal.signal(signal.SIGINT, before)
    return status if status >= 0 else 128 - status


def _default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
