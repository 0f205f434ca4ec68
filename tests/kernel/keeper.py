"""Keeps the kernel's core dump settings for a test run, in a process of its own. Started by machine.py.

Takes the lock, remembers the settings, says "kept", and waits for the end of its standard input: that comes
when the test run is over, in whatever way it ended. Then it puts everything back.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time

# In the order of restoring: the kernel complains about suid_dumpable=2 under a relative core_pattern.
SETTINGS = (
    "/proc/sys/fs/suid_dumpable",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/core_pipe_limit",
    "/proc/sys/kernel/core_uses_pid",
)


def main() -> int:
    path, seconds = sys.argv[1], float(sys.argv[2])
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644) if path else -1
    if path and not lock_in_time(lock, seconds):
        print(f"{path} was held by another program for {seconds:.0f} seconds", flush=True)
        return 1

    kept = {name: read(name) for name in SETTINGS}
    try:
        print("kept", flush=True)
        sys.stdin.read()
    finally:
        for name, value in kept.items():
            if read(name) != value:
                with open(name, "w") as file:
                    file.write(f"{value}\n")
    return 0


def lock_in_time(fd: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


def read(name: str) -> str:
    with open(name) as file:
        return file.read().rstrip("\n")


if __name__ == "__main__":
    sys.exit(main())
