"""A set of address ranges that knows what a further range adds to it.

Runs before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

import _bisect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Intervals:
    """Disjoint half-open ranges, in order."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def add(self, start: int, end: int) -> list[tuple[int, int]]:
        """Add a range. What of it was not in the set yet, in order."""
        if start >= end:
            return []

        first = _bisect.bisect_left(self._ends, start)
        last = _bisect.bisect_right(self._starts, end)
        new, at = [], start
        for known_start, known_end in zip(self._starts[first:last], self._ends[first:last], strict=True):
            if at < known_start:
                new.append((at, known_start))
            at = max(at, known_end)
        if at < end:
            new.append((at, end))

        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]
        return new

    def missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """What of a range is not in the set, in order."""
        index = _bisect.bisect_right(self._ends, start)
        found, at = [], start
        # By index: a copy of all ranges behind the first would make many of them cost their square.
        while index < len(self._starts) and self._starts[index] < end:
            if at < self._starts[index]:
                found.append((at, self._starts[index]))
            at = self._ends[index]
            index += 1
        if at < end:
            found.append((at, end))
        return found
