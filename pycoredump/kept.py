"""What became of one core: the record that the rest of the way works with.

Runs before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

from pycoredump import budget, entry
from pycoredump.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycoredump.entry import Fields

    Range = tuple[int, int]


LINES_MAX = 1024  # stretches named in one field, the largest; the note in the core has more


class Kept(Record):
    """What became of the core."""

    file: str = ""  # absolute path of the archive, "" if there is none
    fd: int = -1  # where the core is, also if it has no name
    plain: bool = False  # the core as it is, not in frames
    journal: bool = False  # it stands in `fd` for the entry itself, behind journal.CORE_AT bytes
    size: int = 0  # bytes of the core that are kept
    stored: int = 0  # bytes of the archive
    frames: tuple[tuple[int, int], ...] = ()
    content: str = ""  # full, budget or stacks
    truncated: bool = False  # memory that held something is missing
    dropped: tuple[Range, ...] = ()  # (start, end) of it
    unreadable: tuple[Range, ...] = ()  # (start, end) that is zeros because it could not be read
    reason: str = ""  # why nothing, or not all, is kept
    from_memory: bool = False  # the stream was not needed
    problems: tuple[str, ...] = ()


def fields_of(kept: Kept) -> Fields:
    """What became of the core, as journal fields."""
    fields = {
        "COREDUMP_FILENAME": kept.file,
        "COREDUMP_TRUNCATED": "1" if kept.truncated else "",
        "COREDUMP_CONTENT": kept.content if kept.content != "full" else "",
        "COREDUMP_KEPT_SIZE": str(kept.size) if kept.size else "",
        "COREDUMP_STORED_SIZE": str(kept.stored) if kept.stored else "",
        "COREDUMP_DROPPED": _lines(kept.dropped),
        "COREDUMP_UNREADABLE": _lines(kept.unreadable),
        "COREDUMP_REASON": kept.reason,
    }
    return {name: entry.text(value) for name, value in fields.items() if value}


def _lines(stretches: tuple[Range, ...]) -> str:
    lines = [f"{start:#x}-{end:#x}" for start, end in budget.largest(stretches, LINES_MAX)]
    more = len(stretches) - LINES_MAX
    return "\n".join([*lines, f"and {more} more"] if more > 0 else lines)
