"""Crashes from the archives' own metadata: those the journal has forgotten, or never had."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from pycoredump.cli.incident import Incident
from pycoredump.cli.matches import Matches
from pycoredump.crash import signal_name
from pycoredump.errors import PycoredumpError
from pycoredump.record import Record

SECOND = 1_000_000
ATTRIBUTES = {
    "pid": "COREDUMP_PID", "uid": "COREDUMP_UID", "gid": "COREDUMP_GID", "signal": "COREDUMP_SIGNAL",
    "timestamp": "COREDUMP_TIMESTAMP", "comm": "COREDUMP_COMM", "exe": "COREDUMP_EXE", "rlimit": "COREDUMP_RLIMIT",
    "hostname": "COREDUMP_HOSTNAME", "tid": "COREDUMP_TID",
}  # fmt: skip
ATTRIBUTE_OF = {field: name for name, field in ATTRIBUTES.items()}
# What reading the file itself would not tell better.
CHEAP = {
    "COREDUMP_PID",
    "COREDUMP_UID",
    "COREDUMP_GID",
    "COREDUMP_SIGNAL",
    "COREDUMP_TIMESTAMP",
    "COREDUMP_EXE",
}


class Named(Record):
    """An archive by its name alone."""

    name: str
    pid: str
    signal: str
    seconds: int


class Unlistable(PycoredumpError):
    """The directory cannot be listed by this user."""


def named(name: str) -> Named | None:
    """What a name core-<comm>-<pid>-<signal>-<time>[-<n>][.zst] says; None if it is none."""
    stem = name.removesuffix(".zst")
    if not name.startswith("core-"):
        return None
    parts = stem.rsplit("-", 4)
    # A further crash of the same comm, pid and second has a number at its end.
    fifth = (
        len(parts) == 5 and parts[4].isdigit() and len(parts[4]) < 3 and all(p.isdigit() for p in parts[1:4])
    )
    _, *numbers = parts[:4] if fifth else stem.rsplit("-", 3)
    if len(numbers) != 3 or not all(n.isascii() and n.isdigit() and len(n) < 16 for n in numbers):
        return None
    return Named(name=name, pid=numbers[0], signal=numbers[1], seconds=int(numbers[2]))


def listing(directory: str) -> list[Named]:
    """The archives of a directory, oldest first. Unlistable if the user may not; none if it does not exist."""
    try:
        with os.scandir(directory) as entries:
            found = [one for entry in entries if (one := named(entry.name)) is not None]
    except FileNotFoundError:
        return []
    except OSError as e:
        raise Unlistable(f"Cannot list {directory}: {e.strerror}") from None
    return sorted(found, key=lambda one: (one.seconds, one.name))


class Archives:
    """The archives of a directory as incidents, in either order."""

    def __init__(self, directory: str, matches: Matches) -> None:
        """Unlistable."""
        self.directory = directory
        self.matches = matches
        self.found = [one for one in listing(directory) if self._possible(one)]

    def _possible(self, one: Named) -> bool:
        # The name alone rules out most: no file is touched for those.
        at = one.seconds * SECOND
        if (self.matches.since is not None and at < self.matches.since - SECOND) or (
            self.matches.until is not None and at > self.matches.until
        ):
            return False
        pids = [value for field, value in self.matches.terms if field == "COREDUMP_PID"]
        return not pids or one.pid in pids

    def forward(self) -> Iterator[Incident]:
        """Oldest first."""
        for one in self.found:
            yield from self._matching(one)

    def backward(self) -> Iterator[Incident]:
        """Newest first."""
        for one in reversed(self.found):
            yield from self._matching(one)

    def _matching(self, one: Named) -> Iterator[Incident]:
        path = f"{self.directory}/{one.name}"
        found = incident(path, time=one.seconds * SECOND, known=_from_name(one))
        if _is_regular(path) and self.matches.hold(found):
            yield found


def _is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path, follow_symlinks=False).st_mode)
    except OSError:
        return False  # removed since


def _from_name(one: Named) -> dict[str, str]:
    return {
        "COREDUMP_PID": one.pid,
        "COREDUMP_SIGNAL": one.signal,
        "COREDUMP_SIGNAL_NAME": signal_name(int(one.signal)),
        "COREDUMP_TIMESTAMP": str(one.seconds * SECOND),
    }


def single(path: str) -> Incident:
    """The incident of one file that somebody named. PycoredumpError if it cannot be read."""
    known = _from_name(one) if (one := named(os.path.basename(path))) is not None else {}
    found = incident(path, time=0, known={})
    stamp = found.number("COREDUMP_TIMESTAMP") or int(known.get("COREDUMP_TIMESTAMP", "0"))
    found.time = stamp or int(os.stat(path).st_mtime) * SECOND
    for name, value in known.items():
        if not found.get(name):
            found.known[name] = value
    return found


def incident(path: str, *, time: int, known: dict[str, str]) -> Incident:
    """The incident of an archive; its attributes are asked first, its metadata only for the rest."""
    metadata: dict[str, str] | None = None

    def whole() -> dict[str, str]:
        nonlocal metadata
        if metadata is None:
            metadata = _metadata(path)
        return metadata

    def load(name: str) -> str:
        if name == "COREDUMP_FILENAME":
            return path
        if name in CHEAP and (value := _attribute(path, ATTRIBUTE_OF[name])):
            return value
        return whole().get(name, "") or (
            _attribute(path, ATTRIBUTE_OF[name]) if name in ATTRIBUTE_OF else ""
        )

    return Incident(time, dict(known), load, names=lambda: list(whole()), archived=path)


def _attribute(path: str, name: str) -> str:
    try:
        return os.getxattr(path, f"user.coredump.{name}", follow_symlinks=False).decode(
            "utf-8", "surrogateescape"
        )
    except OSError:
        return ""


def _metadata(path: str) -> dict[str, str]:
    """The metadata frames; of a core that has none, what its notes tell. {} if it cannot be read."""
    try:
        from pycoredump.reader import Archive

        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ImportError):
        return {}  # without zstandard, name and attributes must do
    try:
        archive = Archive(fd, name=path)
        return archive.fields or _notes(archive)
    except (PycoredumpError, OSError):
        return {}
    finally:
        os.close(fd)


def _notes(archive: object) -> dict[str, str]:
    from pycoredump import admission, entry
    from pycoredump.cli.layout import scan
    from pycoredump.reader import Archive

    assert isinstance(archive, Archive)  # imported late, so not in the signature
    layout = scan(archive)
    fields = {
        name: value.decode("utf-8", "surrogateescape") for name, value in entry.from_layout(layout).items()
    }
    if layout.signal is not None:
        fields["COREDUMP_SIGNAL"] = str(layout.signal.signal)
        fields["COREDUMP_SIGNAL_NAME"] = signal_name(layout.signal.signal)
    for name, key in (("COREDUMP_UID", admission.AT_UID), ("COREDUMP_GID", admission.AT_GID)):
        if key in layout.auxv:
            fields[name] = str(layout.auxv[key])
    if layout.threads:
        fields["COREDUMP_TID"] = str(layout.threads[0].tid)
    return fields
