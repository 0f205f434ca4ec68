"""The program pycoredump-configure(8). Only this module prints."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
from types import FrameType

from pycoredump.configure import change, directory, options, report
from pycoredump.configure.disk import Disk
from pycoredump.configure.kernel import Kernel
from pycoredump.configure.plan import Plan
from pycoredump.configure.tree import Change
from pycoredump.errors import ArgumentError, PycoredumpError

HOLDS, OPEN, FAILED = 0, 1, 2  # exit statuses


def check(given: argparse.Namespace, kernel: Kernel | None) -> int:
    """Show every item. 0 if all hold."""
    found = change.check(given.root, options.request(given), kernel)
    if given.json:
        print(report.as_json(found, options.command(given)))
    else:
        print(*report.items(found, options.command(given)), report.summary(found), sep="\n")
    return HOLDS if all(item.holds() for item in found) else OPEN


def apply(given: argparse.Namespace, kernel: Kernel | None) -> int:
    """Make every setting. 0 if all hold then."""
    wanted = options.request(given)
    if given.dry_run:
        plan = change.planned(given.root, wanted, kernel)
        mode = [] if plan.mode is None else [f"{directory.PATH}: mode {plan.mode:04o}"]
        _print_plan(given, plan.changes, mode, plan.kernel | _back(plan, kernel))
        return HOLDS

    _need_root(kernel)
    done, found = change.apply(given.root, wanted, kernel, disk=Disk())
    if given.json:
        print(report.as_json(found, options.command(given), done=done))
    else:
        print(*(done or ["nothing to change"]), sep="\n")
        told = [item for item in found if not item.holds() or item.hint]
        print(*report.items(told, options.command(given)), report.summary(found), sep="\n")
    return HOLDS if all(item.holds() for item in found) else OPEN


def _need_root(kernel: Kernel | None) -> None:
    if kernel is not None and os.geteuid() != 0:
        raise PycoredumpError(
            "Only root can change this host", hint="sudo, or --dry-run to see what would be"
        )


def revert(given: argparse.Namespace, kernel: Kernel | None) -> int:
    """Take everything back."""
    if given.dry_run:
        plan = change.unplanned(given.root)
        before = plan.before.modes.get(directory.PATH, 0)
        mode = [f"{directory.PATH}: removed if it is empty"] if before is None else []
        mode += [f"{directory.PATH}: mode {before:04o}"] if before else []
        _print_plan(given, plan.changes, mode, _back(plan, kernel))
        return HOLDS

    _need_root(kernel)
    done = change.revert(given.root, kernel, disk=Disk())
    print(json.dumps({"done": done}, indent=1) if given.json else "\n".join(done or ["nothing to revert"]))
    return HOLDS


def _back(plan: Plan, kernel: Kernel | None) -> dict[str, tuple[str, str]]:
    """The running values that would be as they were before an earlier apply: (now, then)."""
    return {key: (ours, old) for key, (old, ours) in plan.back.items()} if kernel else {}


def _print_plan(
    given: argparse.Namespace,
    changes: list[Change],
    other: list[str],
    pending: dict[str, tuple[str, str]],
) -> None:
    diff = list(report.diff(changes))
    text = [*diff, *other, *report.running(pending)]
    if given.json:
        files = [one.path for one in changes]
        print(
            json.dumps(
                {"files": files, "running": pending, "other": other, "diff": "\n".join(diff)}, indent=1
            )
        )
    elif sys.stdout.isatty():
        print(*("\t".join(report.shown(part) for part in line.split("\t")) for line in text), sep="\n")
    elif text:
        sys.stdout.flush()
        sys.stdout.buffer.write("".join(f"{line}\n" for line in text).encode("utf-8", "surrogateescape"))


def _prepare_output() -> None:
    """Whatever the locale and whoever has closed standard output: a message is no reason to fail."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: else a file of the host would get it
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Let the interpreter not try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt  # so that a transaction that is under way is taken back


def main(argv: list[str] | None = None) -> int:
    """Run the program; the exit status: 0 every item holds, 1 some does not, 2 nothing could be done."""
    _prepare_output()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        given = options.parser().parse_args(argv)
        if not os.path.isdir(given.root):
            raise ArgumentError(f"--root {given.root!r} is not a directory")

        # The kernel that runs is the host's: an image's settings wait for its boot.
        kernel = Kernel() if os.path.realpath(given.root) == "/" else None
        given.root = os.path.realpath(given.root)
        status = {"check": check, "apply": apply, "revert": revert}[given.verb](given, kernel)
        sys.stdout.flush()
        return status
    except PycoredumpError as e:
        message = f"{e} ({e.hint})" if e.hint else str(e)
        print(f"pycoredump-configure: {report.shown(message)}", file=sys.stderr)
    except BrokenPipeError:  # as by "| head": everything was done before it was printed
        _drop_output()
    except OSError as e:
        where = report.shown(os.fsdecode(e.filename)) if e.filename else "standard output"
        print(f"pycoredump-configure: {where}: {e.strerror}", file=sys.stderr)
        _drop_output()
    except KeyboardInterrupt:
        print("pycoredump-configure: interrupted; what was begun was taken back", file=sys.stderr)
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
