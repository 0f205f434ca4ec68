"""Crashes counted by program, signature, signal, unit, user, and over time. Counting and formatting only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from pycoredump.cli import screen, times
from pycoredump.cli.incident import Incident

SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000  # microseconds
STEPS = {
    60 * SECOND: "minute", 10 * 60 * SECOND: "10 minutes", HOUR: "hour", 6 * HOUR: "6 hours", DAY: "day",
    7 * DAY: "7 days", 30 * DAY: "30 days", 365 * DAY: "365 days",
}  # fmt: skip
BINS_MAX = 24
KEYS_MAX = 10_000  # of one kind: a program that gives itself a new name each time must not fill the memory
OTHER = "(others)"
NAMES = (
    "COREDUMP_EXE", "COREDUMP_COMM", "COREDUMP_SIGNAL", "COREDUMP_SIGNATURE", "COREDUMP_TITLE", "COREDUMP_UNIT",
    "COREDUMP_USER_UNIT", "COREDUMP_UID", "COREDUMP_TIMESTAMP", "COREDUMP_FILENAME", "COREDUMP_PID",
)  # fmt: skip


Key = TypeVar("Key", str, tuple[str, str, str])


class Count:
    """How often, and when the last time."""

    __slots__ = ("crashes", "last", "title")

    def __init__(self) -> None:
        self.crashes = 0
        self.last = 0  # microseconds
        self.title = ""


class Tally:
    """The counts, by kind and value."""

    KINDS = ("program", "signature", "signal", "unit", "user")

    def __init__(self) -> None:
        self.by: dict[str, dict[str, Count]] = {kind: {} for kind in self.KINDS}
        self.pairs: dict[tuple[str, str, str], Count] = {}  # program, signal, unit
        self.times: list[int] = []  # microseconds

    def add(self, one: Incident) -> None:
        """Count one crash."""
        at = one.crashed
        self.times.append(at)
        program = one.program or "unknown"
        unit = one.get("COREDUMP_UNIT") or one.get("COREDUMP_USER_UNIT")
        values = {
            "program": program, "signature": one.get("COREDUMP_SIGNATURE"), "signal": one.signal or "unknown",
            "unit": unit, "user": one.get("COREDUMP_UID"),
        }  # fmt: skip
        for kind, value in values.items():
            if value:
                title = one.get("COREDUMP_TITLE") if kind == "signature" else ""
                _count(self.by[kind], _bounded(self.by[kind], value, OTHER), at, title)
        pair = (program, values["signal"], unit)
        _count(self.pairs, _bounded(self.pairs, pair, (OTHER, "", "")), at)

    def most(self, kind: str) -> list[tuple[str, Count]]:
        """The most frequent first; of equal ones the latest."""
        return sorted(self.by[kind].items(), key=lambda item: (-item[1].crashes, -item[1].last, item[0]))

    def histogram(self) -> list[tuple[int, int]]:
        """(start in microseconds, crashes) of equal stretches of time, the empty ones too; [] without crashes."""
        if not self.times:
            return []
        first, last = min(self.times), max(self.times)
        step = next((step for step in STEPS if (last - first) // step < BINS_MAX), 365 * DAY)
        start = _floor(first, step)
        bins = [0] * min((last - start) // step + 1, 1000)
        for at in self.times:
            bins[min((at - start) // step, len(bins) - 1)] += 1
        return [(start + i * step, count) for i, count in enumerate(bins)]


def _count(counts: dict[Key, Count], key: Key, at: int, title: str = "") -> None:
    count = counts.setdefault(key, Count())
    count.crashes += 1
    if at >= count.last:
        count.last, count.title = at, title


def _bounded(counts: dict[Key, Count], key: Key, other: Key) -> Key:
    return key if key in counts or len(counts) < KEYS_MAX else other


def _floor(at: int, step: int) -> int:
    # Days begin at the local midnight.
    import time

    offset = time.localtime(at // SECOND).tm_gmtoff * SECOND
    return (at + offset) // step * step - offset


def of(incidents: Iterable[Incident]) -> Tally:
    tally = Tally()
    for one in incidents:
        tally.add(one)
    return tally


def bar(count: int, most: int, *, width: int, block: str) -> str:
    """A bar in proportion, at least one block for what is not zero."""
    return block * max(1, round(width * count / most)) if count else ""


def prometheus(tally: Tally, *, archives: int, stored: int) -> Iterator[str]:
    """The metrics in the text format of Prometheus. They are gauges: entries and archives go in time."""
    yield "# HELP pycoredump_crashes Crashes in the journal and the archives."
    yield "# TYPE pycoredump_crashes gauge"
    for (program, signal, unit), count in sorted(tally.pairs.items()):
        yield f"pycoredump_crashes{_labels(program=program, signal=signal, unit=unit)} {count.crashes}"
    yield "# HELP pycoredump_last_crash_timestamp_seconds When it crashed last."
    yield "# TYPE pycoredump_last_crash_timestamp_seconds gauge"
    for (program, signal, unit), count in sorted(tally.pairs.items()):
        labels = _labels(program=program, signal=signal, unit=unit)
        yield f"pycoredump_last_crash_timestamp_seconds{labels} {count.last // SECOND}"
    for name, value, text in (
        ("archives", archives, "Archives in the directory."),
        ("archives_bytes", stored, "Bytes that the archives use on the disk."),
    ):
        yield f"# HELP pycoredump_{name} {text}"
        yield f"# TYPE pycoredump_{name} gauge"
        yield f"pycoredump_{name} {value}"


def _labels(**values: str) -> str:
    def quoted(value: str) -> str:
        return screen.shown(value).replace("\\", "\\\\").replace('"', '\\"')

    return "{" + ",".join(f'{name}="{quoted(value)}"' for name, value in values.items()) + "}"


def as_json(tally: Tally, *, archives: int, stored: int) -> dict[str, object]:
    """Everything counted."""

    def rows(kind: str) -> list[dict[str, object]]:
        return [
            {"name": name, "crashes": count.crashes, "last": count.last}
            | ({"title": count.title} if kind == "signature" else {})
            for name, count in tally.most(kind)
        ]

    return {
        "crashes": len(tally.times),
        "first": min(tally.times, default=None),
        "last": max(tally.times, default=None),
        "archives": archives,
        "stored": stored,
        **{f"{kind}s": rows(kind) for kind in Tally.KINDS},
        "histogram": [{"start": start, "crashes": count} for start, count in tally.histogram()],
    }


def bin_label(start: int, step: int) -> str:
    """The start of a stretch, as exact as its length needs."""
    text = times.short(start)
    return text[:10] if step >= DAY else text[:16]
