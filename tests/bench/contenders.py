"""The handlers that are compared: how each is registered, where it stores, which processes are its."""

from __future__ import annotations

import os
import pathlib
import subprocess
import time

import launchers
import services
from cases import Case
from machine import Machine
from meter import KTHREADD, Cost, Meter, NoMeter

NAMES = ("floor", "systemd", "pycoredump")
SETTLE_SECONDS = 120.0


class Contender:
    """A handler; this one stores nothing."""

    name = "floor"
    makes_entries = False

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.path = launchers.floor(machine.directory)

    def register(self, case: Case) -> None:
        self.machine.register(self.path)

    def stored(self, pid: int) -> list[pathlib.Path]:
        return []

    def costs(self, meter: Meter) -> list[Cost]:
        """One for each crash that the kernel started it for."""
        return meter.costs(KTHREADD, seconds=SETTLE_SECONDS)


class Pycoredump(Contender):
    """As installed: a byte-compiled copy, started by the same launcher."""

    name = "pycoredump"
    makes_entries = True

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.library = launchers.installed_package(machine.directory)
        self.handlers: dict[str, launchers.Handler] = {}

    def register(self, case: Case) -> None:
        if case.name not in self.handlers:
            self.handlers[case.name] = launchers.Handler(
                self.machine.directory, name=case.name, library=self.library, options=dict(case.options)
            )
        self.handler = self.handlers[case.name]
        self.machine.register(self.handler.path)

    def stored(self, pid: int) -> list[pathlib.Path]:
        return self.handler.stored(pid)


class SystemdCoredump(Contender):
    """The machine's own release: a helper hands the stream to a service."""

    name = "systemd"
    makes_entries = True

    def __init__(self, machine: Machine, server: int) -> None:
        self.machine = machine
        self.server = server

    def register(self, case: Case) -> None:
        self.machine.register(
            services.COREDUMP, services.COREDUMP_SPECIFIERS, pipe_limit=services.COREDUMP_PIPE_LIMIT
        )

    def stored(self, pid: int) -> list[pathlib.Path]:
        return sorted(services.COREDUMP_STORE.glob(f"core.*.{pid}.*"))

    def costs(self, meter: Meter) -> list[Cost]:
        helpers = super().costs(meter)
        try:
            workers = meter.costs(self.server, least=len(helpers), seconds=SETTLE_SECONDS)
        except NoMeter:
            workers = meter.costs(self.server, least=0, seconds=1.0)  # a helper that found no service
        workers += [Cost(pid=0, cpu=0.0, peak=0, peaks=0, processes=0)] * (len(helpers) - len(workers))
        return [sum_up([helper, worker]) for helper, worker in zip(helpers, workers, strict=False)]


def sum_up(costs: list[Cost]) -> Cost:
    """Of several processes, as if they were one."""
    return Cost(
        pid=costs[0].pid,
        cpu=sum(cost.cpu for cost in costs),
        peak=max(cost.peak for cost in costs),
        peaks=sum(cost.peaks for cost in costs),
        processes=sum(cost.processes for cost in costs),
    )


class Zstd:
    """`zstd -1 -T0` of the same core, read from the page cache and written nowhere."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.cores: dict[str, pathlib.Path] = {}
        self.sizes: dict[str, int] = {}

    def record(self, case: Case, argv: list[str | pathlib.Path]) -> None:
        """Let the kernel write the core of a case into a file once. Zeros are holes in it."""
        core = self.machine.directory / f"core-of-{case.name}"
        script = f"#!/bin/sh\nexec dd of={core} bs=1M iflag=fullblock conv=sparse 2>/dev/null\n"
        self.machine.register(launchers.write(self.machine.directory / "record", script))
        self.machine.crash(argv)
        self.cores[case.name] = core
        compress = ["zstd", "-1", "-T0", "-qc", os.fspath(core)]
        with subprocess.Popen(compress, stdout=subprocess.PIPE) as zstd:
            counted = subprocess.run(["wc", "-c"], stdin=zstd.stdout, capture_output=True, check=True)
        self.sizes[case.name] = int(counted.stdout)

    def run(self, case: Case) -> float:
        """Seconds."""
        core = self.cores[case.name]
        with core.open("rb") as file:
            while file.read(1 << 20):
                pass
        begin = time.monotonic()
        subprocess.run(["zstd", "-1", "-T0", "-qc", core], stdout=subprocess.DEVNULL, check=True)
        return time.monotonic() - begin
