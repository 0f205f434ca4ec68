"""One setting as it is and as it should be: what check shows."""

from __future__ import annotations

from pycoredump.record import Record

OK = "ok"
WRONG = "wrong"
ABSENT = "absent"  # the host has no such program: nothing to set
NOTHING = "nothing"  # what is found where no file says anything
NOTE = "note"  # to know, but it does not decide whether core dumps work


class Item(Record):
    """A setting. Texts are for people; `line` is from 1, 0 if there is none."""

    name: str
    state: str
    wanted: str = ""
    found: str = ""
    effective: str = ""  # what counts in the end; empty: cannot be known here
    file: str = ""
    line: int = 0
    hint: str = ""

    def holds(self) -> bool:
        """Whether nothing needs to be done."""
        return self.state != WRONG
