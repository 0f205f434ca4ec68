"""The crashes of `selftest`, what is expected of each, and the checks of what was recorded."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from pycoredump.cli import core
from pycoredump.cli.incident import Incident, presence
from pycoredump.cli.incidents import Incidents
from pycoredump.errors import PycoredumpError
from pycoredump.record import Record

X86, ARM = "x86_64", "aarch64"
LIMIT = 1 << 20  # bytes of RLIMIT_CORE in the trial of a small one
TAIL = 256 << 10  # bytes of metadata and seek table, which are not the core's
ACL = "system.posix_acl_access"


class Trial(Record):
    """One crash. `codes` is the si_code by name, by machine; machines that are not named may have any."""

    name: str
    way: str  # how it is raised, for people
    crasher: str  # of crashers.py
    signal: str
    codes: dict[str, str] = {}  # noqa: RUF012 - never changed
    code: str = ""  # on all machines
    threads: int = 1
    send: str = ""  # the signal that we send
    limit: int | None = None  # RLIMIT_CORE, bytes
    user: int | None = None  # run as this user
    core: str = "whole"  # whole, limited or none


TRIALS = (
    Trial(name="SIGQUIT", way="kill -s SIGQUIT, as Ctrl+\\", crasher="quit", signal="SIGQUIT", code="SI_USER", send="SIGQUIT"),
    Trial(name="SIGILL", way="an illegal instruction", crasher="illegal", signal="SIGILL", codes={X86: "ILL_ILLOPN", ARM: "ILL_ILLOPC"}),
    Trial(name="SIGTRAP", way="int3, a breakpoint", crasher="breakpoint", signal="SIGTRAP", codes={X86: "SI_KERNEL", ARM: "TRAP_BRKPT"}),
    Trial(name="SIGABRT", way="abort()", crasher="abort", signal="SIGABRT", code="SI_TKILL"),
    Trial(name="SIGFPE", way="an integer divided by zero", crasher="division", signal="SIGFPE", codes={X86: "FPE_INTDIV", ARM: "SI_TKILL"}),
    Trial(name="SIGSEGV", way="a null pointer", crasher="null", signal="SIGSEGV", code="SEGV_MAPERR"),
    Trial(name="SIGSEGV", way="a write to read-only memory", crasher="readonly", signal="SIGSEGV", code="SEGV_ACCERR"),
    Trial(name="SIGBUS", way="a mapping of a file cut short", crasher="bus", signal="SIGBUS", code="BUS_ADRERR"),
    Trial(name="SIGSYS", way="syscall(999) under seccomp", crasher="syscall", signal="SIGSYS", code="SYS_SECCOMP"),
    Trial(name="SIGXCPU", way="RLIMIT_CPU of one second", crasher="cpu", signal="SIGXCPU"),
    Trial(name="SIGXFSZ", way="RLIMIT_FSIZE of one page", crasher="filesize", signal="SIGXFSZ"),
    Trial(name="threads", way="five threads, one aborts", crasher="threads", signal="SIGABRT", threads=5),
    Trial(name="no limit left", way="RLIMIT_CORE of 0", crasher="abort", signal="SIGABRT", limit=0, core="none"),
    Trial(name="small limit", way="RLIMIT_CORE of 1 MiB", crasher="abort", signal="SIGABRT", limit=LIMIT, core="limited"),
)  # fmt: skip


def of_user(uid: int) -> Trial:
    """The crash of a user, who is to have access to the core."""
    return Trial(name="access", way=f"abort() of user {uid}", crasher="abort", signal="SIGABRT", user=uid)


def faults(trial: Trial, one: Incident, found: Incidents) -> Iterator[str]:
    """What is wrong with what was recorded, one sentence each."""
    yield from _facts(trial, one)
    there = presence(one, root=found.place.root)
    if trial.core == "none":
        if there.word != "none":
            yield f"a core is {there.word}, though RLIMIT_CORE forbids one"
        return
    if there.word not in (
        ("present", "truncated", "reduced") if trial.core == "limited" else ("present", "journal")
    ):
        yield f"the core is {there.word}{f': {why}' if (why := one.get('COREDUMP_REASON')) else ''}"
        return
    yield from _core(trial, one, found)
    if there.path:
        yield from _file(trial, one, there.path)


def _facts(trial: Trial, one: Incident) -> Iterator[str]:
    if one.signal != trial.signal:
        yield f"the signal is {one.signal}"
    wanted = trial.code or trial.codes.get(os.uname().machine, "")
    if wanted and one.get("COREDUMP_CODE_NAME") != wanted:
        yield f"the code is {one.get('COREDUMP_CODE_NAME') or 'not known'}, not {wanted}"
    for name in ("COREDUMP_EXE", "COREDUMP_COMM", "COREDUMP_UID", "COREDUMP_TIMESTAMP", "COREDUMP_CMDLINE"):
        if not one.get(name):
            yield f"{name} is missing"


def _core(trial: Trial, one: Incident, found: Incidents) -> Iterator[str]:
    from pycoredump.cli.layout import scan
    from pycoredump.crash import signal_name

    try:
        with core.opened(one, found) as archive:
            layout = scan(archive)
            fields = archive.fields
    except (PycoredumpError, OSError) as e:
        yield f"the core cannot be read: {e}"
        return
    if layout.signal is None or signal_name(layout.signal.signal) != trial.signal:
        yield "the core has another signal"
    if len(layout.threads) != trial.threads:
        yield f"the core has {len(layout.threads)} threads"
    if one.file and fields.get("COREDUMP_PID") != one.get("COREDUMP_PID"):
        yield "the archive's own metadata are missing"


def _file(trial: Trial, one: Incident, path: str) -> Iterator[str]:
    facts = os.stat(path, follow_symlinks=False)
    if trial.core == "limited" and facts.st_size > LIMIT + TAIL:
        yield f"the archive has {facts.st_size} bytes, more than RLIMIT_CORE allows"
    if facts.st_uid != 0 or stat.S_IMODE(facts.st_mode) != 0o640:
        yield f"the archive is of user {facts.st_uid}, mode {stat.S_IMODE(facts.st_mode):o}"
    try:
        readable = _readers(os.getxattr(path, ACL))
    except OSError:
        readable = []
    wanted = [trial.user] if trial.user is not None else [os.getuid()] if os.getuid() >= 1000 else []
    if readable != wanted:
        yield f"the core is readable for the users {readable or 'root'}, not {wanted or 'root alone'}"


def _readers(acl: bytes) -> list[int]:
    """The users that an ACL gives read access (linux/posix_acl_xattr.h)."""
    import struct

    return [
        who for tag, permissions, who in struct.iter_unpack("<HHI", acl[4:]) if tag == 2 and permissions & 4
    ]
