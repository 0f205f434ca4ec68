"""One crash as the tool sees it: its fields, wherever they are kept, and what became of its core."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from pycoredump.cli import times
from pycoredump.crash import SIGNALS
from pycoredump.record import Record

BACKTRACE_ID = "1f4e0a44a88649939aaea34fc6da8c95"  # SD_MESSAGE_BACKTRACE: of programs that log their own end

Load = Callable[[str], str]


class Incident:
    """Fields are read when asked for: an entry has some large ones. Values are text, bad bytes as surrogates."""

    def __init__(
        self,
        time: int,
        known: dict[str, str],
        load: Load,
        *,
        names: Callable[[], list[str]],
        archived: str = "",
    ) -> None:
        """`time` in microseconds: of the entry, or of the crash where there is none. `load` reads one field."""
        self.time = time
        self.known = known
        self.archived = archived  # path of the archive whose metadata this is; "" for a journal entry
        self._load = load
        self._names = names

    def get(self, name: str) -> str:
        """The field's value, "" if it has none."""
        if name not in self.known:
            self.known[name] = self._load(name)
        return self.known[name]

    def names(self) -> list[str]:
        """Of all fields that have a value, but for the core itself."""
        return [name for name in self._names() if name != "COREDUMP"]

    def number(self, name: str) -> int | None:
        """The field as a number, None if it is none."""
        text = self.get(name)
        digits = text.removeprefix("-")
        return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 25 else None

    @property
    def file(self) -> str:
        return self.archived or self.get("COREDUMP_FILENAME")

    @property
    def crashed(self) -> int:
        """When it crashed, microseconds; the entry comes a little later."""
        return self.number("COREDUMP_TIMESTAMP") or self.time

    @property
    def signal_number(self) -> int | None:
        """Entries may have the name in place of the number; None if it is neither."""
        number = self.number("COREDUMP_SIGNAL")
        if number is not None:
            return number
        name = self.get("COREDUMP_SIGNAL")
        return next((value for value, known in SIGNALS.items() if known == name), None)

    @property
    def signal(self) -> str:
        """SIGSEGV, or as coredumpctl writes the others: SIGRTMIN+1, SIG0 for what is none."""
        if self.get("MESSAGE_ID") == BACKTRACE_ID:
            return "SIG0"
        number = self.signal_number
        if number is None:
            return self.get("COREDUMP_SIGNAL")
        return SIGNALS.get(number) or _other_signal(number)

    @property
    def program(self) -> str:
        return self.get("COREDUMP_EXE") or self.get("COREDUMP_COMM")

    @property
    def key(self) -> tuple[str, str]:
        """The same for the entry and the archive of one crash."""
        return self.get("COREDUMP_PID"), str(self.crashed // times.SECOND)


def _other_signal(number: int) -> str:
    import signal

    if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


class Known(Record):
    """How often crashes with one signature happened, and when first (microseconds)."""

    crashes: int = 0
    first: int = 0

    def as_json(self) -> dict[str, int] | None:
        return {"Crashes": self.crashes, "First": self.first} if self.crashes else None


class Presence:
    """What is there of a core: the word that coredumpctl uses, and the bytes on the disk (None: no file)."""

    __slots__ = ("path", "size", "word")

    def __init__(self, word: str, size: int | None = None, path: str = "") -> None:
        self.word = word
        self.size = size
        self.path = path


def presence(incident: Incident, *, root: str = "") -> Presence:
    """Where the core of an incident is: present, missing, inaccessible, truncated, none, journal, error, reduced.

    `reduced` is ours: memory was left out on purpose, and the backtraces are whole.
    """
    path = incident.file
    if not path:
        # Asking costs no copy of the core: its beginning is enough.
        inline = incident.get("COREDUMP")
        if not inline:
            return Presence("-" if incident.get("MESSAGE_ID") == BACKTRACE_ID else "none")
        return Presence("truncated" if is_true(incident.get("COREDUMP_TRUNCATED")) else "journal")

    place = path if incident.archived else f"{root}{path}"
    word, size = _file_state(place)
    if word == "present":
        word = _wholeness(incident)
    return Presence(word, size, place)


def _wholeness(incident: Incident) -> str:
    # Whatever is left out counts as truncated for coredumpctl(1); left out on purpose is another thing.
    if incident.get("COREDUMP_CONTENT") in ("budget", "stacks"):
        return "reduced"
    return "truncated" if is_true(incident.get("COREDUMP_TRUNCATED")) else "present"


def _file_state(path: str) -> tuple[str, int | None]:
    try:
        facts = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return "missing", None
    except PermissionError:
        return "inaccessible", None
    except (OSError, ValueError):
        return "error", None
    if not stat.S_ISREG(facts.st_mode):
        return "error", None
    return ("present" if os.access(path, os.R_OK) else "inaccessible"), facts.st_size


def is_true(text: str) -> bool:
    """A boolean as systemd reads it."""
    return text.lower() in ("1", "yes", "y", "true", "t", "on")
