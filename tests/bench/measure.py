"""One crash, or many at once, under one handler: everything that is compared."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence

import services
from cases import Case
from contenders import Contender, sum_up
from machine import Machine
from meter import Meter

ENTRY_FIELDS = ("COREDUMP_PID", "__REALTIME_TIMESTAMP")
ENTRIES_SECONDS = 5.0  # after all handlers have ended, journald needs no longer


@dataclasses.dataclass(frozen=True)
class Sample:
    """What one run showed. Seconds and bytes."""

    wait: float  # from the crash to the return of wait(); of the last one, if there were many
    entry: float | None  # from the crash to the journal entry; the last one
    cpu: float  # of the handler's processes, all of them
    peak: int  # RSS of the largest one
    peaks: int  # the sum of all of them: an upper bound of what was in use at once
    stored: int  # size of the files
    disk: int  # what they take of the file system
    entries: int
    cores: int
    noise: (
        float  # processors that were busy with something else meanwhile: figures of a busy machine mislead
    )


def run(
    machine: Machine, meter: Meter, contender: Contender, case: Case, argv: Sequence[str | os.PathLike[str]]
) -> Sample:
    """Register, crash, count, clean up."""
    contender.register(case)
    victims = []
    try:
        for _ in range(case.count):
            victims.append(machine.start(argv))
        os.sync()  # what earlier runs wrote does not disturb this one
        meter.start()
        busy = busy_seconds()
        for victim in victims:
            victim.kill()
        deaths = [victim.wait() for victim in victims]
        ended = time.monotonic()
        busy = busy_seconds() - busy
    finally:
        machine.close()
    begin, stamp = victims[0].begin, victims[0].stamp
    cost = sum_up(contender.costs(meter))
    own = cost.cpu + sum(death.system_seconds for death in deaths)
    pids = {death.pid for death in deaths}
    times = entry_times(pids, stamp) if contender.makes_entries else []
    files = [path for pid in pids for path in contender.stored(pid)]
    facts = [path.stat() for path in files]
    for path in files:
        path.unlink()
    return Sample(
        wait=deaths[0].seconds if case.count == 1 else ended - begin,
        entry=max(times) - stamp if times else None,
        cpu=cost.cpu,
        peak=cost.peak,
        peaks=cost.peaks,
        stored=sum(fact.st_size for fact in facts),
        disk=sum(fact.st_blocks * 512 for fact in facts),
        entries=len(times),
        cores=len(files),
        noise=max(0.0, busy - own) / (ended - begin),
    )


def busy_seconds() -> float:
    """Of all processors since the start of the system (proc_stat(5)); what waits for the disk is not busy."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq, steal = (int(word) for word in file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def entry_times(pids: set[int], since: float) -> list[float]:
    """When journald got the entries of these processes, seconds since the epoch."""
    end = time.monotonic() + ENTRIES_SECONDS
    while True:
        entries = services.crashes(since, fields=ENTRY_FIELDS)
        times = {
            int(entry["COREDUMP_PID"]): int(entry["__REALTIME_TIMESTAMP"]) / 1e6
            for entry in entries
            if "COREDUMP_PID" in entry
        }
        ours = [when for pid, when in times.items() if pid in pids]
        if len(ours) == len(pids) or time.monotonic() > end:
            return ours
        time.sleep(0.05)
