"""Whether the registered handler works: a process is made to crash, and what became of it is looked at."""

from __future__ import annotations

import json
import pathlib
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

from pycoredump import config, journal, zstd
from pycoredump.errors import PycoredumpError

SECONDS = 60  # for the entry, which comes after the analysis; on a busy host, too
Found = TypeVar("Found")
ELF = b"\x7fELF"
HEAD_AT = 17  # in an archive: frame header and block header; the first frame is never compressed


def crash() -> int:
    """Let a process die of SIGABRT, with its memory to be dumped. Its PID. PycoredumpError."""
    with subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL, cwd="/") as process:
        resource.prlimit(process.pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        process.send_signal(signal.SIGABRT)
        status = process.wait()
    if status != -signal.SIGABRT:
        raise PycoredumpError(f"The process that was to crash ended with status {status}")
    return process.pid


def prove() -> list[str]:
    """Crash, and find the core and the entry. What was found, one sentence each. PycoredumpError if not."""
    settings, warnings = config.load()
    pid = crash()
    found = [f"Process {pid} (sleep) was made to crash"]
    if settings.storage == "external":
        path = _until(lambda: archive(settings.directory, pid), 10)
        if path is None:
            raise PycoredumpError(
                f"No core of process {pid} appeared in {settings.directory}", hint=_why(pid)
            )
        check(path)
        found.append(f"Its core is {path}")

    if not journal.listens() or not shutil.which("journalctl"):
        found.append("No journald is running: the archive's metadata and the kernel log are the record")
    elif not _until(lambda: entry(pid), SECONDS):
        raise PycoredumpError(f"No journal entry of process {pid} appeared", hint=_why(pid))
    else:
        found.append("Its entry is in the journal")
    return found + warnings


def archive(directory: str, pid: int) -> pathlib.Path | None:
    """The stored core of the process."""
    pattern = f"core-sleep-{pid}-{int(signal.SIGABRT)}-*"
    return next(iter(sorted(pathlib.Path(directory).glob(pattern), reverse=True)), None)


def check(path: pathlib.Path) -> None:
    """PycoredumpError unless the file begins as a core, or as an archive of one."""
    with path.open("rb") as file:
        begin = file.read(HEAD_AT + len(ELF))
    if not begin.startswith(ELF) and (not begin.startswith(zstd.MAGIC) or begin[HEAD_AT:] != ELF):
        raise PycoredumpError(f"{path} is no core: it begins with {begin!r}")


def entry(pid: int) -> bool:
    """Whether the journal has the crash."""
    command = [
        "journalctl",
        "--quiet",
        "--since=-5min",
        "--lines=1",
        "--output=json",
        f"MESSAGE_ID={journal.COREDUMP_ID}",
        f"COREDUMP_PID={pid}",
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return any(json.loads(line) for line in done.stdout.splitlines())


def _until(look: Callable[[], Found], seconds: float) -> Found:
    """What `look` finds, at the latest after so many seconds; its last answer if that is nothing."""
    end = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def _why(pid: int) -> str:
    """What handler and kernel said about the process: the handler in the journal, or both in the kernel log."""
    said = [
        *lines("journalctl", "--quiet", "--since=-5min", "--output=cat", "--identifier=pycoredump"),
        *lines("dmesg", "--notime"),
    ]
    about = [line for line in said if str(pid) in line and "processing" not in line]
    return "; ".join(dict.fromkeys(about[-3:])) or "neither the journal nor the kernel log says why"


def lines(*command: str) -> list[str]:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except FileNotFoundError:
        return []
    # What others wrote there may be anything.
    return done.stdout.decode(errors="replace").splitlines()
