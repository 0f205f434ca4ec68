"""Debian's database of installed files: /var/lib/dpkg/info/*.list and /var/lib/dpkg/status (dpkg(1), deb-control(5))."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DIRECTORY = "var/lib/dpkg"
LIST_MAX = 32 << 20  # bytes of one list
STATUS_MAX = 256 << 20
FEW = 10

Package = dict[str, str]


def owners(paths: set[str], root: str, deadline: float) -> dict[str, Package]:
    """Path -> package, for those that are in a list. OSError if there is no database."""
    wanted = {os.fsencode(path) for path in paths}
    found: dict[bytes, str] = {}
    info = os.path.join(root, DIRECTORY, "info")
    for name in sorted(os.listdir(info), key=_likelihood(wanted)):
        if not name.endswith(".list"):
            continue
        if not wanted or time.monotonic() > deadline:
            break
        for path in _listed(_read(os.path.join(info, name), LIST_MAX), wanted):
            found[path] = name.removesuffix(".list")
        wanted -= found.keys()
    return _described(found, root) if found else {}


# Of few paths, each is looked for; splitting a list into its lines costs as much as looking for ten.
def _listed(data: bytes, wanted: set[bytes]) -> set[bytes]:
    if len(wanted) > FEW:
        return wanted.intersection(data.split(b"\n"))
    data = b"\n" + data
    return {path for path in wanted if b"\n%s\n" % path in data}


# libc.so.6 is in libc6, nginx in nginx-core, and when all are found the rest need not be read.
def _likelihood(wanted: set[bytes]) -> Callable[[str], bool]:
    likely = tuple({os.fsdecode(path.rpartition(b"/")[2][:4]) for path in wanted})
    return lambda name: not name.startswith(likely)


def _described(found: dict[bytes, str], root: str) -> dict[str, Package]:
    status = b"\n" + _read(os.path.join(root, DIRECTORY, "status"), STATUS_MAX)
    packages = {key: describe(status, key) for key in set(found.values())}
    return {os.fsdecode(path): packages[key] for path, key in found.items()}


def describe(status: bytes, key: str) -> Package:
    """Type, name, version and architecture of `name` or `name:architecture` by the text of the status file."""
    name, _, architecture = key.partition(":")
    package = {"type": "deb", "name": name}
    at = status.find(f"\nPackage: {name}\n".encode())
    while at >= 0:
        end = status.find(b"\n\n", at)
        fields = _fields(status[at : end if end >= 0 else len(status)])
        if not architecture or fields.get("Architecture") == architecture:
            package |= {
                ours: fields[theirs]
                for ours, theirs in (("version", "Version"), ("architecture", "Architecture"))
                if theirs in fields
            }
            break
        at = status.find(f"\nPackage: {name}\n".encode(), at + 1)
    return package


def _fields(stanza: bytes) -> dict[str, str]:
    rows = (line.partition(b": ") for line in stanza.split(b"\n") if line[:1].isalpha())
    return {name.decode("ascii", "replace"): value.decode("utf-8", "replace") for name, _, value in rows}


def _read(path: str, limit: int) -> bytes:
    # Not a file object's read(): it makes room for the limit first, which takes three times as long as the reading.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, min(os.fstat(fd).st_size, limit))
    finally:
        os.close(fd)
