"""Figures to read: medians, and how they compare. Formatting only."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

from cases import CASES
from measure import Sample

Samples = Mapping[str, Mapping[str, Sequence[Sample]]]  # case, handler
Zstds = Mapping[str, Sequence[float]]

HEADINGS = (
    "wait s",
    "entry s",
    "CPU s",
    "peak MiB",
    "all MiB",
    "stored MB",
    "disk MB",
    "entries",
    "cores",
    "noise",
)

NOISE_MAX = 0.3  # processors


def median(samples: Sequence[Sample]) -> Sample:
    """The median of each figure by itself."""
    entries = [sample.entry for sample in samples if sample.entry is not None]
    middle = {
        name: statistics.median(getattr(sample, name) for sample in samples)
        for name in ("wait", "cpu", "peak", "peaks", "stored", "disk", "entries", "cores", "noise")
    }
    return Sample(
        wait=middle["wait"],
        entry=statistics.median(entries) if entries else None,
        cpu=middle["cpu"],
        noise=middle["noise"],
        **{name: int(middle[name]) for name in ("peak", "peaks", "stored", "disk", "entries", "cores")},
    )


def ratios(ours: Sample, others: Mapping[str, Sample], zstd: float | None) -> dict[str, float]:
    """Ours divided by theirs: the goals of the project are about these."""
    found = {}
    if "systemd" in others:
        theirs = others["systemd"]
        found["wait of systemd-coredump"] = ours.wait / theirs.wait
        if ours.entry and theirs.entry:
            found["entry of systemd-coredump"] = ours.entry / theirs.entry
        found["CPU of systemd-coredump"] = ours.cpu / theirs.cpu
        if theirs.stored:
            found["stored of systemd-coredump"] = ours.stored / theirs.stored
    if "floor" in others:
        found["wait of the floor"] = ours.wait / others["floor"].wait
        if zstd is not None:
            found["wait of the larger of floor and zstd -1 -T0"] = ours.wait / max(
                others["floor"].wait, zstd
            )
    return found


def lines(samples: Samples, zstds: Zstds, sizes: Mapping[str, int]) -> Iterator[str]:
    """A table of medians for each case, then the ratios."""
    texts = {case.name: case.text for case in CASES}
    for name, by_handler in samples.items():
        medians = {handler: median(found) for handler, found in by_handler.items() if found}
        zstd = statistics.median(zstds[name]) if zstds.get(name) else None
        yield f"{name}: {texts[name]}"
        yield "  " + " " * 12 + "".join(f"{heading:>11}" for heading in HEADINGS)
        for handler, sample in medians.items():
            yield f"  {handler:<12}" + "".join(f"{cell:>11}" for cell in cells(sample))
        if any(sample.noise > NOISE_MAX for sample in medians.values()):
            yield "  The machine was busy with something else (column noise, in processors): measure again."
        if zstd is not None:
            yield f"  {'zstd -1 -T0':<12}{zstd:>11.3f}{'':>44}{sizes[name] / 1e6:>11.2f}"
        if "pycoredump" in medians:
            for what, ratio in ratios(medians["pycoredump"], medians, zstd).items():
                yield f"    {ratio:7.2f} times the {what}"
        yield ""


def cells(sample: Sample) -> list[str]:
    return [
        f"{sample.wait:.3f}",
        "-" if sample.entry is None else f"{sample.entry:.3f}",
        f"{sample.cpu:.3f}",
        f"{sample.peak / 2**20:.1f}",
        f"{sample.peaks / 2**20:.1f}",
        f"{sample.stored / 1e6:.2f}",
        f"{sample.disk / 1e6:.2f}",
        str(sample.entries),
        str(sample.cores),
        f"{sample.noise:.2f}",
    ]
