"""Runs one function in a forked child that has given up everything before it reads a hostile byte.

    data = sandbox.run(work, fds, prepare=imports, seconds=10, memory=1 << 30)

The child imports first (prepare), then leaves: other user, no capabilities, own empty root, network and
process namespaces where they can be had, a filter of system calls, limits. It hands its result back through
a pipe. What comes out of it is as hostile as what went in.
"""

from __future__ import annotations

import _signal
import os
import select
import time

from pycoredump.crash import SIGNALS
from pycoredump.errors import PycoredumpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RESULT_MAX = 16 << 20  # bytes
MESSAGE_MAX = 500  # characters of the child's own words
GROWTH = 1 << 20

# What could not be taken away from this process; set in the child.
missing: tuple[str, ...] = ()


class SandboxError(PycoredumpError):
    """The child did not deliver: out of time, memory or luck."""


def run(
    work: Callable[[Sequence[int]], bytes],
    fds: Sequence[int],
    *,
    seconds: float,
    memory: int,
    prepare: Callable[[], None] = lambda: None,
    meanwhile: Callable[[], None] = lambda: None,
    result_max: int = RESULT_MAX,
) -> bytes:
    """What work(fds) returns in the child. `memory`: bytes of address space. SandboxError.

    prepare() is called in the child before it is confined, meanwhile() here while it works.
    The descriptors keep their numbers in the child and stay open here.
    """
    from pycoredump.analysis import confine

    receive, send = os.pipe2(os.O_CLOEXEC)
    try:
        pid = confine.fork()
        if pid == 0:
            _child(work, fds, send, prepare=prepare, seconds=seconds, memory=memory)
        os.close(send)
        send = -1
        return _collect(pid, receive, seconds=seconds, limit=result_max, meanwhile=meanwhile)
    except OSError as e:
        raise SandboxError(f"The sandbox cannot be set up: {e}") from e
    finally:
        os.close(receive)
        if send >= 0:
            os.close(send)


def _collect(pid: int, receive: int, *, seconds: float, limit: int, meanwhile: Callable[[], None]) -> bytes:
    """The child's output and end; it is killed when it does not end by itself."""
    complaint = "The analysis was given up"
    try:
        deadline = time.monotonic() + seconds
        meanwhile()
        data, complaint = _read(receive, deadline=deadline, limit=limit)
    finally:
        # Not reaped yet, so the number still is that child's.
        if complaint or not _ended(pid):
            os.kill(pid, _signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
    if complaint:
        raise SandboxError(complaint)
    if status == 0:
        return data
    if os.WIFSIGNALED(status):
        raise SandboxError(f"The analysis was ended by {_signal_name(os.WTERMSIG(status))}")
    words = data[:MESSAGE_MAX].decode("utf-8", "replace")
    raise SandboxError("".join(c if c.isprintable() else "?" for c in words) or "The analysis failed")


def _signal_name(number: int) -> str:
    return {int(_signal.SIGKILL): "SIGKILL", int(_signal.SIGTERM): "SIGTERM"}.get(
        number, SIGNALS.get(number, f"signal {number}")
    )


# When its end of the pipe is closed, the child has only its exit left to do.
def _ended(pid: int) -> bool:
    for _ in range(200):
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return True
        time.sleep(0.005)
    return False


def _read(fd: int, *, deadline: float, limit: int) -> tuple[bytes, str]:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    parts: list[bytes] = []
    size = 0
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            return b"", "The analysis took too long"
        part = os.read(fd, GROWTH)
        if not part:
            return b"".join(parts), ""
        parts.append(part)
        size += len(part)
        if size > limit:
            return b"", f"The analysis told more than {limit} bytes"


def _child(
    work: Callable[[Sequence[int]], bytes],
    fds: Sequence[int],
    send: int,
    *,
    prepare: Callable[[], None],
    seconds: float,
    memory: int,
) -> None:
    """Never returns."""
    status = 1
    try:
        from pycoredump.analysis import confine

        confine.prctl(confine.PR_SET_PDEATHSIG, _signal.SIGKILL)
        _default_signals()
        confine.close_all_but([*fds, send])
        prepare()
        lock_down(send, seconds=seconds, memory=memory)
        result = work(fds)
        status = 0
    except MemoryError:
        result = b"The analysis needed more memory than it may have"
    except BaseException as e:
        result = f"The analysis failed: {type(e).__name__}: {e}"[:MESSAGE_MAX].encode("utf-8", "replace")
    try:
        _write(send, result)
    finally:
        os._exit(status)


def lock_down(send: int, *, seconds: float, memory: int) -> None:
    """Confine this process; only `send` may be written to. OSError or PycoredumpError if it is not safe enough."""
    global missing
    from pycoredump.analysis import confine, seccomp

    lost = confine.confine(confine.Limits(seconds=int(seconds) + 2, memory=memory))
    seccomp.forbid_privileges()
    try:
        seccomp.install(send)
    except (OSError, PycoredumpError) as e:
        lost = (*lost, "system call filter")
        if {"empty root", "mounts namespace", "network namespace"} & set(lost):
            raise PycoredumpError(
                f"There is no sandbox: no system call filter ({e}), no {', no '.join(lost)}"
            ) from e
    missing = lost


def probe() -> tuple[str, ...]:
    """What a sandbox on this host would lack. SandboxError if there can be none."""
    text = run(lambda _: "\n".join(missing).encode(), [], seconds=10, memory=1 << 30)
    return tuple(text.decode().splitlines())


# The handler's own ways with signals are not the child's.
def _default_signals() -> None:
    for number in _signal.valid_signals() - {_signal.SIGKILL, _signal.SIGSTOP}:
        try:
            _signal.signal(number, _signal.SIG_DFL)
        except (OSError, ValueError):
            continue  # those that the C library keeps for itself


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view[:GROWTH]) :]
