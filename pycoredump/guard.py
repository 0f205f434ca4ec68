"""The handler's own safety: what it is before it touches anything of the crash.

Runs before the release: tests/test_hot_path.py lists what this module may import. The kernel starts us
with fds 1 and 2 closed, an empty environment, umask 022, in the root control group, outside every limit
of a service (kernel/umh.c).
"""

from __future__ import annotations

import _signal
import errno
import os
import resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

NICE = 9  # as systemd-coredump@.service
OOM_SCORE_ADJ = 500  # the same: rather us than a service, should memory run out
PR_SET_DUMPABLE = 4  # linux/prctl.h

# Signals that would end us without a word. SIGPIPE and SIGXFSZ come back as errors of the write.
LOGGED = (_signal.SIGTERM, _signal.SIGHUP, _signal.SIGINT, _signal.SIGUSR1, _signal.SIGUSR2, _signal.SIGXCPU)
IGNORED = (_signal.SIGPIPE, _signal.SIGXFSZ)


def secure(log: Callable[[str], None]) -> list[str]:
    """Take all precautions. What could not be taken is returned, one sentence each: none is worth a core."""
    safe_descriptors()
    os.umask(0o077)
    os.chdir("/")
    problems = []
    for name, act in (("dumpable", not_dumpable), ("nice", be_nice), ("oom_score_adj", accept_oom)):
        try:
            act()
        except (OSError, ImportError, AttributeError) as e:
            problems.append(f"The handler could not set its own {name}: {e}")

    for number in LOGGED:
        _signal.signal(number, lambda got, _: log(f"Got signal {got}; the crash is finished all the same"))
    for number in IGNORED:
        _signal.signal(number, _signal.SIG_IGN)
    return problems


def safe_descriptors() -> None:
    """Open /dev/null where 0, 1 or 2 are closed: the next file would get that number, and messages with it."""
    while True:
        fd = os.open("/dev/null", os.O_RDWR)
        if fd > 2:
            os.close(fd)
            return
        os.set_inheritable(fd, True)


def not_dumpable() -> None:
    """Should the handler crash itself, the kernel must not start another one for it.

    The kernel sets RLIMIT_CORE to 1 for us, which it takes as "no core of this one" (fs/coredump.c); prctl(2)
    is the second lock, and keeps others from tracing us.
    """
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (min(1, hard) if hard >= 0 else 1, hard))
    prctl(PR_SET_DUMPABLE, 0)


def prctl(option: int, value: int) -> None:
    """prctl(2) with one argument. OSError if it fails."""
    from pycoredump import libc  # where Python has no ctypes, only this is lost

    libc.call("prctl", option, value, 0, 0, 0)


def be_nice() -> None:
    # With no I/O class of our own, the kernel derives best-effort 5 from this (ioprio_set(2)).
    os.setpriority(os.PRIO_PROCESS, 0, max(NICE, os.getpriority(os.PRIO_PROCESS, 0)))


def accept_oom() -> None:
    fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(OOM_SCORE_ADJ).encode())
    finally:
        os.close(fd)


class TimeLimit:
    """A with-block that a TimeoutError ends after `seconds`: for system calls that may block for ever.

    Only in the main thread, and not nested: there is one interval timer (setitimer(2)).
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        self._before = _signal.signal(_signal.SIGALRM, _timed_out)
        _signal.setitimer(_signal.ITIMER_REAL, self.seconds)

    def __exit__(self, *_: object) -> None:
        _signal.setitimer(_signal.ITIMER_REAL, 0)
        _signal.signal(_signal.SIGALRM, self._before)


def _timed_out(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
