"""The program pycoredump-configure(8). Only this module prints."""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
import signal
import sys
from types import FrameType
from typing import NoReturn

from pycoredump import VERSION
from pycoredump.configure import change, directory, report
from pycoredump.configure.disk import Disk
from pycoredump.configure.kernel import Kernel
from pycoredump.configure.number import natural
from pycoredump.configure.plan import Plan
from pycoredump.configure.request import CORE_LIMIT, UNLIMITED, Request
from pycoredump.configure.tree import Change
from pycoredump.errors import ArgumentError, PycoredumpError

HOLDS, OPEN, FAILED = 0, 1, 2  # exit statuses
PAGE = 4  # KB; the kernel writes no core where the limit is below a page (binfmt_elf.c, min_coredump)
DEFAULT_LIMIT = str(CORE_LIMIT // 1024)  # KB
LIMIT_MAX = UNLIMITED // 1024


class Parser(argparse.ArgumentParser):
    """Raises for a mistake of the user, so that it becomes one line."""

    def error(self, message: str) -> NoReturn:
        raise ArgumentError(message, hint=f"{self.prog} --help")


def core_limit(text: str) -> int:
    """KB or "unlimited" as bytes. ArgumentError for anything that turns no core dumps on."""
    if text == "unlimited":
        return UNLIMITED

    kilobytes = natural(text)
    if kilobytes is None or not PAGE <= kilobytes < LIMIT_MAX:
        raise ArgumentError(
            f"--core-limit {text!r} is not a limit", hint=f"a number of KB from {PAGE} on, or unlimited"
        )

    return kilobytes * 1024


def domain(text: str) -> str:
    """A domain of limits.conf(5). ArgumentError for what would not be one word of a line there."""
    if not text or text == "@" or text.startswith(("-", "%")) or not text.isprintable():
        raise ArgumentError(f"--domain {text!r} is not a user, @group or *")

    if any(c.isspace() or c in "#:" for c in text):
        raise ArgumentError(f"--domain {text!r} is not a user, @group or *", hint="one name, no spaces")

    return text


def parser() -> Parser:
    """The command line of pycoredump-configure(8)."""
    top = Parser(prog="pycoredump-configure", description="Turn core dumps on, prove it, undo it.")
    top.add_argument("--version", action="version", version=VERSION)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="check|apply|revert")
    for name, text in (
        ("check", "show every setting and whether it is in effect"),
        ("apply", "make every setting"),
        ("revert", "take back everything that apply did"),
    ):
        verb = verbs.add_parser(name, help=text, description=f"{text.capitalize()}.")
        verb.add_argument(
            "--root", metavar="DIR", default="/", help="work on an image; nothing outside is touched"
        )
        verb.add_argument("--json", action="store_true", help="print JSON")
        if name != "check":
            verb.add_argument("--dry-run", action="store_true", help="print the diff, change nothing")
        if name != "revert":
            _add_settings(verb)
    return top


def _add_settings(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--mode", choices=("pipe", "file"), default="pipe", help="who writes the core (pipe)")
    verb.add_argument(
        "--domain", action="append", metavar="NAME", help="user, @group or *; repeatable (root)"
    )
    verb.add_argument(
        "--core-limit",
        metavar="KB",
        default=DEFAULT_LIMIT,
        help="or unlimited (1048576)",
    )
    verb.add_argument("--services", action="store_true", help="also systemd's DefaultLimitCORE")


def request(options: argparse.Namespace) -> Request:
    """The options of check and apply as a request."""
    named = dict.fromkeys(domain(text) for text in options.domain or ["root"])
    return Request(
        mode=options.mode,
        domains=tuple(named),
        core_limit=core_limit(options.core_limit),
        services=options.services,
    )


def _command(options: argparse.Namespace) -> str:
    """The command that makes the settings that were asked about."""
    words = ["pycoredump-configure", "apply"]
    words += ["--root", options.root] if options.root != "/" else []
    words += ["--mode", options.mode] if options.mode != "pipe" else []
    words += [word for name in options.domain or [] for word in ("--domain", name)]
    words += ["--core-limit", options.core_limit] if options.core_limit != DEFAULT_LIMIT else []
    return shlex.join([*words, "--services"] if options.services else words)


def check(options: argparse.Namespace, kernel: Kernel | None) -> int:
    """Show every item. 0 if all hold."""
    found = change.check(options.root, request(options), kernel)
    if options.json:
        print(report.as_json(found, _command(options)))
    else:
        print(*report.items(found, _command(options)), report.summary(found), sep="\n")
    return HOLDS if all(item.holds() for item in found) else OPEN


def apply(options: argparse.Namespace, kernel: Kernel | None) -> int:
    """Make every setting. 0 if all hold then."""
    wanted = request(options)
    if options.dry_run:
        plan = change.planned(options.root, wanted, kernel)
        mode = [] if plan.mode is None else [f"{directory.PATH}: mode {plan.mode:04o}"]
        _print_plan(options, plan.changes, mode, plan.kernel | _back(plan, kernel))
        return HOLDS

    _need_root(kernel)
    done, found = change.apply(options.root, wanted, kernel, disk=Disk())
    if options.json:
        print(report.as_json(found, _command(options), done=done))
    else:
        print(*(done or ["nothing to change"]), sep="\n")
        told = [item for item in found if not item.holds() or item.hint]
        print(*report.items(told, _command(options)), report.summary(found), sep="\n")
    return HOLDS if all(item.holds() for item in found) else OPEN


def _need_root(kernel: Kernel | None) -> None:
    if kernel is not None and os.geteuid() != 0:
        raise PycoredumpError(
            "Only root can change this host", hint="sudo, or --dry-run to see what would be"
        )


def revert(options: argparse.Namespace, kernel: Kernel | None) -> int:
    """Take everything back."""
    if options.dry_run:
        plan = change.unplanned(options.root)
        before = plan.before.modes.get(directory.PATH, 0)
        mode = [f"{directory.PATH}: removed if it is empty"] if before is None else []
        mode += [f"{directory.PATH}: mode {before:04o}"] if before else []
        _print_plan(options, plan.changes, mode, _back(plan, kernel))
        return HOLDS

    _need_root(kernel)
    done = change.revert(options.root, kernel, disk=Disk())
    print(json.dumps({"done": done}, indent=1) if options.json else "\n".join(done or ["nothing to revert"]))
    return HOLDS


def _back(plan: Plan, kernel: Kernel | None) -> dict[str, tuple[str, str]]:
    """The running values that would be as they were before an earlier apply: (now, then)."""
    return {key: (ours, old) for key, (old, ours) in plan.back.items()} if kernel else {}


def _print_plan(
    options: argparse.Namespace,
    changes: list[Change],
    other: list[str],
    pending: dict[str, tuple[str, str]],
) -> None:
    diff = list(report.diff(changes))
    text = [*diff, *other, *report.running(pending)]
    if options.json:
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
        options = parser().parse_args(argv)
        if not os.path.isdir(options.root):
            raise ArgumentError(f"--root {options.root!r} is not a directory")

        # The kernel that runs is the host's: an image's settings wait for its boot.
        kernel = Kernel() if os.path.realpath(options.root) == "/" else None
        options.root = os.path.realpath(options.root)
        status = {"check": check, "apply": apply, "revert": revert}[options.verb](options, kernel)
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
