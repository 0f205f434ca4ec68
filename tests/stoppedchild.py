"""A stopped process whose memory is known: what the kernel holds while it waits for the handler."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from pycoredump.procfs import ProcessDirectory

# Maps 8 MiB, touches the pages 0, 1, 40, 1000 and 2047 of it, each with its number, tells where, and stops.
CHILD = """
import ctypes, mmap, os, signal
area = mmap.mmap(-1, 8 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in (0, 1, 40, 1000, 2047):
    area[page * 4096 : page * 4096 + 8] = page.to_bytes(4, "little") + b"page"
LOCK
start = ctypes.addressof(ctypes.c_char.from_buffer(area))
print(f"{start:x}", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""
# Pages of it, (first, end).
TOUCHED = [(0, 2), (40, 41), (1000, 1001), (2047, 2048)]


class Child:
    """A stopped process whose memory we know."""

    def __init__(self, code: str = CHILD) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-ISc", code.replace("LOCK", "")], stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        self.start = int(self.process.stdout.readline(), 16)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)
        self.directory = ProcessDirectory(self.process.pid)

    def end(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()
