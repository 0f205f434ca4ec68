"""This machine's kernel as a test bench: register a handler, let processes crash, put everything back."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

import keeper

LOCK = "/run/lock/pycoredump-core-pattern.lock"
LOCK_HELD = "PYCOREDUMP_LOCK_FD"  # environment: whoever started us holds the lock (tools/lock.py)
LOCK_SECONDS = 600.0
SYSCTL = pathlib.Path(__file__).parents[2] / "sysctl.d" / "60-pycoredump.conf"
PATTERN_MAX = 127
HANDLERS_SECONDS = 120.0


class Unavailable(Exception):
    """Real crashes cannot be caught here; says why."""


@dataclasses.dataclass(frozen=True)
class Death:
    """How a process ended."""

    pid: int
    signal: int  # 0 if it was none
    core_dumped: bool  # the flag of the wait status
    seconds: float  # from what killed it to the return of wait()
    stamp: float  # when that began, seconds since the epoch
    status: int  # as subprocess: negative for a signal
    system_seconds: float  # CPU time that the kernel spent for it, writing the core above all


class Victim:
    """A process that holds still until it is told to die."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.pid = process.pid
        self.stamp = 0.0
        self.begin = 0.0

    def wait_until_ready(self) -> None:
        """AssertionError if it ended instead of saying that it is ready."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line == b"ready\n", (
            f"{self.process.args!r} said {line!r} and ended with {self.process.poll()}"
        )

    def kill(self, number: int = 0) -> None:
        """Let it crash by itself, or by a signal. Does not wait."""
        self.stamp, self.begin = time.time(), time.monotonic()
        if number:
            os.kill(self.pid, number)
            return
        assert self.process.stdin is not None
        os.write(self.process.stdin.fileno(), b"\n")

    def wait(self) -> Death:
        _, status, usage = os.wait4(self.pid, 0)
        seconds = time.monotonic() - self.begin
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.close()
        return Death(
            pid=self.pid,
            signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            core_dumped=os.WCOREDUMP(status),
            seconds=seconds,
            stamp=self.stamp,
            status=self.process.returncode,
            system_seconds=usage.ru_stime,
        )

    def close(self) -> None:
        """Also end it, if it still runs."""
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


class Machine:
    """The kernel's settings, ours to change until the end of machine()."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory  # root's; everybody may pass through it, nobody else may list it
        self.victims: list[Victim] = []

    def close(self) -> None:
        """End what still runs."""
        for victim in self.victims:
            victim.close()
        self.victims.clear()

    def register(
        self,
        handler: str | os.PathLike[str],
        specifiers: str | None = None,
        *,
        pipe_limit: int | None = None,
        suid_dumpable: int | None = None,
    ) -> None:
        """Let the kernel start `handler`; what is not given is as in our sysctl file."""
        shipped = shipped_settings()
        if specifiers is None:
            specifiers = shipped["kernel.core_pattern"].partition(" ")[2]
        pattern = f"|{os.fspath(handler)} {specifiers}".rstrip()
        assert len(pattern) <= PATTERN_MAX, f"the kernel would cut {pattern!r}"
        self.write("kernel/core_pattern", pattern)
        self.write(
            "kernel/core_pipe_limit", shipped["kernel.core_pipe_limit"] if pipe_limit is None else pipe_limit
        )
        self.write(
            "fs/suid_dumpable", shipped["fs.suid_dumpable"] if suid_dumpable is None else suid_dumpable
        )

    def write(self, name: str, value: str | int) -> None:
        pathlib.Path("/proc/sys", name).write_text(f"{value}\n")

    def start(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        user: int | None = None,
        core_limit: int = resource.RLIM_INFINITY,
        environment: dict[str, str] | None = None,
        cwd: str | os.PathLike[str] = "/",
    ) -> Victim:
        """Start one of the programs of tests/programs; it holds when this returns."""
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=cwd,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            # Not prlimit(2) from here: for another user's process root needs CAP_SYS_RESOURCE.
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (core_limit, core_limit)),
        )
        victim = Victim(process)
        self.victims.append(victim)
        victim.wait_until_ready()
        return victim

    def crash(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        by: int = 0,
        user: int | None = None,
        core_limit: int = resource.RLIM_INFINITY,
    ) -> Death:
        """Run a program and let it die, `by` a signal that is sent to it or by itself."""
        victim = self.start(argv, user=user, core_limit=core_limit)
        victim.kill(by)
        return victim.wait()


def shipped_settings() -> dict[str, str]:
    """What our sysctl file sets."""
    lines = [line.strip() for line in SYSCTL.read_text().splitlines()]
    pairs = [line.partition("=") for line in lines if line and line[0] not in "#;"]
    return {key.strip(): value.strip() for key, _, value in pairs}


def obstacle() -> str:
    """Why no handler can be registered here; "" if one can."""
    if os.geteuid() != 0:
        return "needs root to set kernel.core_pattern"
    if not os.access(keeper.SETTINGS[1], os.W_OK):
        return "kernel.core_pattern cannot be written (a container?)"
    if shutil.which("journalctl") is None:
        return "needs journalctl"
    if os.readlink("/proc/self/ns/mnt") != os.readlink("/proc/2/ns/mnt"):
        return "the kernel would start the handler in another mount namespace (a container?)"
    return ""


@contextlib.contextmanager
def machine(*, seconds: float = LOCK_SECONDS, directory: str | None = None) -> Iterator[Machine]:
    """Take the kernel's settings until the block ends. Unavailable says why that cannot be.

    They are put back by another process, as soon as this one has ended, however that happens.
    """
    reason = obstacle()
    if reason:
        raise Unavailable(reason)

    command = [
        "/usr/bin/python3",
        "-IS",
        keeper.__file__,
        "" if LOCK_HELD in os.environ else LOCK,
        str(seconds),
    ]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl+C is for us
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        answer = process.stdout.readline().strip()
        if answer != "kept":
            raise Unavailable(answer or "the keeper of the settings did not start")
        made = pathlib.Path(tempfile.mkdtemp(prefix="pycoredump-", dir=directory))
        try:
            made.chmod(0o711)
            taken = Machine(made)
            with sigterm_unwinds(), contextlib.closing(taken):
                yield taken
        finally:
            process.stdin.close()
            process.wait()
            wait_for_handlers(made)
            shutil.rmtree(made, ignore_errors=True)


def wait_for_handlers(directory: pathlib.Path) -> None:
    """Until no handler runs any more that was installed there."""
    end = time.monotonic() + HANDLERS_SECONDS
    while running(os.fsencode(f"{directory}/")) and time.monotonic() < end:
        time.sleep(0.05)


def running(*words: bytes) -> list[int]:
    """The processes in whose command line all of these occur."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and name != str(os.getpid()):
            with contextlib.suppress(OSError):
                line = pathlib.Path("/proc", name, "cmdline").read_bytes()
                if all(word in line for word in words):
                    found.append(int(name))
    return found


@contextlib.contextmanager
def sigterm_unwinds() -> Iterator[None]:
    """SIGTERM ends the run through its finally blocks."""

    def leave(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
