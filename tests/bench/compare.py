"""Compares handlers in one run, interleaved, on the same crashing programs. Medians, ratios, JSON."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import platform
import statistics
import sys

import crashers
import crowd
import measure
import report
import services
from cases import CASES, Case
from contenders import NAMES, Contender, Pycoredump, SystemdCoredump, Zstd
from machine import Machine, Unavailable, machine
from meter import Meter, NoMeter

# On the same file system as systemd-coredump's store, which /tmp often is not.
DIRECTORY = "/var/tmp"


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    try:
        return compare(options)
    except (Unavailable, NoMeter, crashers.CannotBuild) as e:
        print(f"No comparison: {e}", file=sys.stderr)
        return 1


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="all samples, medians and ratios as JSON")
    parser.add_argument("--rounds", type=int, default=3, help="how often each crash is repeated (3)")
    parser.add_argument(
        "--only",
        action="append",
        choices=[*(case.name for case in CASES), "list"],
        help="this case; may be repeated",
    )
    parser.add_argument(
        "--handlers", default=",".join(NAMES), help=f"some of {','.join(NAMES)}, separated by commas"
    )
    parser.add_argument("--no-zstd", action="store_true", help="do not measure zstd -1 -T0")
    options = parser.parse_args(arguments)
    unknown = set(options.handlers.split(",")) - set(NAMES)
    if unknown:
        parser.error(f"--handlers: {sorted(unknown)[0]!r} is none of {','.join(NAMES)}")
    return options


def compare(options: argparse.Namespace) -> int:
    wanted = [case for case in CASES if (case.name in options.only if options.only else not case.optional)]
    listing = listed(options)
    if not wanted:
        print(json.dumps({"list": listing}, indent=1) if options.json else "\n".join(crowd.lines(listing)))
        return 0
    with contextlib.ExitStack() as stack:
        taken = stack.enter_context(machine(directory=DIRECTORY))
        stack.enter_context(services.journald())
        meter = stack.enter_context(contextlib.closing(Meter()))
        contenders = [contender(name, taken, stack) for name in options.handlers.split(",")]
        zstd = None if options.no_zstd else Zstd(taken)
        samples, zstds = rounds(taken, meter, contenders, zstd, wanted, options.rounds)
        sizes = zstd.sizes if zstd else {}
    if options.json:
        print(json.dumps(as_json(samples, zstds, sizes, options.rounds) | {"list": listing}, indent=1))
    else:
        print("\n".join([*report.lines(samples, zstds, sizes), *(crowd.lines(listing) if listing else [])]))
    return 0


def listed(options: argparse.Namespace) -> dict[str, crowd.Figures]:
    """What the tool costs with many crashes at hand; {} if it is not asked for, or cannot be measured."""
    if "list" not in options.only if options.only else "pycoredump" not in options.handlers.split(","):
        return {}
    if reason := crowd.obstacle():
        progress(f"list {reason}")
        return {}
    progress(f"list of {crowd.CRASHES:,} crashes")
    return crowd.figures()


def contender(name: str, taken: Machine, stack: contextlib.ExitStack) -> Contender:
    if name == "systemd":
        return SystemdCoredump(taken, stack.enter_context(services.systemd_coredump()))
    return Pycoredump(taken) if name == "pycoredump" else Contender(taken)


def rounds(
    taken: Machine,
    meter: Meter,
    contenders: list[Contender],
    zstd: Zstd | None,
    wanted: list[Case],
    count: int,
) -> tuple[dict[str, dict[str, list[measure.Sample]]], dict[str, list[float]]]:
    """All contenders take turns on each case, and the cases in each round."""
    samples: dict[str, dict[str, list[measure.Sample]]] = {
        case.name: {one.name: [] for one in contenders} for case in wanted
    }
    zstds: dict[str, list[float]] = {case.name: [] for case in wanted}
    for number in range(1, count + 1):
        for case in wanted:
            argv: list[str | pathlib.Path] = [crashers.program(case.program), *case.arguments]
            for one in contenders:
                progress(f"round {number} of {count}: {case.name}, {one.name}")
                samples[case.name][one.name].append(measure.run(taken, meter, one, case, argv))
            if zstd and case.count == 1 and not case.optional:
                progress(f"round {number} of {count}: {case.name}, zstd -1 -T0")
                if case.name not in zstd.cores:
                    zstd.record(case, argv)
                zstds[case.name].append(zstd.run(case))
    return samples, zstds


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def as_json(
    samples: dict[str, dict[str, list[measure.Sample]]],
    zstds: dict[str, list[float]],
    sizes: dict[str, int],
    count: int,
) -> dict[str, object]:
    """Seconds and bytes, as in measure.Sample."""
    cases = {}
    for name, by_handler in samples.items():
        medians = {handler: report.median(found) for handler, found in by_handler.items()}
        zstd = statistics.median(zstds[name]) if zstds[name] else None
        cases[name] = {
            "samples": {
                handler: [dataclasses.asdict(one) for one in found] for handler, found in by_handler.items()
            },
            "medians": {handler: dataclasses.asdict(one) for handler, one in medians.items()},
            "ratios": report.ratios(medians["pycoredump"], medians, zstd) if "pycoredump" in medians else {},
            "zstd -1 -T0": {"seconds": zstds[name], "bytes": sizes.get(name)},
        }
    return {"kernel": platform.release(), "processors": os.cpu_count(), "rounds": count, "cases": cases}
