"""A system in a directory for pycoredumpctl: a journal with entries of choice, archives, a configuration."""

from __future__ import annotations

import os
import pathlib
import struct
import subprocess
import sys

import pytest

CHECKOUT = pathlib.Path(__file__).parents[2]
sys.path.append(os.fspath(CHECKOUT / "tests"))

import elfcore  # noqa: E402 - it stands beside this directory

from pycoredump import archive, metadata, store, zstd  # noqa: E402
from pycoredump.crash import Crash, signal_name  # noqa: E402
from pycoredump.journal import COREDUMP_ID  # noqa: E402

JOURNAL_REMOTE = ("/usr/lib/systemd/systemd-journal-remote", "/lib/systemd/systemd-journal-remote")
BOOT, MACHINE = "1890945287f84dd79a4168374c035a2e", "3d1219c7c4c5404aaa1f6d2a48adfda4"
SECOND = 1_000_000
STACK = 0x7FFC_0000_0000
SP = STACK + 0x1000
PROGRAM = f"""
import sys
sys.path.insert(0, {os.fspath(CHECKOUT)!r})
from pycoredump.cli.main import main
sys.exit(main())
"""

Fields = dict[str, bytes]


def core(pages: int = 8, *, zeros: int = 0) -> bytes:
    """A core of two threads: one stack with contents, and memory of which `zeros` bytes are zero."""
    threads = [
        elfcore.Thread(tid=4711, signal=11, sp=SP),
        elfcore.Thread(tid=4712, signal=11, sp=SP + 0x1000),
    ]
    segments = [
        elfcore.Segment(start=0x10000, data=elfcore.contents(pages * 4096) + bytes(zeros)),
        elfcore.Segment(start=STACK, data=elfcore.contents(0x4000, seed=7)),
    ]
    info = elfcore.Siginfo(signal=11, code=1, union=struct.pack("<Q", 8))
    whole: bytes = elfcore.core(threads=threads, segments=segments, signal=info)
    return whole


def contents(size: int, seed: int = 1) -> bytes:
    """Memory with something in it."""
    return elfcore.contents(size, seed=seed)


def fields(pid: int, /, *, time: int, **more: str | bytes) -> Fields:
    """What the handler writes of a crash, at least. `time` in seconds since the epoch."""
    known: dict[str, str | bytes] = {
        "COREDUMP_PID": str(pid),
        "COREDUMP_UID": "0",
        "COREDUMP_GID": "0",
        "COREDUMP_SIGNAL": "11",
        "COREDUMP_TIMESTAMP": str(time * SECOND),
        "COREDUMP_COMM": "prog",
        "COREDUMP_EXE": "/usr/bin/prog",
        "COREDUMP_CMDLINE": "prog --now",
        **{name if name.isupper() else f"COREDUMP_{name.upper()}": value for name, value in more.items()},
    }
    signal = known["COREDUMP_SIGNAL"]
    if isinstance(signal, str) and signal.isdigit():
        known.setdefault("COREDUMP_SIGNAL_NAME", signal_name(int(signal)))
    return {
        name: value.encode() if isinstance(value, str) else value
        for name, value in known.items()
        if value != ""
    }


class System:
    """A root directory that --root= takes."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.cores = root / "var/core"
        self.journal = root / "var/log/journal" / MACHINE
        self.cores.mkdir(parents=True)
        self.entries: list[bytes] = []

    def archive(
        self, crash: Fields, *, name: str = "", stored: bytes | None = None, plain: bool = False
    ) -> str:
        """Write an archive as the handler does; its path inside the root."""
        number = {
            key: int(crash.get(f"COREDUMP_{key}", b"0"))
            for key in ("PID", "UID", "GID", "SIGNAL", "TIMESTAMP")
        }
        one = Crash(
            pid=number["PID"],
            signal=number["SIGNAL"],
            timestamp=number["TIMESTAMP"] // SECOND,
            comm=crash.get("COREDUMP_COMM", b"").decode("utf-8", "surrogateescape"),
            uid=number["UID"],
            gid=number["GID"],
        )
        path = self.cores / (name or store.file_name(one, compressed=not plain))
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
        try:
            _fill(fd, stored if stored is not None else core(), crash, plain=plain)
            exe = crash.get("COREDUMP_EXE", b"").decode("utf-8", "surrogateescape")
            store.set_attributes(fd, store.attributes(one, exe))
        finally:
            os.close(fd)
        return f"/var/core/{path.name}"

    def entry(
        self, crash: Fields, *, time: float | None = None, kind: str = COREDUMP_ID, sender: str = "0"
    ) -> None:
        """Add an entry to the journal; `time` in seconds, by default one after the crash."""
        at = int(time * SECOND) if time is not None else int(crash["COREDUMP_TIMESTAMP"]) + SECOND
        head: Fields = {
            "__REALTIME_TIMESTAMP": str(at).encode(),
            "__MONOTONIC_TIMESTAMP": str(at % 10**12).encode(),
            "_BOOT_ID": BOOT.encode(),
            "_MACHINE_ID": MACHINE.encode(),
            "_HOSTNAME": b"host",
            "_UID": sender.encode(),
            "PRIORITY": b"2",
            "MESSAGE_ID": kind.encode(),
        }
        message = crash.get(
            "MESSAGE", b"Process %s (prog) of user 0 dumped core." % crash.get("COREDUMP_PID", b"?")
        )
        self.entries.append(_exported(head | crash | {"MESSAGE": message}))

    def commit(self) -> None:
        """Write the journal file: what the real journald would have written of the entries."""
        program = next((path for path in JOURNAL_REMOTE if os.path.exists(path)), "")
        if not program:
            pytest.skip("needs systemd-journal-remote to write a journal of its own")
        self.journal.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [program, "-o", self.journal / "system.journal", "-"],
            input=b"".join(self.entries), check=True, capture_output=True,
        )  # fmt: skip

    def crash(
        self, pid: int, /, *, time: int, entry: bool = True, archive: bool = True, **more: str | bytes
    ) -> Fields:
        """A crash with an archive and an entry, or one of them."""
        one = fields(pid, time=time, **more)
        if archive:
            one["COREDUMP_FILENAME"] = self.archive(one).encode()
        if entry:
            self.entry(one)
        return one

    def run(
        self, *arguments: str, root: bool = True, input: bytes | None = None, **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the tool as a program of its own."""
        place = ["--root", os.fspath(self.root)] if root else []
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, *place, *arguments],
            input=input, capture_output=True, check=False, env=clean_environment(**environment), timeout=60,
        )  # fmt: skip


def clean_environment(**more: str) -> dict[str, str]:
    """An environment in which output does not depend on who runs the tests."""
    return {"PATH": os.environ["PATH"], "TZ": "UTC", "LC_ALL": "C.UTF-8", "TERM": "xterm", **more}


def _fill(fd: int, stored: bytes, crash: Fields, *, plain: bool) -> None:
    writer = archive.PlainWriter(fd, limit=1 << 40) if plain else archive.Writer(fd, limit=1 << 40)
    head = int.from_bytes(stored[54:56], "little") * int.from_bytes(stored[56:58], "little") + 64
    writer.head(stored[:head])
    for at in range(head, len(stored), 64 << 10):
        part = stored[at : at + (64 << 10)]
        if not any(part):
            writer.zeros(len(part))
        else:
            writer.append(part if plain else _compressed(part), len(part))
    writer.finish(metadata.frame(crash))


def _compressed(data: bytes) -> bytes:
    compress, _ = zstd.compressor(1)
    return compress(memoryview(data)) if compress else zstd.raw(data)


def _exported(values: Fields) -> bytes:
    """The Journal Export Format (systemd.io/JOURNAL_EXPORT_FORMATS)."""
    lines = []
    for name, value in values.items():
        if all(byte >= 0x20 or byte == 9 for byte in value):
            lines.append(name.encode() + b"=" + value + b"\n")
        else:
            lines.append(name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n")
    return b"".join(lines) + b"\n"
