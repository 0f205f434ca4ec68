"""stats: counts, the histogram, and metrics that a collector can read."""

from __future__ import annotations

import json
import os
import pathlib
import time

import pytest
from cli_system import SECOND, System

from pycoredump.cli import tally
from pycoredump.cli.incident import Incident

T = 1_795_400_000
HOUR = 3600


def incident(time: int, **fields: str) -> Incident:
    return Incident(
        time * SECOND, {f"COREDUMP_{k.upper()}": v for k, v in fields.items()}, lambda _: "", names=list
    )


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    made = System(tmp_path_factory.mktemp("stats") / "root")
    for i in range(6):
        made.crash(
            10 + i,
            time=T + i * HOUR,
            archive=False,
            exe="/usr/bin/often",
            signature="aa",
            title=f"title {i}",
        )
    made.crash(
        2, time=T + 20 * HOUR, entry=False, signal="6", uid="1000", unit='we"ird\\.service', signature="bb"
    )
    made.commit()
    return made


def test_what_crashes_most_comes_first(system: System) -> None:
    counted = json.loads(system.run("stats", "--json=short").stdout)
    assert counted["crashes"] == 7
    assert [(row["name"], row["crashes"]) for row in counted["programs"]] == [
        ("/usr/bin/often", 6),
        ("/usr/bin/prog", 1),
    ]
    assert [(row["name"], row["crashes"]) for row in counted["signals"]] == [("SIGSEGV", 6), ("SIGABRT", 1)]
    assert [row["name"] for row in counted["users"]] == ["0", "1000"]
    assert counted["signatures"][0]["title"] == "title 5"
    assert counted["archives"] == 1
    assert counted["stored"] > 0


def test_the_table_has_the_same_figures(system: System) -> None:
    text = system.run("stats").stdout.decode()
    assert "7 crashes of 2 programs" in text
    assert "      6 ████████████ " in text
    assert "aa  title 5" in text
    assert "#" * 24 in system.run("stats", PYTHONIOENCODING="ascii").stdout.decode()


def test_stretches_without_crashes_are_in_the_histogram(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    start = T - T % HOUR
    counted = tally.of([incident(start), incident(start + 600), incident(start + 5 * HOUR)])
    assert counted.histogram() == [
        ((start + i * HOUR) * SECOND, count) for i, count in enumerate([2, 0, 0, 0, 0, 1])
    ]


def test_a_time_far_off_does_not_make_a_million_stretches() -> None:
    counted = tally.of([incident(0), incident(2**40)])
    assert len(counted.histogram()) <= 1000


def test_a_program_with_a_new_name_each_time_fills_no_memory() -> None:
    counted = tally.of(incident(T, exe=f"/tmp/{i}") for i in range(tally.KEYS_MAX + 500))
    assert len(counted.by["program"]) == tally.KEYS_MAX + 1
    assert counted.by["program"][tally.OTHER].crashes == 500


def test_metrics_have_their_labels_escaped(system: System) -> None:
    text = system.run("stats", "--prometheus").stdout.decode()
    assert 'pycoredump_crashes{program="/usr/bin/often",signal="SIGSEGV",unit=""} 6\n' in text
    assert 'unit="we\\"ird\\\\.service"} 1\n' in text
    assert (
        f'pycoredump_last_crash_timestamp_seconds{{program="/usr/bin/often",signal="SIGSEGV",unit=""}} {T + 5 * HOUR}\n'
        in text
    )
    assert "pycoredump_archives 1\n" in text


def test_no_crash_is_a_figure_for_a_collector(tmp_path: pathlib.Path) -> None:
    done = System(tmp_path / "root").run("stats", "--prometheus", "-q")
    assert done.returncode == 0
    assert b"pycoredump_archives 0\n" in done.stdout


def test_the_file_of_a_collector_is_replaced_at_once(system: System, tmp_path: pathlib.Path) -> None:
    target = tmp_path / "crashes.prom"
    target.write_text("before")
    before = target.stat().st_ino
    assert system.run("stats", "--prometheus", "-o", os.fspath(target)).returncode == 0
    assert target.stat().st_ino != before
    assert target.read_text().startswith("# HELP pycoredump_crashes")
    assert os.listdir(tmp_path) == ["crashes.prom"]
    assert target.stat().st_mode & 0o777 == 0o644
