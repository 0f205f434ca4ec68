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
EXIT_SECONDS = 1  # for the exit of a child that has said everything

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
    result_max: int = RESULT_MAX,
) -> bytes:
    """What work(fds) returns in the child. `memory`: bytes of address space. SandboxError.

    prepare() is called in the child before it is confined.
    The descriptors keep their numbers in the child and stay open here.
    """
    return Child(work, fds, seconds=seconds, memory=memory, prepare=prepare, result_max=result_max).result()


class Child:
    """A child that is at work; what run() takes. SandboxError if there can be none."""

    def __init__(
        self,
        work: Callable[[Sequence[int]], bytes],
        fds: Sequence[int],
        *,
        seconds: float,
        memory: int,
        prepare: Callable[[], None] = lambda: None,
        result_max: int = RESULT_MAX,
    ) -> None:
        from pycoredump.analysis import confine

        self.deadline = time.monotonic() + seconds
        self.result_max = result_max
        try:
            self._receive, send = os.pipe2(os.O_CLOEXEC)
        except OSError as e:
            raise SandboxError(f"The sandbox cannot be set up: {e}") from e
        try:
            self.pid = confine.fork()
            if self.pid == 0:
                _child(work, fds, send, prepare=prepare, seconds=seconds, memory=memory)
        except OSError as e:
            os.close(self._receive)
            raise SandboxError(f"The sandbox cannot be set up: {e}") from e
        finally:
            os.close(send)

    def result(self) -> bytes:
        """The child's output; it is killed when it does not end by itself in time. SandboxError."""
        data, complaint = b"", "The analysis was given up"
        try:
            data, complaint = _read(self._receive, deadline=self.deadline, limit=self.result_max)
        except OSError as e:
            complaint = f"The analysis cannot be listened to: {e}"
        finally:
            os.close(self._receive)
            # Not reaped yet, so the number still is that child's.
            if complaint or not _ended(self.pid):
                os.kill(self.pid, _signal.SIGKILL)
            status = os.waitpid(self.pid, 0)[1]
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
    try:
        fd = os.pidfd_open(pid)
    except (
        OSError
    ):  # no descriptor left: then it is waited for without an end, which SIGKILL makes a short one
        return False
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(EXIT_SECONDS * 1000))
    finally:
        os.close(fd)


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
