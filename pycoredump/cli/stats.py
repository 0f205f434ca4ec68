"""pycoredumpctl stats: what crashes most, and when."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from pycoredump.cli import archives, facts, options, screen, search, tally, times
from pycoredump.cli.incidents import Incidents
from pycoredump.cli.screen import Style
from pycoredump.cli.table import Table
from pycoredump.cli.tally import Tally

ROWS = 10
BAR = 12  # characters


def run(command: options.Command) -> int:
    """NothingFound, but not for metrics: there, none is a figure like any other."""
    found = search.incidents(command)
    counted = tally.of(found.oldest_first(tally.NAMES))
    there = _disk(found)
    if command.has("prometheus"):
        _write(command.get("output"), "".join(f"{line}\n" for line in tally.prometheus(counted, **there)))
        return 0
    if not counted.times:
        raise search.NothingFound
    if command.get("json", "off") != "off":
        text_of_all = screen.json_text(tally.as_json(counted, **there), command.get("json"))
        _write(command.get("output"), f"{text_of_all}\n")
        return 0

    style = Style(colour=screen.wants_colour(tty=sys.stdout.isatty()) and not command.has("output"))
    lines = text(
        counted,
        style,
        rows=options.count(command) or ROWS,
        width=0 if command.has("output") else screen.columns(),
        legend=not command.has("no-legend"),
        **there,
    )
    if command.has("output"):
        _write(command.get("output"), "".join(f"{line}\n" for line in lines))
        return 0
    with screen.paged(wanted=not command.has("no-pager")):
        for line in lines:
            print(line)
    return 0


def _disk(found: Incidents) -> dict[str, int]:
    """Number and bytes of the archives, 0 where they cannot be listed."""
    if found.archives is None:
        return {"archives": 0, "stored": 0}
    stored = 0
    names = archives.listing(found.place.cores)
    for one in names:
        try:
            stored += os.stat(f"{found.place.cores}/{one.name}", follow_symlinks=False).st_blocks * 512
        except OSError:
            continue  # removed since
    return {"archives": len(names), "stored": stored}


def _write(path: str, text: str) -> None:
    """To standard output, or to a file that is replaced at once: a collector never sees half of it."""
    if not path:
        sys.stdout.write(text)
        return
    temporary = f"{path}.{os.getpid()}.tmp"  # node_exporter reads *.prom only
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        with open(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def text(
    counted: Tally, style: Style, *, rows: int, width: int, legend: bool, archives: int, stored: int
) -> Iterator[str]:
    """The tables and the histogram."""
    block = "█" if "utf" in (sys.stdout.encoding or "").lower() else "#"
    kept = f"; {screen.counted(archives, 'archive')}, {screen.size(stored)}" if archives else ""
    yield (
        f"{screen.counted(len(counted.times), 'crash')} of {screen.counted(len(counted.by['program']), 'program')}, "
        f"{times.short(min(counted.times))} to {times.short(max(counted.times))}{kept}"
    )
    for kind in Tally.KINDS:
        if counted.by[kind]:
            yield ""
            yield from _table(counted, kind, rows, block).lines(style, legend=legend, width=width)
            if len(counted.by[kind]) > rows:
                yield f"… and {len(counted.by[kind]) - rows} more"
    yield ""
    yield from _over_time(counted, style, block)


def _table(counted: Tally, kind: str, rows: int, block: str) -> Table:
    table = Table(("CRASHES", "", "LAST", kind.upper()), right=("CRASHES",), elastic=kind.upper())
    most = counted.most(kind)
    for name, count in most[:rows]:
        label = facts.account("UID", name) if kind == "user" else name
        label = f"{name}  {count.title}" if count.title else label
        bar = tally.bar(count.crashes, most[0][1].crashes, width=BAR, block=block)
        table.add(
            str(count.crashes), bar, times.short(count.last), screen.shown(label), codes={1: screen.RED}
        )
    return table


def _over_time(counted: Tally, style: Style, block: str) -> Iterator[str]:
    bins = counted.histogram()
    step = bins[1][0] - bins[0][0] if len(bins) > 1 else 0
    most = max(count for _, count in bins)
    yield style.paint(f"OVER TIME{f', each {tally.STEPS[step]}' if step else ''}", screen.UNDERLINE)
    wide = len(str(most))
    for start, count in bins:
        bar = style.paint(tally.bar(count, most, width=4 * BAR, block=block), screen.RED)
        yield f"{tally.bin_label(start, step)} {count:>{wide}} {bar}".rstrip()
