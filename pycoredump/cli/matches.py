"""Which crashes are meant: a PID, a comm, a /path of an executable, FIELD=VALUE, a path of an archive."""

from __future__ import annotations

import os
import re

from pycoredump.cli.incident import Incident
from pycoredump.errors import ArgumentError
from pycoredump.record import Record

FIELD = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")  # systemd.journal-fields(7)
ARCHIVE = re.compile(r"\.zst$|(^|/)core-[^/]*-\d+-\d+-\d+$")  # how an archive is called
MAGICS = (b"\x28\xb5\x2f\xfd", b"\x7fELF")
ET_CORE = 4


class Matches(Record):
    """Terms of the same field are alternatives, those of different fields must all hold (as in journalctl(1))."""

    terms: tuple[tuple[str, str], ...] = ()  # (field, value)
    archives: tuple[str, ...] = ()  # only these files are looked at
    since: int | None = None  # microseconds
    until: int | None = None

    def hold(self, incident: Incident) -> bool:
        """Whether the incident is meant; the time counts, too."""
        if (self.since is not None and incident.time < self.since) or (
            self.until is not None and incident.time > self.until
        ):
            return False
        wanted: dict[str, list[str]] = {}
        for field, value in self.terms:
            wanted.setdefault(field, []).append(value)
        return all(incident.get(field) in values for field, values in wanted.items())


def parse(words: list[str], *, since: int | None = None, until: int | None = None) -> Matches:
    """The matches of a command line. ArgumentError for what can be none."""
    if since is not None and until is not None and since > until:
        raise ArgumentError("--since= must be before --until=")
    terms, archives = [], []
    for word in words:
        if is_archive(word):
            archives.append(word)
        else:
            terms.append(_term(word))
    return Matches(terms=tuple(terms), archives=tuple(archives), since=since, until=until)


def _term(word: str) -> tuple[str, str]:
    if word.startswith(("./", "../")) or ARCHIVE.search(word):
        # No program is called so; what is there and can be read was taken for an archive before.
        raise ArgumentError(f"No archive {word!r}", hint="Or it cannot be read; try as root.")
    if word.startswith("/"):
        return "COREDUMP_EXE", os.path.normpath(word)
    name, equals, value = word.partition("=")
    if equals:
        if not FIELD.fullmatch(name):
            raise ArgumentError(
                f"{name!r} is not the name of a journal field", hint="As COREDUMP_UNIT=nginx.service."
            )
        return name, value
    if word.isascii() and word.isdigit():
        return "COREDUMP_PID", str(int(word))
    if not word:
        raise ArgumentError("A match is empty", hint="Leave it out.")
    return "COREDUMP_COMM", word


def is_archive(word: str) -> bool:
    """Whether it is the path of an archive or of a core: an executable's path is a match of its own."""
    if "/" not in word and not word.startswith("core") and not word.endswith(".zst"):
        return False
    try:
        fd = os.open(word, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError):
        return False
    try:
        begin = os.pread(fd, 18, 0)
    except OSError:
        return False
    finally:
        os.close(fd)
    if begin[:4] == MAGICS[1]:
        return ET_CORE in (
            begin[16:18][0] if begin[5:6] == b"\x01" else -1,
            begin[17] if begin[5:6] == b"\x02" else -1,
        )
    return begin[:4] == MAGICS[0] or begin[1:4] == b"\x2a\x4d\x18"
