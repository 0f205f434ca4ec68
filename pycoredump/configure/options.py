"""The command line of pycoredump-configure(8)."""

from __future__ import annotations

import argparse
import shlex
from typing import NoReturn

from pycoredump import VERSION
from pycoredump.configure.number import natural
from pycoredump.configure.request import CORE_LIMIT, UNLIMITED, Request
from pycoredump.errors import ArgumentError

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


def command(options: argparse.Namespace) -> str:
    """The command that makes the settings that were asked about."""
    words = ["pycoredump-configure", "apply"]
    words += ["--root", options.root] if options.root != "/" else []
    words += ["--mode", options.mode] if options.mode != "pipe" else []
    words += [word for name in options.domain or [] for word in ("--domain", name)]
    words += ["--core-limit", options.core_limit] if options.core_limit != DEFAULT_LIMIT else []
    return shlex.join([*words, "--services"] if options.services else words)
