"""Crashes from the journal, through systemd-python's C part: one field at a time, for some are large."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from typing import Protocol

from pycoredump.cli.incident import BACKTRACE_ID, Incident
from pycoredump.cli.matches import Matches
from pycoredump.errors import PycoredumpError
from pycoredump.journal import COREDUMP_ID, OWN_FIELDS, STANDARD_FIELDS

LOCAL_ONLY = 1  # SD_JOURNAL_LOCAL_ONLY: entries of this machine
FIELD_MAX = 32 << 20  # bytes read of one field
KINDS = (COREDUMP_ID, BACKTRACE_ID)
PEEK = 4096  # bytes read of the core in an entry, to know that it is there
# To learn that an entry lacks a field, libsystemd unpacks its large ones: 0.1 ms each time. Where all entries are
# read, those that have one of these values are found by the index.
RARE = {
    "COREDUMP_TRUNCATED": ("1", "yes", "true", "y", "t", "on"),
    "COREDUMP_CONTENT": ("budget", "stacks"),
    "MESSAGE_ID": (BACKTRACE_ID,),
}
USUAL = {"MESSAGE_ID": COREDUMP_ID}  # of the others
TRUSTED = (
    "MESSAGE", "MESSAGE_ID", "PRIORITY", "SYSLOG_IDENTIFIER", "_BOOT_ID", "_MACHINE_ID", "_HOSTNAME", "_UID", "_GID",
    "_PID", "_COMM", "_EXE", "_SYSTEMD_UNIT", "_TRANSPORT",
)  # fmt: skip


class Reader(Protocol):
    """What is used of systemd._reader._Reader, which has no types. Times in microseconds."""

    data_threshold: int

    def add_match(self, match: str | bytes) -> None: ...
    def seek_head(self) -> None: ...
    def seek_tail(self) -> None: ...
    def seek_realtime(self, time: int) -> None: ...
    def seek_cursor(self, cursor: str) -> None: ...
    def wait(self, timeout: int) -> int: ...
    def fileno(self) -> int: ...
    def process(self) -> int: ...
    def _next(self) -> bool: ...
    def _previous(self) -> bool: ...
    def _get(self, name: str) -> bytes: ...
    def _get_all(self) -> dict[str, bytes | list[bytes]]: ...
    def _get_cursor(self) -> str: ...
    def _get_realtime(self) -> int: ...


class NoJournal(PycoredumpError):
    """There is no journal that can be read; the archives still tell."""


class Place(Protocol):
    """Where the journal is."""

    @property
    def root(self) -> str: ...
    @property
    def directory(self) -> str: ...
    @property
    def files(self) -> list[str]: ...
    @property
    def all(self) -> bool: ...


def library() -> type:
    """systemd-python's reader; its Python part costs each run 10 ms more. NoJournal without it."""
    try:
        import systemd._reader
    except ImportError as e:
        raise NoJournal(f"python3-systemd cannot be used ({e})", hint="Install python3-systemd.") from None
    reader: type = systemd._reader._Reader
    return reader


def open_reader(place: Place) -> Reader:
    """A reader of the journal that is meant. NoJournal if there is none, PycoredumpError if it cannot be opened."""
    kind = library()
    try:
        if place.files:
            reader: Reader = kind(0, None, _globbed(place.files), None)
        elif place.directory:
            reader = kind(0, place.directory, None, None)
        elif place.root:
            reader = kind(0, None, _below(place.root), None)
        else:
            reader = kind(0 if place.all else LOCAL_ONLY, None, None, None)
    except OSError as e:
        where = place.directory or ", ".join(place.files) or place.root or "the journal"
        raise PycoredumpError(f"Cannot open {where}: {e.strerror or e}") from None
    reader.data_threshold = FIELD_MAX
    return reader


def _globbed(patterns: list[str]) -> list[str]:
    found = [path for pattern in patterns for path in sorted(glob.glob(pattern)) if os.path.isfile(path)]
    if not found:
        raise PycoredumpError(f"No journal file {patterns[0]!r}", hint="--file takes a path or a pattern.")
    return found


def _below(root: str) -> list[str]:
    patterns = [f"{glob.escape(root)}/{base}/log/journal/*/*.journal" for base in ("var", "run")]
    found = [path for pattern in patterns for path in glob.glob(pattern)]
    if not found:
        raise NoJournal(f"There is no journal in {root}")
    return found


def restrict(reader: Reader, matches: Matches, *, kinds: tuple[str, ...] = KINDS) -> None:
    """Let the journal's own index find what is meant."""
    for kind in kinds:
        reader.add_match(f"MESSAGE_ID={kind}")
    for field, value in matches.terms:
        reader.add_match(f"{field}={value}".encode("utf-8", "surrogateescape"))


class Entries:
    """The journal as incidents, in either order."""

    def __init__(self, place: Place, matches: Matches) -> None:
        """NoJournal, PycoredumpError."""
        self.place = place
        self.matches = matches
        self.reader = open_reader(place)
        restrict(self.reader, matches)
        self._second: Reader | None = None

    def forward(self, names: tuple[str, ...]) -> Iterator[Incident]:
        """Oldest first, with these fields read at once and the others when asked for."""
        rare = {name: self._having(name, values) for name, values in RARE.items()}
        if self.matches.since is not None:
            self.reader.seek_realtime(self.matches.since)
        else:
            self.reader.seek_head()
        while self.reader._next():
            time = self.reader._get_realtime()
            if self.matches.until is not None and time > self.matches.until:
                return
            if self.matches.since is None or time >= self.matches.since:
                yield from self._here(names, rare)

    def backward(self, names: tuple[str, ...]) -> Iterator[Incident]:
        """Newest first."""
        if self.matches.until is not None:
            self.reader.seek_realtime(self.matches.until + 1)
        else:
            self.reader.seek_tail()
        while self.reader._previous():
            time = self.reader._get_realtime()
            if self.matches.since is not None and time < self.matches.since:
                return
            if self.matches.until is None or time <= self.matches.until:
                yield from self._here(names)

    def follow(self, names: tuple[str, ...]) -> Iterator[Incident | None]:
        """Those that come from now on; None when all are given, about each second. Rotation is followed, too."""
        self.reader.seek_tail()
        if not self.reader._previous():
            self.reader.seek_head()  # none yet: from the tail, libsystemd finds none ever
        while True:
            while self.reader._next():
                yield from self._here(names)
            yield None
            self.reader.wait(1_000_000)

    def _having(self, name: str, values: tuple[str, ...]) -> dict[str, str]:
        """Cursor and value of the entries where the field has one of the values."""
        reader = open_reader(self.place)
        restrict(reader, self.matches, kinds=values if name == "MESSAGE_ID" else KINDS)
        for value in values:
            reader.add_match(f"{name}={value}")
        if self.matches.since is not None:
            reader.seek_realtime(self.matches.since)
        found = {}
        while reader._next():
            found[reader._get_cursor()] = _value(reader, name)
        return found

    def _here(
        self, names: tuple[str, ...], rare: dict[str, dict[str, str]] | None = None
    ) -> Iterator[Incident]:
        # An entry of the right kind that says nothing at all is nobody's crash; coredumpctl leaves it out, too.
        one = self.incident(self.reader, names)
        if any(one.known[name] for name in names):
            for name, values in (rare or {}).items():
                one.known[name] = values.get(one.get("__CURSOR"), USUAL.get(name, ""))
            yield one

    def incident(self, reader: Reader, names: tuple[str, ...]) -> Incident:
        """The entry at which the reader stands."""
        cursor = reader._get_cursor()
        return Incident(
            reader._get_realtime(),
            {"__CURSOR": cursor} | {name: _value(reader, name) for name in names},
            lambda name: self._at(cursor, name),
            names=lambda: self._names(cursor),
        )

    def core(self, incident: Incident) -> bytes:
        """The core in the entry itself (Storage=journal), whole."""
        cursor = incident.get("__CURSOR")
        reader = self._stand(cursor)
        reader.data_threshold = 0
        try:
            return reader._get("COREDUMP")
        except KeyError:
            return b""
        finally:
            reader.data_threshold = FIELD_MAX

    def _at(self, cursor: str, name: str) -> str:
        return _value(self._stand(cursor), name)

    def _stand(self, cursor: str) -> Reader:
        # A reader of its own: the first one is on its way through the entries.
        if self._second is None:
            self._second = open_reader(self.place)
        self._second.seek_cursor(cursor)
        self._second._next()
        return self._second

    def _names(self, cursor: str) -> list[str]:
        reader = self._stand(cursor)
        reader.data_threshold = PEEK
        try:
            found = list(reader._get_all())
        finally:
            reader.data_threshold = FIELD_MAX
        order = [*TRUSTED, *STANDARD_FIELDS, *OWN_FIELDS]
        return sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))


def _value(reader: Reader, name: str) -> str:
    if name == "COREDUMP":
        reader.data_threshold = PEEK
    try:
        value = reader._get(name)
    except (KeyError, OSError):
        return ""
    finally:
        reader.data_threshold = FIELD_MAX
    return value[:PEEK].decode("latin-1") if name == "COREDUMP" else value.decode("utf-8", "surrogateescape")
