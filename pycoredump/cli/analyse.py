"""The analysis of crashes that have none, or again with what is here now: for archives of other machines, better symbols.

With the rights of who calls, in the same sandbox as the handler's. Nothing is asked of a network unless told to.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator

from pycoredump import corefile, explain
from pycoredump.analysis import debugfiles, separate, service, stored
from pycoredump.analysis.model import Facts, Report
from pycoredump.cli import core, dump, options, screen
from pycoredump.cli.incident import Incident
from pycoredump.cli.incidents import Incidents
from pycoredump.errors import ArgumentError, PycoredumpError

SECONDS = 30
FETCH_SECONDS = 120
FIND = "debuginfod-find"
OPTIONS = ("debug-dir", "sysroot", "debuginfod")


def completed(
    command: options.Command, incidents: Iterable[Incident], found: Incidents
) -> Iterator[Incident]:
    """The crashes, with an analysis where they have none, or if the options want a new one. ArgumentError."""
    again = any(command.has(name) for name in OPTIONS)
    _check(command)
    for one in incidents:
        if not again and is_analysed(one):
            yield one
            continue
        try:
            yield analysed(one, found, command)
        except (PycoredumpError, OSError, ImportError) as e:
            if again and not command.has("quiet"):
                reason = e.strerror if isinstance(e, OSError) else str(e)
                print(f"Hint: no new analysis: {screen.shown(str(reason))}", file=sys.stderr)
            yield one


def _check(command: options.Command) -> None:
    for name in ("debug-dir", "sysroot"):
        for directory in command.options.get(name, []):
            if not os.path.isdir(directory):
                raise ArgumentError(f"--{name}={directory} is no directory")
    if command.has("debuginfod"):
        if not os.environ.get("DEBUGINFOD_URLS"):
            raise ArgumentError(
                "--debuginfod needs a server", hint="Name it in the environment: DEBUGINFOD_URLS."
            )
        if shutil.which(FIND) is None:
            raise ArgumentError(
                f"{FIND} is not installed", hint="It comes with elfutils (package debuginfod)."
            )


def is_analysed(one: Incident) -> bool:
    """By us, or by systemd-coredump."""
    return bool(one.get("COREDUMP_SIGNATURE")) or "\nStack trace of thread " in one.get("MESSAGE")


def analysed(one: Incident, found: Incidents, command: options.Command) -> Incident:
    """The crash with the fields of a new analysis. PycoredumpError, OSError."""
    sysroot = command.get("sysroot") or found.place.root or "/"
    with contextlib.ExitStack() as held:
        report = _report(one, found, command, sysroot, held)
    new = {
        name: value.decode("utf-8", "surrogateescape")
        for name, value in explain.fields(report, one.get("COREDUMP_EXE")).items()
    }
    first = one.get("MESSAGE").split("\n", 1)[0]
    new["MESSAGE"] = "\n\n".join(part for part in (first, explain.message(report)) if part)
    problems = (one.get("COREDUMP_PROBLEMS"), *report.problems)
    new["COREDUMP_PROBLEMS"] = "\n".join(part for part in problems if part)
    return Incident(
        one.time,
        one.known | new,
        one.get,
        names=lambda: list(dict.fromkeys((*one.names(), *(name for name, value in new.items() if value)))),
        archived=one.archived,
    )


def _report(
    one: Incident, found: Incidents, command: options.Command, sysroot: str, held: contextlib.ExitStack
) -> Report:
    fd = _core(one, found, held)
    layout = stored.layout(stored.source(fd))
    modules = debugfiles.open_modules(layout, sysroot)
    for module in modules.values():
        held.callback(os.close, module)
    debug = _debug_files(command, sysroot, modules)
    for file in debug.values():
        held.callback(os.close, file)
    owned = explain.Ownership({os.fsdecode(path): module for path, module in modules.items()}, root=sysroot)
    request = service.Request(
        fd,
        list(modules.items()),
        _facts(one, layout),
        seconds=SECONDS,
        path="",
        debug=debug,
    )
    owned.search()  # while the sandbox is at work
    return owned.complete(request.report())


def _core(one: Incident, found: Incidents, held: contextlib.ExitStack) -> int:
    """A descriptor of what the sandbox can read: an archive with a seek table, or a plain core."""
    archive = held.enter_context(core.opened(one, found))
    if archive.seekable:
        return archive.fd

    fd = os.open(dump.to_temporary(one, found, held), os.O_RDONLY | os.O_CLOEXEC)
    held.callback(os.close, fd)
    return fd


def _debug_files(command: options.Command, sysroot: str, modules: dict[bytes, int]) -> dict[str, int]:
    directories = [*command.options.get("debug-dir", [])]
    directories += [f"{sysroot.rstrip('/')}{place}" for place in separate.DIRECTORIES]
    found = separate.open_files(modules.values(), directories)
    if command.has("debuginfod"):
        for module in modules.values():
            build_id = separate.build_id(module)
            if build_id and build_id not in found and (fd := _fetched(build_id)) >= 0:
                found[build_id] = fd
    return found


def _fetched(build_id: str) -> int:
    """The debug file from a server of DEBUGINFOD_URLS, -1 if none has it; elfutils' client keeps it in its cache."""
    try:
        done = subprocess.run(
            [FIND, "debuginfo", build_id], capture_output=True, text=True, timeout=FETCH_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return -1
    return separate.regular(os.fsencode(done.stdout.strip())) if done.returncode == 0 else -1


def _facts(one: Incident, layout: corefile.Layout) -> Facts:
    arguments = tuple(one.get("COREDUMP_CMDLINE").split())
    if not arguments and layout.process is not None:
        arguments = tuple(layout.process.arguments.decode("utf-8", "surrogateescape").split())
    return Facts(
        signal=one.signal_number or 0,
        comm=one.get("COREDUMP_COMM"),
        exe=one.get("COREDUMP_EXE"),
        arguments=arguments,
        maps=one.get("COREDUMP_PROC_MAPS"),
    )
