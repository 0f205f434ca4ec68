"""The ELF files that are mapped into the process, opened while it lives: also deleted, replaced and containers' ones.

Runs before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

import os

from pycoredump.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycoredump.procfs import Process, ProcessDirectory

MODULES_MAX = 250  # descriptors; one message of SCM_RIGHTS takes 253 (unix(7))
LINES_MAX = 20000  # of /proc/PID/maps

# File systems whose server may be the crashed process, or far away: opening a file there can hang for ever.
REMOTE = ("fuse", "nfs", "cifs", "smb", "9p", "ceph", "glusterfs", "afs")


class OpenModule(Record):
    """A mapped ELF file."""

    path: bytes  # as the process saw it; for people only
    fd: int


class Mapping(Record):
    """The first mapping of a file that is also mapped executable."""

    path: bytes
    range: str  # START-END in hexadecimal, as /proc/PID/map_files names it
    device: bytes  # major:minor


def open_modules(directory: ProcessDirectory, process: Process) -> list[OpenModule]:
    """Descriptors of all modules, through /proc/PID/map_files: no path of the process is ever followed."""
    remote = remote_devices(process.mountinfo)
    found: list[OpenModule] = []
    for mapping in executables(process.maps):
        if mapping.device in remote or not mapping.range or len(found) >= MODULES_MAX:
            continue
        try:
            fd = directory.open(f"map_files/{mapping.range}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            continue  # its frames are shown without names
        found.append(OpenModule(path=mapping.path, fd=fd))
    return found


def executables(maps: bytes) -> Iterator[Mapping]:
    """The files of which some page is executable, each by its first mapping (proc_pid_maps(5))."""
    first: dict[bytes, Mapping] = {}
    executable: dict[bytes, None] = {}
    for line in maps.split(b"\n", LINES_MAX)[:LINES_MAX]:
        fields = line.split(None, 5)
        if len(fields) < 6 or not fields[5].startswith(b"/") or fields[4] == b"0":
            continue
        span, permissions, _, device, _, path = fields
        if path not in first:
            first[path] = Mapping(path=path.removesuffix(b" (deleted)"), range=_range(span), device=device)
        if b"x" in permissions:
            executable[path] = None
    return (first[path] for path in executable)


def _range(span: bytes) -> str:
    # maps fills up to eight digits with zeros, map_files does not: a program at 0x400000 would not be found.
    start, _, end = span.partition(b"-")
    try:
        return f"{int(start, 16):x}-{int(end, 16):x}"
    except ValueError:
        return ""


def remote_devices(mountinfo: bytes) -> set[bytes]:
    """Devices (major:minor) of file systems that may not answer, from /proc/PID/mountinfo."""
    found = set()
    for line in mountinfo.splitlines():
        mount, _, file_system = line.partition(b" - ")
        fields = mount.split(None, 3)
        if len(fields) >= 3 and file_system.startswith(tuple(kind.encode() for kind in REMOTE)):
            # maps has 00:2d where mountinfo has 0:45
            major, _, minor = fields[2].partition(b":")
            if major.isdigit() and minor.isdigit():
                found.add(b"%02x:%02x" % (int(major), int(minor)))
    return found


def close(modules: list[OpenModule]) -> None:
    for module in modules:
        os.close(module.fd)
