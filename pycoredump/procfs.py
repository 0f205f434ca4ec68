"""What /proc/PID says of the process while the kernel holds it (proc(5)), through one directory descriptor.

Runs before the release: tests/test_hot_path.py lists what this module may import. Values are kept raw:
everything that can wait (quoting, units, redaction) is done after the release, in entry.py. A fact that
cannot be read is left out, never fatal; every file is capped.
"""

from __future__ import annotations

import os

from pycoredump.record import Record
from pycoredump.values import INFINITY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycoredump.crash import Crash

# Bytes read at most. The sum of all stays far below what journald takes in one entry. A process may fill its
# arguments and environment with megabytes; the handler has better to do than to quote them.
FILES = {
    "comm": 64,
    "cmdline": 512 << 10,
    "environ": 512 << 10,
    "cgroup": 64 << 10,
    "status": 64 << 10,
    "limits": 64 << 10,
    "mountinfo": 1 << 20,
    "maps": 8 << 20,
    "auxv": 64 << 10,
}
LINKS = ("exe", "cwd", "root")
FDS_MAX = 4096  # descriptors listed; systemd-coredump's entries broke with 90,000 of them
FDINFO_MAX = 2048
OPEN_FDS_MAX = 2 << 20  # bytes told of all of them

READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Process(Record):
    """The facts, as the kernel gives them; b"" where there is none."""

    start_time: int = 0  # clock ticks since boot (field 22 of /proc/PID/stat); 0: not known
    comm: bytes = b""
    cmdline: bytes = b""  # arguments, each with a NUL behind it
    environ: bytes = b""
    cgroup: bytes = b""
    status: bytes = b""
    limits: bytes = b""
    mountinfo: bytes = b""
    maps: bytes = b""
    auxv: bytes = b""
    exe: bytes = b""
    cwd: bytes = b""
    root: bytes = b""
    thread_name: bytes = b""
    open_fds: bytes = b""  # blocks of "FD:target" and the lines of fdinfo, an empty line between them
    container_cmdline: bytes = b""  # of the first process of its mount namespace, if that is not ours
    problems: tuple[str, ...] = ()


class ProcessDirectory:
    """/proc/PID, held open: what is read through it is of one process, also when its PID is used again."""

    def __init__(self, pid: int, *, tid: int | None = None, proc: str = "/proc") -> None:
        """OSError if there is no such process. `tid` is the crashing thread, should its leader have ended."""
        self.pid = pid
        self.proc = proc
        self.fd = os.open(f"{proc}/{pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        # A main thread that called pthread_exit(3) is a zombie without memory, executable or environment,
        # while the process lives on in its other threads.
        self.comm = self.read("comm", FILES["comm"])  # of the process, not of the thread that tells the rest
        if tid != pid and not self.link("exe"):
            self._enter_thread(tid)

    def _enter_thread(self, tid: int | None) -> None:
        # Without %I any thread that still has the memory tells the same of the process.
        for name in [f"task/{tid}"] if tid is not None else self._threads():
            if self.link(f"{name}/exe"):
                self._enter(name)
                return

    def _threads(self) -> list[str]:
        try:
            task = os.open("task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        except OSError:
            return []
        try:
            return [f"task/{name}" for name in os.listdir(task)]
        except OSError:
            return []
        finally:
            os.close(task)

    def _enter(self, name: str) -> None:
        """Go on in the directory of a thread: /proc/TID, which is not listed, has map_files as well (proc(5))."""
        tid = name.removeprefix("task/")
        for path, where in ((f"{self.proc}/{tid}", None), (name, self.fd)):
            try:
                inner = os.open(
                    path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=where
                )
            except OSError:
                continue
            outer, self.fd = self.fd, inner
            # In another namespace, the number may be somebody else's.
            if where is not None or b"\nTgid:\t%d\n" % self.pid in self.read("status", FILES["status"]):
                os.close(outer)
                return
            self.fd = outer
            os.close(inner)

    def open(self, name: str, flags: int = READ_FLAGS) -> int:
        return os.open(name, flags, dir_fd=self.fd)

    def read(self, name: str, limit: int) -> bytes:
        """At most `limit` bytes; b"" if it cannot be read."""
        try:
            fd = self.open(name)
        except OSError:
            return b""
        try:
            return _read_all(fd, limit)
        finally:
            os.close(fd)

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a file of any length, a piece at a time; none, or not all, if it cannot be read."""
        try:
            fd = self.open(name)
        except OSError:
            return
        try:
            rest = b""
            while part := os.read(fd, 1 << 20):
                *whole, rest = (rest + part).split(b"\n")
                yield from whole
            if rest:
                yield rest
        except OSError:
            return  # the process went away: what came so far is still true
        finally:
            os.close(fd)

    def link(self, name: str) -> bytes:
        try:
            return os.readlink(name.encode(), dir_fd=self.fd)
        except OSError:
            return b""

    def start_time(self) -> int:
        """0 if it cannot be read. comm may hold anything, also blanks and brackets: count from the last one."""
        fields = self.read("stat", 4096).rpartition(b")")[2].split()
        return int(fields[19]) if len(fields) > 19 and fields[19].isdigit() else 0

    def is_process_of(self, pidfd: int) -> bool:
        """Whether the descriptor the kernel passed (%F) is of this process. It names -1 once that is gone."""
        return _pidfd_pid(pidfd, self.proc) == self.pid and self.start_time() != 0


def _read_all(fd: int, limit: int) -> bytes:
    parts = []
    try:
        while limit > 0:
            part = os.read(fd, min(limit, 1 << 20))
            if not part:
                break
            parts.append(part)
            limit -= len(part)
    except OSError:
        pass  # the process went away: what came so far is still true
    return b"".join(parts)


def _pidfd_pid(pidfd: int, proc: str) -> int:
    try:
        fd = os.open(f"{proc}/self/fdinfo/{pidfd}", READ_FLAGS)
    except OSError:
        return 0
    try:
        lines = os.read(fd, 4096).splitlines()
    finally:
        os.close(fd)
    found = [line[4:].strip() for line in lines if line.startswith(b"Pid:")]
    return int(found[0]) if found and found[0].isdigit() else 0


def user_and_group(process: Process) -> tuple[str, str]:
    """Real user and group from /proc/PID/status, for people; "" if it was not read. Never the ground for access."""
    found = {line[:4]: line[4:].split() for line in process.status.splitlines()}
    uid, gid = found.get(b"Uid:", []), found.get(b"Gid:", [])
    return uid[0].decode("ascii", "replace") if uid else "", gid[0].decode("ascii", "replace") if gid else ""


def core_limit(process: Process) -> int | None:
    """The soft RLIMIT_CORE in bytes from /proc/PID/limits, where the kernel did not pass it; None if not known."""
    for line in process.limits.splitlines():
        words = line.removeprefix(b"Max core file size").split()
        if line.startswith(b"Max core file size") and words:
            return INFINITY if words[0] == b"unlimited" else int(words[0]) if words[0].isdigit() else None
    return None


def gather(directory: ProcessDirectory, crash: Crash) -> Process:
    """All facts about the process. What cannot be read is b""; a process that is not the crashed one gives none."""
    problems: tuple[str, ...] = ()
    if crash.pidfd is not None and not directory.is_process_of(crash.pidfd):
        return Process(problems=(f"/proc/{crash.pid} is not the crashed process any more",))

    start = directory.start_time()
    facts = {name: directory.read(name, limit) for name, limit in FILES.items()}
    facts |= {name: directory.link(name) for name in LINKS}
    facts["comm"] = directory.comm.removesuffix(b"\n")
    if crash.tid is not None:
        facts["thread_name"] = thread_name(directory, crash.tid)
    facts["open_fds"] = open_fds(directory)
    facts["container_cmdline"] = container_cmdline(directory)
    if start and directory.start_time() != start:
        problems = (
            f"The facts of process {crash.pid} may be of another one: it was replaced while being read",
        )
    return Process(start_time=start, problems=problems, **facts)


def thread_name(directory: ProcessDirectory, tid: int) -> bytes:
    name = directory.read(f"task/{tid}/comm", 64) or directory.read("comm", 64)
    return name.removesuffix(b"\n")


def open_fds(directory: ProcessDirectory) -> bytes:
    """COREDUMP_OPEN_FDS as systemd-coredump composes it: what was open, and fdinfo of each."""
    try:
        fd = directory.open("fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        numbers = sorted(int(name) for name in os.listdir(fd) if name.isdigit())
    except OSError:
        return b""
    finally:
        os.close(fd)

    blocks: list[bytes] = []
    room = OPEN_FDS_MAX
    for number in numbers[:FDS_MAX]:
        if room <= 0:
            break
        target = directory.link(f"fd/{number}")
        blocks.append(b"%d:%s\n%s" % (number, target, directory.read(f"fdinfo/{number}", FDINFO_MAX)))
        room -= len(blocks[-1])
    if len(numbers) > len(blocks):
        blocks.append(b"... and %d more\n" % (len(numbers) - len(blocks)))
    return b"\n".join(blocks)


def container_cmdline(directory: ProcessDirectory) -> bytes:
    """The command line of the first process of its mount namespace, if that namespace is not ours."""
    namespace = directory.link("ns/mnt")
    try:
        own = os.readlink(f"{directory.proc}/self/ns/mnt".encode())
    except OSError:
        return b""
    if not namespace or namespace == own:
        return b""

    pid, seen = directory.pid, 0
    command = b""
    while pid > 1 and seen < 64:
        try:
            ancestor = ProcessDirectory(pid, proc=directory.proc)
        except OSError:
            break
        try:
            if ancestor.link("ns/mnt") != namespace:
                break
            command = ancestor.read("cmdline", 64 << 10)
            pid = _parent(ancestor)
        finally:
            os.close(ancestor.fd)
        seen += 1
    return command


def _parent(directory: ProcessDirectory) -> int:
    fields = directory.read("stat", 4096).rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else 0
