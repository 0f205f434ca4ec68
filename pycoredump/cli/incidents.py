"""All crashes that are meant, from the journal and the archives, each once."""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterator

from pycoredump.cli.archives import Archives, Unlistable, single
from pycoredump.cli.entries import Entries, NoJournal, Reader, open_reader, restrict
from pycoredump.cli.incident import Incident, Known
from pycoredump.cli.matches import Matches
from pycoredump.cli.times import SECOND
from pycoredump.record import Record

# Read from each entry at once; others when they are asked for.
BRIEF = (
    "COREDUMP_PID", "COREDUMP_UID", "COREDUMP_GID", "COREDUMP_SIGNAL", "COREDUMP_TIMESTAMP", "COREDUMP_COMM",
    "COREDUMP_EXE", "COREDUMP_FILENAME",
)  # fmt: skip
HISTORY_MAX = 1000  # archives whose metadata are read for it


class Place(Record):
    """Where to look."""

    root: str = ""  # another system's tree, "" for this one
    directory: str = ""  # of journal files, in place of this system's
    files: list[str] = []  # noqa: RUF012 - journal files, patterns; never changed
    all: bool = False  # entries of other machines, too
    cores: str = ""  # directory of archives, root included; "" for none

    @property
    def with_archives(self) -> bool:
        """Journals from elsewhere go without this host's archives."""
        return bool(self.cores) and not self.directory and not self.files


class Incidents:
    """What is there of the crashes that are meant. `notes` says what could not be seen, one sentence each."""

    def __init__(self, place: Place, matches: Matches) -> None:
        """PycoredumpError where a journal that was asked for cannot be opened."""
        self.place = place
        self.matches = matches
        self.notes: list[str] = []
        self.entries: Entries | None = None
        self.archives: Archives | None = None
        if not matches.archives:
            self._open_journal()
            self._open_archives()

    def _open_journal(self) -> None:
        try:
            self.entries = Entries(self.place, self.matches)
        except NoJournal as e:
            if self.place.directory or self.place.files:
                raise
            self.notes.append(f"No journal is read: {e}. Only archives are shown.")

    def _open_archives(self) -> None:
        if not self.place.with_archives:
            return
        listed = True
        try:
            self.archives = Archives(self.place.cores, self.matches)
        except Unlistable:
            listed = False
        if not self.place.root and os.geteuid() != 0 and not (listed and _sees_all()):
            self.notes.append(
                f"There may be more: {self.place.cores} and the journal of the system are for root "
                "(the journal also for the groups adm and systemd-journal); shown are your own crashes."
            )

    def oldest_first(self, names: tuple[str, ...] = BRIEF, *, few: bool = False) -> Iterator[Incident]:
        """All of them, or as many as are taken, if `few`; `names` are the fields that will be asked for of each."""
        if self.matches.archives:
            yield from sorted(self._named(), key=lambda one: one.time)
            return

        # An archive is older than its entry: whether it has one must be known before that comes.
        recorded = self._recorded_one if few else self._recorded_all()
        journal = self.entries.forward(names) if self.entries else iter(())
        archived = self.archives.forward() if self.archives else iter(())
        for one in heapq.merge(journal, archived, key=lambda one: one.time):
            if not one.archived or not recorded(one):
                yield one

    def newest_first(self) -> Iterator[Incident]:
        """All of them; ends early at no cost."""
        if self.matches.archives:
            yield from sorted(self._named(), key=lambda one: -one.time)
            return

        journal = self.entries.backward(BRIEF) if self.entries else iter(())
        archived = self.archives.backward() if self.archives else iter(())
        files: set[str] = set()
        keys: set[tuple[str, str]] = set()
        for one in heapq.merge(journal, archived, key=lambda one: -one.time):
            if not one.archived:
                files.add(os.path.basename(one.file))
                keys.add(one.key)
                yield one
            elif os.path.basename(one.file) not in files and one.key not in keys:
                yield one

    def newest(self, count: int) -> list[Incident]:
        """At most `count`, newest first."""
        found = []
        for one in self.newest_first():
            found.append(one)
            if len(found) >= count:
                break
        return found

    def history(self, signature: str) -> Known:
        """The crashes with a signature: those of the journal, or of the archives where it has none."""
        if not (signature.isascii() and signature.isalnum()) or self.matches.archives:
            return Known()
        same = Matches(terms=(("COREDUMP_SIGNATURE", signature),))
        crashes, first = 0, 0
        for time in self._times_of_entries(same) if self.entries else ():
            crashes, first = crashes + 1, min(first or time, time)
        if not crashes and self.archives is not None:
            archives = Archives(self.place.cores, same)
            archives.found = archives.found[-HISTORY_MAX:]
            for one in archives.forward():
                crashes, first = crashes + 1, min(first or one.time, one.time)
        return Known(crashes=crashes, first=first)

    def _times_of_entries(self, same: Matches) -> Iterator[int]:
        reader = open_reader(self.place)
        restrict(reader, same)
        while reader._next():
            yield reader._get_realtime()

    def _named(self) -> Iterator[Incident]:
        for path in self.matches.archives:
            one = single(path)
            if self.matches.hold(one):
                yield one

    def _recorded_all(self) -> Callable[[Incident], bool]:
        """Whether the crash of an archive has an entry: found in one pass through the journal."""
        if self.entries is None or self.archives is None or not self.archives.found:
            return lambda _: False
        wanted = {(one.pid.encode(), b"%d" % (one.seconds * SECOND)) for one in self.archives.found}
        reader = open_reader(self.place)
        restrict(reader, Matches())
        known = set()
        while reader._next():
            key = _bytes(reader, "COREDUMP_PID"), _bytes(reader, "COREDUMP_TIMESTAMP")
            if key in wanted:
                known.add(key)
        return lambda one: (
            (one.get("COREDUMP_PID").encode(), one.get("COREDUMP_TIMESTAMP").encode()) in known
        )

    def _recorded_one(self, one: Incident) -> bool:
        """The same for one archive, by the journal's index: cheaper for the first few of many."""
        if self.entries is None:
            return False
        reader = open_reader(self.place)
        terms = [(name, one.get(name)) for name in ("COREDUMP_PID", "COREDUMP_TIMESTAMP")]
        restrict(reader, Matches(terms=tuple(terms)))
        return reader._next()


def _sees_all() -> bool:
    """Whether we may read the journal of the system, not only our own."""
    import glob

    places = [path for base in ("var", "run") for path in glob.glob(f"/{base}/log/journal/*")]
    return all(
        os.access(place, os.R_OK | os.X_OK)
        and all(os.access(path, os.R_OK) for path in glob.glob(f"{place}/system.journal"))
        for place in places
    )


def _bytes(reader: Reader, name: str) -> bytes:
    try:
        return reader._get(name)
    except KeyError:
        return b""


def in_progress(*, proc: str = "/proc") -> int:
    """How many crashes are being processed now: handlers that run."""
    count = 0
    for entry in os.listdir(proc):
        if not entry.isdigit():
            continue
        try:
            with open(f"{proc}/{entry}/cmdline", "rb") as file:
                arguments = file.read(512).split(b"\0")
        except OSError:
            continue  # it has ended
        # The kernel starts the script: its name is one of the first arguments of the interpreter.
        if any(argument == b"/usr/libexec/pycoredump" for argument in arguments[:3]):
            count += 1
    return count
