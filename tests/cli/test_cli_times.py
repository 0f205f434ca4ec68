"""Points in time as systemd.time(7) has them."""

from __future__ import annotations

import time

import pytest

from pycoredump.cli import times
from pycoredump.errors import ArgumentError

NOW = 1_795_488_115 * times.SECOND  # Tue 2026-11-24 02:41:55 UTC
DAY = 86400 * times.SECOND
MIDNIGHT = 1_795_478_400 * times.SECOND


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("today", MIDNIGHT),
        ("yesterday", MIDNIGHT - DAY),
        ("tomorrow", MIDNIGHT + DAY),
        ("@0", 0),
        ("@1795488115", NOW),
        ("@1.5", 1_500_000),
        ("2h ago", NOW - 7200 * times.SECOND),
        ("1h 30min ago", NOW - 5400 * times.SECOND),
        ("-2h", NOW - 7200 * times.SECOND),
        ("+1d", NOW + DAY),
        ("2026-11-24", MIDNIGHT),
        ("2026-11-24 02:41:55", NOW),
        ("2026-11-24T02:41:55", NOW),
        ("2026-11-24 02:41", NOW - 55 * times.SECOND),
        ("Tue 2026-11-24 02:41:55 UTC", NOW),
        ("2026-11-24 02:41:55.25", NOW + 250_000),
        ("02:41:55", NOW),
        ("26-11-24", MIDNIGHT),
    ],
)
def test_a_point_in_time_is_understood(text: str, expected: int) -> None:
    assert times.point(text, now=NOW) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "2026-13-01",
        "25:00",
        "@x",
        "-",
        "2h",
        "2026-11-24 02:41:55 XYZ",
        "1 parsec ago",
        "@1e999",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError):
        times.point(text, now=NOW)


def test_local_time_counts_where_no_zone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    assert times.point("2026-11-24 03:41:55", now=NOW) == NOW
    assert times.point("2026-11-24 02:41:55 UTC", now=NOW) == NOW
    assert times.stamp(NOW) == "Tue 2026-11-24 03:41:55 CET"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "now"), (46, "46s ago"), (61, "1min 1s ago"), (600, "10min ago"), (7380, "2h 3min ago"), (30000, "8h ago"),
        (91000, "1 day 1h ago"), (200000, "2 days ago"), (1000000, "1 week 4 days ago"), (3000000, "1 month 4 days ago"),
        (40000000, "1 year 3 months ago"), (-60, "1min 0s left"),
    ],
)  # fmt: skip
def test_distances_have_two_units_at_most(seconds: int, expected: str) -> None:
    assert times.ago(NOW - seconds * times.SECOND, now=NOW) == expected


def test_a_time_out_of_range_is_shown_as_such() -> None:
    assert times.stamp(2**80) == "n/a"
    assert times.short(-(2**80)) == "n/a"
