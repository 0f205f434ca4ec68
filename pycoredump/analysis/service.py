"""The analysis from outside: asks the sandboxed unit, or a forked child where there is no systemd. And the unit's end.

    report = service.analyse(core_fd, [(path, fd), ...], Facts(...), seconds=10)

One connection is one crash. The request is a few messages that carry descriptors (unix(7), SCM_RIGHTS): first
the job in a memfd, then the core, then the modules, then separate debug files. The answer is READY at once, later the length of the report,
and then the report as JSON in messages of at most 64 KiB.

The handler's process imports only what stands on top of this file; everything else is the sandbox's. The package
socket costs 3 ms of imports, its C part nothing.
"""

from __future__ import annotations

import _socket
import os
import struct
import sys
import time

from pycoredump.analysis import sandbox, wire
from pycoredump.analysis.model import Facts, Report
from pycoredump.analysis.wire import Job
from pycoredump.errors import PycoredumpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SOCKET = "/run/pycoredump/analysis"
GREETING = b"pycoredump analysis 1"
READY = b"ready"
START_SECONDS = 2.0  # for the unit to say READY; it may wait for others in a busy or a shutting-down system
SECONDS = 10
MEMORY = 1 << 30  # bytes of address space; what is really used is about a tenth
MODULES_MAX = 4096
FILES_MAX = 2 * MODULES_MAX
PASSED_MAX = 250  # descriptors in one message; the kernel takes SCM_MAX_FD = 253
PACKET = 64 << 10
JOB_MAX = 32 << 20


def analyse(
    core: int,
    modules: Sequence[tuple[bytes, int]],
    facts: Facts,
    *,
    seconds: int = SECONDS,
    memory: int = MEMORY,
    path: str = SOCKET,
    base: int = 0,
    debug: Mapping[str, int] | None = None,
) -> Report:
    """The report on the core behind a descriptor. PycoredumpError if there is none in time.

    `base`: where in the file of a plain core it begins. `debug`: build id -> separate debug file.
    """
    return Request(
        core, modules, facts, seconds=seconds, memory=memory, path=path, base=base, debug=debug
    ).report()


class Request:
    """One crash on its way through the analysis, which begins at once; report() waits for its end.

    The descriptors may be closed after report(). SandboxError if there is no way to ask.
    """

    def __init__(
        self,
        core: int,
        modules: Sequence[tuple[bytes, int]],
        facts: Facts,
        *,
        seconds: int = SECONDS,
        memory: int = MEMORY,
        path: str = SOCKET,
        base: int = 0,
        debug: Mapping[str, int] | None = None,
    ) -> None:
        self.began = time.monotonic()
        self.deadline = self.began + seconds
        self.memory = memory
        modules = modules[:MODULES_MAX]
        debug = debug or {}
        paths = tuple(os.fsdecode(name) for name, _ in modules)
        job = Job(facts=facts, modules=paths, debug=tuple(debug), base=base, seconds=seconds)
        self._job = os.memfd_create("job", os.MFD_CLOEXEC)
        _write_all(self._job, wire.encode(job))
        self._fds = [self._job, core, *(fd for _, fd in modules), *debug.values()]
        self._connection = ask(self._fds, path) if path else None
        self._child = self._forked() if self._connection is None else None

    def report(self) -> Report:
        """PycoredumpError if there is none in time."""
        try:
            return wire.report(self._answer())
        finally:
            os.close(self._job)

    def _answer(self) -> bytes:
        if self._connection is not None:
            answer = answered(self._connection, self.began + START_SECONDS, self.deadline)
            if answer:
                return answer
        return (self._child or self._forked()).result()

    def _forked(self) -> sandbox.Child:
        left = max(1.0, self.deadline - time.monotonic())
        return sandbox.Child(work, self._fds, prepare=prepare, seconds=left, memory=self.memory)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def prepare() -> None:
    from pycoredump.analysis import report

    report.preload()


def work(fds: Sequence[int]) -> bytes:
    """In the sandbox: job, core, modules and debug files behind descriptors -> report as JSON."""
    from pycoredump.analysis import report

    job = wire.job(os.pread(fds[0], JOB_MAX, 0))
    names = [os.fsencode(name) for name in job.modules]
    # What comes after this is writing it down.
    seconds = max(1.0, job.seconds * 0.8)
    modules = list(zip(names, fds[2:], strict=False))
    debug = dict(zip(job.debug, fds[2 + len(names) :], strict=False))
    found = report.analyse(fds[1], modules, job.facts, seconds=seconds, debug=debug, base=job.base)
    return wire.encode(found)


def ask(fds: Sequence[int], path: str) -> _socket.socket | None:
    """The connection on which the unit will answer; None if it is not there."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        connection.settimeout(START_SECONDS)
        connection.connect(path)
        send_descriptors(connection, fds)
    except OSError:
        connection.close()
        return None
    return connection


def answered(connection: _socket.socket, ready_by: float, deadline: float) -> bytes:
    """What the unit answers; b"" if it does not begin in time. SandboxError if it breaks off."""
    try:
        connection.settimeout(max(0.01, ready_by - time.monotonic()))
        if connection.recv(len(READY)) != READY:
            connection.close()
            return b""
    except OSError:
        connection.close()
        return b""
    try:
        return _answer(connection, deadline)
    except OSError as e:
        raise sandbox.SandboxError(f"The analysis service broke off: {e}") from e
    finally:
        connection.close()


def _answer(connection: _socket.socket, deadline: float) -> bytes:
    def receive(size: int) -> bytes:
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        part = connection.recv(size)
        if not part:
            raise sandbox.SandboxError("The analysis service ended before its answer")
        return part

    head = receive(8)
    size = int.from_bytes(head, "little")
    if len(head) < 8 or size > sandbox.RESULT_MAX:
        raise sandbox.SandboxError(f"The analysis service would answer {size} bytes")
    parts: list[bytes] = []
    while size > 0:
        parts.append(receive(PACKET))
        size -= len(parts[-1])
    return b"".join(parts)


def send_descriptors(connection: _socket.socket, fds: Sequence[int]) -> None:
    """All descriptors, in as many messages as they need; each says how many are still to come. OSError."""
    for start in range(0, len(fds), PASSED_MAX):
        some = fds[start : start + PASSED_MAX]
        head = GREETING + struct.pack("<I", len(fds) - start - len(some))
        rights = struct.pack(f"{len(some)}i", *some)
        connection.sendmsg([head], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])


def receive_descriptors(connection: _socket.socket) -> list[int]:
    """The other end. PycoredumpError if that is not what comes; OSError."""
    fds: list[int] = []
    while True:
        head, control, flags, _ = connection.recvmsg(64, _socket.CMSG_LEN(4 * PASSED_MAX))
        some = list(_descriptors(control))
        fds += some
        if not head.startswith(GREETING) or len(head) != len(GREETING) + 4 or flags & _socket.MSG_CTRUNC:
            raise PycoredumpError("The request is not one of pycoredump's handler")
        if len(fds) > FILES_MAX or not some:
            raise PycoredumpError(f"The request has {len(fds)} descriptors")
        if struct.unpack_from("<I", head, len(GREETING))[0] == 0:
            return fds


def _descriptors(control: list[tuple[int, int, bytes]]) -> Iterator[int]:
    for level, kind, data in control:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            yield from struct.unpack(f"{len(data) // 4}i", data[: len(data) // 4 * 4])


def serve(connection: _socket.socket, *, memory: int = MEMORY) -> None:
    """Answer one request, then have nothing left to do: this process is confined for good. PycoredumpError, OSError."""
    import _signal

    from pycoredump.analysis import confine

    uid = struct.unpack("3i", connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12))[1]
    if uid not in (0, os.geteuid()):
        raise PycoredumpError(f"User {uid} may not ask for an analysis")

    # Nothing is waited for without an end; the unit has a limit, too.
    _signal.alarm(SECONDS)
    # Before the imports: on a slow machine these take longer than anybody waits for a unit that may never start.
    connection.send(READY)
    fds = receive_descriptors(connection)
    prepare()
    seconds = min(wire.job(os.pread(fds[0], JOB_MAX, 0)).seconds, 60)
    _signal.alarm(seconds + 1)
    confine.close_all_but([*fds, connection.fileno()])
    sandbox.lock_down(connection.fileno(), seconds=seconds, memory=memory)
    answer = work(fds)
    # os.write: of all ways to send, the one that the filter knows.
    for packet in (struct.pack("<Q", len(answer)), *_packets(answer)):
        os.write(connection.fileno(), packet)


def _packets(data: bytes) -> list[bytes]:
    return [data[at : at + PACKET] for at in range(0, len(data), PACKET)]


def main() -> int:
    """Started by pycoredump-analysis@.service with the connection as standard input."""
    try:
        serve(_socket.socket(fileno=os.dup(0)))
    except BrokenPipeError:
        return 0  # the handler could not wait, and asks a child of its own
    except (PycoredumpError, OSError) as e:
        print(f"pycoredump-analysis: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
