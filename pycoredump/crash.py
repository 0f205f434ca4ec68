"""The facts of one death as the kernel passes them: core_pattern's specifiers, their order, the signals (core(5)).

The one source for the specifiers: sysctl.d/60-pycoredump.conf and the manual are checked against it.
Runs before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

from pycoredump.errors import ArgumentError
from pycoredump.record import Record

HANDLER = "/usr/libexec/pycoredump"
PATTERN_MAX = (
    127  # CORENAME_MAX_SIZE - 1 (fs/coredump.c): what is longer is cut by the kernel without a word
)

# (specifier, field of Crash). The first four are the design card's and alone are enough; unknown
# specifiers are dropped by older kernels, which leaves an empty argument in their place.
SPECIFIERS = (
    ("%P", "pid"),
    ("%s", "signal"),
    ("%t", "timestamp"),
    ("%e", "comm"),
    ("%u", "uid"),
    ("%g", "gid"),
    ("%c", "rlimit"),
    ("%d", "dumpable"),
    ("%F", "pidfd"),
    ("%I", "tid"),
    ("%h", "hostname"),
)
REQUIRED = 4

# SIG_KERNEL_COREDUMP_MASK (include/linux/signal.h) with the numbers of x86, arm and most others (signal(7)).
# SIGEMT exists on alpha, mips and sparc only; its number there is SIGBUS's here.
SIGNALS = {
    3: "SIGQUIT",
    4: "SIGILL",
    5: "SIGTRAP",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    11: "SIGSEGV",
    24: "SIGXCPU",
    25: "SIGXFSZ",
    31: "SIGSYS",
}

RLIMIT_UNLIMITED = 2**64 - 1  # %c of RLIM_INFINITY
UID_MAX = 2**32 - 1
PID_MAX = 2**31 - 1


class Crash(Record):
    """What the kernel said on the command line. None: it did not say."""

    pid: int  # %P, in the initial PID namespace
    signal: int  # %s
    timestamp: int  # %t, seconds since the epoch
    comm: str  # %e of the crashing thread, at most 15 bytes, undecodable ones as surrogates
    uid: int | None = None  # %u, real, in the initial user namespace
    gid: int | None = None  # %g
    rlimit: int | None = None  # %c, soft RLIMIT_CORE, bytes; RLIMIT_UNLIMITED for none
    dumpable: int | None = None  # %d: 1 normal, 2 privileged; None counts as privileged
    pidfd: int | None = None  # %F, a descriptor of ours, since Linux v6.16
    tid: int | None = None  # %I, the crashing thread in the initial PID namespace
    hostname: str = ""  # %h, of the process's UTS namespace
    problems: tuple[str, ...] = ()  # optional arguments that could not be understood, one sentence each

    @property
    def signal_name(self) -> str:
        return signal_name(self.signal)


def pattern(handler: str = HANDLER, *, optional: bool = True) -> str:
    """The value for kernel.core_pattern. ArgumentError if the kernel would cut it."""
    wanted = SPECIFIERS if optional else SPECIFIERS[:REQUIRED]
    text = " ".join([f"|{handler}", *(specifier for specifier, _ in wanted)])
    if len(text) > PATTERN_MAX:
        raise ArgumentError(
            f"core_pattern {text!r} has {len(text)} characters; the kernel keeps {PATTERN_MAX}",
            hint="Install the handler under a shorter path.",
        )
    return text


def signal_name(signal: int) -> str:
    """SIGSEGV for 11; SIG<number> for signals that do not make a core."""
    return SIGNALS.get(signal, f"SIG{signal}")


def parse(arguments: list[str]) -> Crash:
    """The crash from the handler's arguments, without its own name.

    ArgumentError if one of the required four is missing or not a number. A bad optional one is
    dropped and named in `problems`: it must not cost the crash.
    """
    if len(arguments) < REQUIRED:
        names = " ".join(specifier for specifier, _ in SPECIFIERS[:REQUIRED])
        raise ArgumentError(
            f"Got {len(arguments)} arguments, but need at least {REQUIRED} ({names})",
            hint="This program is started by the kernel through kernel.core_pattern.",
        )

    values: dict[str, object] = {}
    problems: list[str] = []
    for (specifier, field), text in zip(SPECIFIERS, arguments, strict=False):
        try:
            values |= (
                {field: text if field in ("comm", "hostname") else _number(field, text)} if text else {}
            )
        except ValueError:
            if field in ("pid", "signal", "timestamp"):
                raise ArgumentError(f"{specifier} is {text!r}, which is not a {field}") from None
            problems.append(f"{specifier} is {text!r}, which is not a {field}: ignored")

    return _crash(values, problems)


def _crash(values: dict[str, object], problems: list[str]) -> Crash:
    for field in ("pid", "signal", "timestamp"):
        if field not in values:
            raise ArgumentError(f"The {field} is empty")

    values.setdefault("comm", "")
    return Crash(**values, problems=tuple(problems))  # type: ignore[arg-type]  # checked field by field above


LIMITS = {
    "pid": PID_MAX,
    "tid": PID_MAX,
    "signal": 127,
    "timestamp": 2**63 - 1,
    "uid": UID_MAX,
    "gid": UID_MAX,
    "rlimit": RLIMIT_UNLIMITED,
    "dumpable": 2,
    "pidfd": 1 << 20,
}


def _number(field: str, text: str) -> int:
    # int() alone would take "1_0", " 7" and digits of other scripts.
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)

    value = int(text)
    least = 1 if field in ("pid", "tid", "signal") else 0
    if not least <= value <= LIMITS[field]:
        raise ValueError(text)
    return value
