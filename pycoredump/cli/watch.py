"""pycoredumpctl watch: one line for each crash as it happens, and a command for it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from types import FrameType

from pycoredump.cli import archives, facts, options, screen, search, times
from pycoredump.cli import list as listing
from pycoredump.cli.incident import Incident, presence
from pycoredump.cli.incidents import BRIEF, Incidents
from pycoredump.errors import ArgumentError, PycoredumpError

COMMAND_SECONDS = 60  # a command that takes longer is killed: the next crash waits for it
VALUE_MAX = 32 << 10  # bytes of one variable; execve(2) takes 128 KiB of one, and 2 MiB of all by default
ENVIRONMENT_MAX = 512 << 10  # bytes of all facts
# Too large, or not text.
LEFT_OUT = {"COREDUMP", "COREDUMP_PROC_AUXV"}


def run(command: options.Command) -> int:
    """Until it is stopped. PycoredumpError if there is nothing to follow."""
    program = _program(command)
    found = search.incidents(command)
    if found.matches.archives:
        raise ArgumentError("An archive is no match for watch", hint="What is there already can be listed.")
    signal.signal(signal.SIGTERM, _stop)
    limit = options.count(command)
    for one in found.newest(limit)[::-1] if limit else []:
        _tell(command, one, found)
    children: set[str] = set()
    for new in following(found):
        if new is None or not found.matches.hold(new):
            continue
        _tell(command, new, found)
        # Should the command crash itself, it is not run for that.
        if program and new.get("COREDUMP_PID") not in children:
            children.add(str(_run(program, environment(new, found))))
    return 0


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _program(command: options.Command) -> list[str]:
    if not command.has("exec"):
        return []
    try:
        words = shlex.split(command.get("exec"))
    except ValueError as e:
        raise ArgumentError(f"--exec={command.get('exec')!r} cannot be split into words: {e}") from None
    if not words or not shutil.which(words[0]):
        raise ArgumentError(f"--exec={command.get('exec')!r}: there is no such program")
    return words


def following(found: Incidents) -> Iterator[Incident | None]:
    """New crashes; None now and then. From the directory where there is no journal."""
    if found.entries is not None:
        yield from found.entries.follow(BRIEF)
    elif found.archives is not None:
        yield from _new_archives(found.place.cores)
    else:
        raise PycoredumpError(
            "There is neither a journal nor a directory that can be read", hint="Try as root."
        )


def _new_archives(directory: str) -> Iterator[Incident | None]:
    known = {one.name for one in archives.listing(directory)}
    while True:
        now = archives.listing(directory)
        for one in now:
            if one.name not in known:
                yield archives.single(f"{directory}/{one.name}")
        known = {one.name for one in now}
        yield None
        time.sleep(1)


def _tell(command: options.Command, one: Incident, found: Incidents) -> None:
    if command.get("json", "off") != "off":
        facts_of_it = listing.row(one, found.place.root) | {"comm": one.get("COREDUMP_COMM")}
        print(screen.json_text(facts_of_it, "short"), flush=True)
        return
    print(screen.shown(line(one, found)), flush=True)


def line(one: Incident, found: Incidents) -> str:
    """A crash in one line, not yet made harmless."""
    there = presence(one, root=found.place.root)
    address = one.get("COREDUMP_FAULT_ADDRESS")
    unit = one.get("COREDUMP_UNIT") or one.get("COREDUMP_USER_UNIT")
    parts = [
        times.short(one.time),
        f"{one.get('COREDUMP_COMM') or one.program}[{one.get('COREDUMP_PID')}]",
        one.get("COREDUMP_TITLE") or (f"{one.signal} at {address}" if address else one.signal),
        f"user {facts.account('UID', one.get('COREDUMP_UID'))}",
        f"unit {unit}" if unit else "",
        f"core {there.word}{f' {screen.size(there.size)}' if there.size is not None else ''}",
    ]
    return " ".join(part for part in parts if part)


def environment(one: Incident, found: Incidents) -> dict[str, str]:
    """Our environment and the facts of the crash: COREDUMP_* as in the journal, and MESSAGE."""
    values: dict[str, str] = {"PYCOREDUMP_STATE": presence(one, root=found.place.root).word}
    room = ENVIRONMENT_MAX
    for name in sorted(one.names(), key=lambda name: (name not in BRIEF, name)):
        if name in LEFT_OUT or not (name == "MESSAGE" or name.startswith("COREDUMP_")):
            continue
        value = one.get(name).replace("\0", "\n")[:VALUE_MAX]
        room -= len(value) + len(name) + 2
        if room < 0:
            break
        values[name] = value
    own = {name: value for name, value in os.environ.items() if not name.startswith("COREDUMP_")}
    return own | values


def _run(program: list[str], variables: dict[str, str]) -> int:
    """Run the command for a crash and wait for it: a storm of crashes must not become one of processes. Its PID."""
    try:
        child = subprocess.Popen(program, env=variables, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as e:
        print(f"{program[0]}: {e.strerror}", file=sys.stderr, flush=True)
        return -1
    try:
        status = child.wait(COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        print(f"{program[0]}: killed after {COMMAND_SECONDS} s", file=sys.stderr, flush=True)
        return child.pid
    if status:
        print(f"{program[0]}: exit status {status}", file=sys.stderr, flush=True)
    return child.pid
