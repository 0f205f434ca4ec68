"""Points in time as people write them and as systemd's tools show them (systemd.time(7))."""

from __future__ import annotations

import re
import time

from pycoredump.errors import ArgumentError

SECOND = 1_000_000
UNITS = {
    "us": 1, "usec": 1, "ms": 1000, "msec": 1000,
    "": SECOND, "s": SECOND, "sec": SECOND, "second": SECOND, "seconds": SECOND,
    "m": 60 * SECOND, "min": 60 * SECOND, "minute": 60 * SECOND, "minutes": 60 * SECOND,
    "h": 3600 * SECOND, "hr": 3600 * SECOND, "hour": 3600 * SECOND, "hours": 3600 * SECOND,
    "d": 86400 * SECOND, "day": 86400 * SECOND, "days": 86400 * SECOND,
    "w": 604800 * SECOND, "week": 604800 * SECOND, "weeks": 604800 * SECOND,
    "month": 2629800 * SECOND, "months": 2629800 * SECOND, "M": 2629800 * SECOND,
    "y": 31557600 * SECOND, "year": 31557600 * SECOND, "years": 31557600 * SECOND,
}  # fmt: skip
SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)")
DATE = re.compile(
    r"(?:[A-Za-z]{3,9} )?(?:(\d{2,4})-(\d\d?)-(\d\d?))?(?:[ T]?(\d\d?):(\d\d?)(?::(\d\d?)(\.\d+)?)?)?( ?(?:UTC|Z))?"
)
MINUTE, HOUR, DAY, WEEK, MONTH, YEAR = (
    60,
    3600,
    86400,
    604800,
    2629800,
    31557600,
)  # seconds, as systemd counts


def span(text: str) -> int:
    """Microseconds of `2h 30min`, `90`, `1.5d`. ArgumentError if it is no span."""
    at, total = 0, 0
    while at < len(text.rstrip()):
        found = SPAN.match(text, at)
        if not found or found[2] not in UNITS or found.end() == at:
            raise ArgumentError(f"{text!r} is not a time span", hint="Write one as in 2h 30min.")
        total += int(float(found[1]) * UNITS[found[2]])
        at = found.end()
    if not at:
        raise ArgumentError(f"{text!r} is not a time span", hint="Write one as in 2h 30min.")
    return total


def point(text: str, *, now: int) -> int:
    """Microseconds since the epoch of what --since= takes; `now` likewise. ArgumentError if it is no time."""
    words = text.strip()
    if words == "now":
        return now
    if words in ("today", "yesterday", "tomorrow"):
        return _midnight(now, {"yesterday": -1, "today": 0, "tomorrow": 1}[words])
    try:
        if words.startswith("@"):
            return int(float(words[1:]) * SECOND)
        if words.endswith(" ago"):
            return now - span(words[:-4])
        if words.startswith(("+", "-")):
            return now + span(words[1:]) * (1 if words[0] == "+" else -1)
        return _date(words, now)
    except (ValueError, OverflowError):
        raise ArgumentError(
            f"{text!r} is not a point in time", hint="Write one as in 2026-11-24 18:00, yesterday or -2h."
        ) from None


def _midnight(now: int, days: int) -> int:
    day = time.localtime(now // SECOND)
    return int(time.mktime((day.tm_year, day.tm_mon, day.tm_mday + days, 0, 0, 0, 0, 0, -1))) * SECOND


def _date(text: str, now: int) -> int:
    found = DATE.fullmatch(text)
    if not found or not (found[1] or found[4]):
        raise ValueError(text)

    import calendar

    utc = bool(found[8])
    today = (time.gmtime if utc else time.localtime)(now // SECOND)
    year, month, day = (
        int(found[i]) if found[i] else value
        for i, value in ((1, today.tm_year), (2, today.tm_mon), (3, today.tm_mday))
    )
    year += (2000 if year < 70 else 1900) if year < 100 else 0
    hour, minute, second = (int(found[i] or 0) for i in (4, 5, 6))
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61):
        raise ValueError(text)
    parts = (year, month, day, hour, minute, second, 0, 0, -1)
    seconds = calendar.timegm(parts) if utc else time.mktime(parts)
    return int(seconds) * SECOND + int(float(found[7] or 0) * SECOND)


def stamp(microseconds: int) -> str:
    """As systemd shows it: Tue 2026-11-24 02:39:52 UTC."""
    try:
        return time.strftime("%a %Y-%m-%d %H:%M:%S %Z", time.localtime(microseconds // SECOND))
    except (ValueError, OverflowError, OSError):
        return "n/a"


def short(microseconds: int) -> str:
    """Without the day of the week and the zone."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(microseconds // SECOND))
    except (ValueError, OverflowError, OSError):
        return "n/a"


def ago(microseconds: int, *, now: int) -> str:
    """46s ago, 2h 3min ago, 3 days ago, 3h left, in the steps of systemd's own tools."""
    side = "ago" if microseconds <= now else "left"
    distance = abs(now - microseconds)
    if distance < SECOND:
        return "now" if not distance else f"{max(1, distance // 1000)}ms {side}"
    return f"{duration(distance // SECOND)} {side}"


def duration(seconds: int) -> str:
    """At most two units: what is far away needs no seconds."""
    if seconds >= YEAR:
        return f"{_counted(seconds // YEAR, 'year')} {_counted(seconds % YEAR // MONTH, 'month')}"
    if seconds >= MONTH:
        return f"{_counted(seconds // MONTH, 'month')} {_counted(seconds % MONTH // DAY, 'day')}"
    if seconds >= WEEK:
        return f"{_counted(seconds // WEEK, 'week')} {_counted(seconds % WEEK // DAY, 'day')}"
    if seconds >= 2 * DAY:
        return f"{seconds // DAY} days"
    if seconds >= 25 * HOUR:
        return f"1 day {(seconds - DAY) // HOUR}h"
    if seconds >= HOUR:
        return f"{seconds // HOUR}h" + (f" {seconds % HOUR // MINUTE}min" if seconds < 6 * HOUR else "")
    if seconds >= MINUTE:
        return f"{seconds // MINUTE}min" + (f" {seconds % MINUTE}s" if seconds < 5 * MINUTE else "")
    return f"{seconds}s"


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'}"
