"""Whether crashes are caught on this host: what `status` looks at. Each look yields items; none prints."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import time
from collections.abc import Iterator

from pycoredump import admission, config, crash, retention
from pycoredump.cli import screen, times
from pycoredump.cli.incident import presence
from pycoredump.cli.incidents import Incidents
from pycoredump.config import Config
from pycoredump.configure import item as settings_item
from pycoredump.configure import rivals, sysctl
from pycoredump.configure.kernel import Kernel
from pycoredump.configure.tree import Tree
from pycoredump.journal import SOCKET, listens
from pycoredump.record import Record

OK, NOTE, BAD = "ok", "note", "bad"
INTERPRETER = "/usr/bin/python3"
PROBE_SECONDS = 10
# fs/coredump.c: `Pid 12(a) over core_pipe_limit` until 6.9 or so, `12(a): over core_pipe_limit, skipping` since.
SKIPPED = re.compile(rb"over core_pipe_limit")
OWN = re.compile(rb"pycoredump\[\d+\]: (.*)")
KMSG_MAX = 8192  # bytes of one record (kernel/printk)
# What the handler itself does: see pycoredump/zstd.py and journal.py.
PROBE = """
import sys
sys.path.insert(0, sys.argv[1])
from pycoredump import journal, zstd
print("zstandard", zstd.compressor(2)[1])
try:
    journal._sendv()
    print("systemd")
except Exception as e:
    print("systemd", f"python3-systemd cannot be used ({type(e).__name__}: {e})")
"""
LOST = {
    "zstandard": "cores are larger, or stored slower",
    "systemd": "the handler speaks to journald by itself; list and watch see archives only",
}
PACKAGES = {"zstandard": "python3-zstandard", "systemd": "python3-systemd"}


class Item(Record):
    """One finding; `hint` is what to do about it."""

    name: str
    state: str
    found: str
    hint: str = ""


def handler(tree: Tree, kernel: Kernel) -> Iterator[Item]:
    """Whether the kernel starts our handler, by which file, and whether it is there."""
    pattern = kernel.read(sysctl.CORE_PATTERN) or ""
    ours = pattern.startswith(f"|{crash.HANDLER} ")
    if ours:
        yield Item(name="core_pattern", state=OK, found=pattern)
    else:
        yield Item(
            name="core_pattern",
            state=BAD,
            found=f"{pattern!r} is not the handler",
            hint="pycoredump-configure apply",
        )
    settings = sysctl.resolve(tree, sysctl.CORE_PATTERN)
    right = [one for one in settings if one.value.startswith(f"|{crash.HANDLER} ")]
    if settings and len(right) == len(settings):
        yield Item(
            name="at boot",
            state=OK,
            found=f"set by {', '.join(f'{one.file}:{one.line}' for one in settings)}",
        )
    else:
        wrong = next((one for one in settings if one not in right), None)
        found = (
            f"{wrong.file}:{wrong.line} sets {wrong.value!r}"
            if wrong
            else "no file of sysctl.d(5) sets core_pattern"
        )
        yield Item(name="at boot", state=BAD, found=found, hint="pycoredump-configure apply")
    if os.access(crash.HANDLER, os.X_OK):
        yield Item(name="handler", state=OK, found=crash.HANDLER)
    else:
        yield Item(
            name="handler", state=BAD, found=f"{crash.HANDLER} cannot be executed", hint="make install"
        )


def settings(kernel: Kernel) -> Iterator[Item]:
    """The other settings of the kernel, and the limit that processes get."""
    limit = kernel.read(sysctl.CORE_PIPE_LIMIT) or "0"
    if limit == "0":
        yield Item(
            name="core_pipe_limit",
            state=BAD,
            found="0: /proc/PID may be gone before the handler has read it",
            hint="pycoredump-configure apply",
        )
    else:
        yield Item(name="core_pipe_limit", state=OK, found=f"{limit} crashes at a time")
    privileged = kernel.read(sysctl.SUID_DUMPABLE)
    state = OK if privileged == "2" else NOTE
    words = (
        "set-uid programs are caught"
        if privileged == "2"
        else f"{privileged}: crashes of set-uid programs are not caught"
    )
    yield Item(
        name="suid_dumpable",
        state=state,
        found=words,
        hint="" if state == OK else "pycoredump-configure apply",
    )
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    if 0 <= hard < admission.PAGE:
        yield Item(
            name="RLIMIT_CORE",
            state=NOTE,
            found=f"{hard} in this session: crashes in it are recorded without a core",
            hint="pycoredump-configure apply, and log in again",
        )
    else:
        yield Item(
            name="RLIMIT_CORE",
            state=OK,
            found=f"hard limit of this session: {'unlimited' if hard < 0 else hard}",
        )


def others(tree: Tree) -> Iterator[Item]:
    """Who else takes core_pattern."""
    claims = [item for item in rivals.inspect(tree, live=True) if item.state != settings_item.OK]
    for item in claims:
        yield Item(
            name=item.name.removeprefix("rival "),
            state=BAD if item.state == settings_item.WRONG else NOTE,
            found=f"{item.found}{f', {item.effective}' if item.effective else ''}",
            hint=item.hint,
        )
    if rivals.enabled(tree, "systemd-coredumpd.service"):
        # Since release 262 the kernel hands it crashes by a socket, whatever core_pattern says at boot.
        yield Item(
            name="systemd-coredumpd",
            state=BAD,
            found="systemd-coredumpd.service is enabled and registers itself as @@/run/systemd/coredumpd/kernel",
            hint="systemctl disable --now systemd-coredumpd.service",
        )
        return
    if not claims:
        yield Item(name="others", state=OK, found="no other service takes core_pattern")


def libraries() -> Iterator[Item]:
    """Whether the interpreter that the kernel starts finds what the handler uses."""
    interpreter = shebang(crash.HANDLER) or INTERPRETER
    home = os.path.dirname(os.path.dirname(os.path.abspath(config.__file__)))
    try:
        done = subprocess.run(
            [interpreter, "-IS", "-c", PROBE, home],
            capture_output=True, text=True, timeout=PROBE_SECONDS, check=False, env={}, cwd="/",
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as e:
        yield Item(name="interpreter", state=BAD, found=f"{interpreter}: {e}", hint="Reinstall python3.")
        return
    if done.returncode:
        last = (done.stderr.strip().split("\n") or [""])[-1]
        yield Item(name="interpreter", state=BAD, found=f"{interpreter}: {last}", hint="make install")
        return
    for line in done.stdout.splitlines():
        library, _, problem = line.partition(" ")
        if problem:
            yield Item(
                name=library,
                state=BAD,
                found=f"{problem}: {LOST[library]}",
                hint=f"Install {PACKAGES[library]}.",
            )
        else:
            yield Item(name=library, state=OK, found=f"loads in {interpreter}")


def shebang(path: str) -> str:
    """The interpreter of a script, "" if it names none."""
    try:
        with open(path, "rb") as file:
            line = file.readline(256)
    except OSError:
        return ""
    words = line[2:].split() if line.startswith(b"#!") else []
    return os.fsdecode(words[0]) if words else ""


def journald(found: Incidents) -> Iterator[Item]:
    """Whether entries can be written and read."""
    if listens():
        yield Item(name="journald", state=OK, found="takes entries")
    else:
        yield Item(
            name="journald",
            state=NOTE,
            found=f"nobody listens at {SOCKET}: the archives' metadata are the only record, and the kernel log",
            hint="systemctl start systemd-journald, where there is systemd",
        )
    for note in found.notes:
        yield Item(name="journal", state=NOTE, found=note)


def configuration() -> tuple[Config, list[Item]]:
    """The configuration, and what is wrong with its files."""
    loaded, warnings = config.load()
    return loaded, [
        Item(
            name="configuration",
            state=BAD,
            found=text,
            hint="Correct the line; until then the default holds.",
        )
        for text in warnings
    ] or [
        Item(
            name="configuration",
            state=OK,
            found=", ".join(filter(os.path.exists, config.files())) or "defaults",
        )
    ]


def disk(loaded: Config) -> Iterator[Item]:
    """The directory, and its use against MaxUse= and KeepFree=."""
    try:
        facts = os.stat(loaded.directory)
        space = os.statvfs(loaded.directory)
    except OSError as e:
        state = NOTE if isinstance(e, FileNotFoundError) else BAD
        yield Item(
            name="directory",
            state=state,
            found=f"{loaded.directory}: {e.strerror}",
            hint="The first crash makes it.",
        )
        return
    if facts.st_uid != 0 or facts.st_mode & 0o022:
        yield Item(
            name="directory",
            state=BAD,
            found=f"{loaded.directory} is of user {facts.st_uid}, mode {facts.st_mode & 0o7777:o}: others could change cores",
            hint=f"chown root:root {loaded.directory}; chmod 711 {loaded.directory}",
        )
    elif facts.st_mode & 0o044:
        yield Item(
            name="directory",
            state=NOTE,
            found=f"{loaded.directory} has mode {facts.st_mode & 0o7777:o}: others see whose programs crashed",
            hint=f"chmod 711 {loaded.directory}",
        )
    total, free = space.f_frsize * space.f_blocks, space.f_frsize * space.f_bavail
    yield from _use(loaded, total)
    wanted = admission.keep_free(loaded, total)
    state = OK if free >= wanted else BAD
    yield Item(
        name="free space",
        state=state,
        found=f"{screen.size(free)} of {screen.size(total)}; KeepFree= asks for {screen.size(wanted)}",
        hint=""
        if state == OK
        else "Until there is room, cores are made smaller, or not kept: free some, or set KeepFree=.",
    )


def _use(loaded: Config, total: int) -> Iterator[Item]:
    try:
        fd = os.open(loaded.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as e:
        yield Item(
            name="archives", state=NOTE, found=f"{loaded.directory} is for root to list: {e.strerror}"
        )
        return
    try:
        stored = retention.listing(fd)
    finally:
        os.close(fd)
    used, most = sum(one.used for one in stored), admission.max_use(loaded, total)
    yield Item(
        name="archives",
        state=NOTE if most and used > most * 9 // 10 else OK,
        found=f"{len(stored)} in {loaded.directory}, {screen.size(used)}"
        + (f" of MaxUse= {screen.size(most)}" if most else "; MaxUse= is off"),
        hint="The oldest go first; set MaxUse= to keep more." if most and used > most * 9 // 10 else "",
    )


def last(found: Incidents) -> Iterator[Item]:
    """The last crash, and what went wrong in catching it."""
    newest = found.newest(1)
    if not newest:
        yield Item(name="last crash", state=OK, found="none is known")
        return
    one = newest[0]
    program = one.get("COREDUMP_COMM") or one.program
    when = times.ago(one.time, now=time.time_ns() // 1000)
    yield Item(
        name="last crash",
        state=OK,
        found=f"{program}[{one.get('COREDUMP_PID')}] {one.signal} {when}, core {presence(one).word}",
    )
    if problems := one.get("COREDUMP_PROBLEMS"):
        yield Item(name="its problems", state=NOTE, found=problems.replace("\n", "; "))


def kernel_log(*, path: str = "/dev/kmsg") -> Iterator[Item]:
    """Crashes that the kernel skipped since boot, and what the handler could tell nobody else."""
    try:
        records = list(_records(path))
    except OSError as e:
        yield Item(
            name="skipped crashes", state=NOTE, found=f"not known: {path}: {e.strerror}", hint="Ask as root."
        )
        return
    skipped = [line for record in records for line in record.split(b"\n") if SKIPPED.search(line)]
    if skipped:
        yield Item(
            name="skipped crashes",
            state=BAD,
            found=f"{len(skipped)} in the kernel log{_when(skipped[-1])}: more crashes at once than core_pipe_limit",
            hint="Raise kernel.core_pipe_limit in a file of sysctl.d(5).",
        )
    else:
        yield Item(name="skipped crashes", state=OK, found="none in the kernel log")
    own = [match[1] for record in records for match in OWN.finditer(record)]
    if own:
        text = own[-1].decode("utf-8", "backslashreplace")
        yield Item(
            name="kernel log",
            state=NOTE,
            found=f"{screen.counted(len(own), 'message')} of the handler, the last: {text}",
        )


def _when(record: bytes) -> str:
    """How long ago a record was written: `6,1234,5678901,-;text` has microseconds since boot."""
    parts = record.split(b";")[0].split(b",")
    if len(parts) < 3 or not parts[2].isdigit():
        return ""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    return f", the last {times.ago(int(parts[2]), now=now)}"


def _records(path: str) -> Iterator[bytes]:
    """The kernel log as far as it is kept, oldest first (kmsg(4): one record with each read)."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while True:
            try:
                record = os.read(fd, KMSG_MAX)
            except BlockingIOError:
                return
            except BrokenPipeError:
                continue  # overwritten while we read; the next read goes on behind it
            if not record:
                return
            yield record
    finally:
        os.close(fd)
