"""Writes from the tables in the code what the manual and the example configuration repeat of them."""

from __future__ import annotations

import pathlib
import re
import sys
import textwrap
from collections.abc import Callable

from pycoredump import crash, journal
from pycoredump.options import OPTIONS, Option

SOURCE = pathlib.Path(__file__).parents[1]
EXAMPLE = "pycoredump.conf"
WIDTH = 100

EXAMPLE_HEAD = """\
# What pycoredump keeps of each crash, and for how long. See pycoredump.conf(5).
#
# Each option stands here with its default. Drop-ins in /etc/pycoredump.conf.d/*.conf win over this file. The
# next crash is handled as the files say then; nothing needs to be restarted. A line that cannot be
# understood is ignored, and each crash's entry says so.

[Coredump]
"""

SPECIFIERS = {
    "pid": "the process, by its number on the host (not that inside a container)",
    "signal": "number of the signal that it died of",
    "timestamp": "seconds since 1970",
    "comm": "name of the crashing thread",
    "uid": "real user, as the host counts",
    "gid": "real group",
    "rlimit": "soft limit RLIMIT_CORE in bytes",
    "dumpable": "1 for a normal process, 2 for one that had changed its privileges; without it, every process counts "
    "as such, and its core is root's alone",
    "pidfd": "a descriptor of the process, so that its number cannot be taken over by another one (Linux 6.16)",
    "tid": "the crashing thread",
    "hostname": "name of the host, or of the container",
}


def escaped(text: str) -> str:
    """Text for mdoc(7): nothing in it is a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"(?m)^([.'])", r"\\&\1", text)


def paragraph(label: str, text: str) -> str:
    """An item of a list. The label is mdoc(7), the text is plain."""
    # mdoc(7) wants each sentence to begin a line.
    sentences = re.split(r"(?<=[.?!]) (?=[A-Z0-9])", text)
    body = "\n".join(
        textwrap.fill(one, WIDTH, break_long_words=False, break_on_hyphens=False) for one in sentences
    )
    return f".It {label}\n{escaped(body)}"


def option(one: Option) -> str:
    value = f" Ns Li {one.default}" if one.default else ""
    return paragraph(f"Va {one.name} Ns ={value}", one.text)


def options() -> str:
    return "\n".join(map(option, OPTIONS))


def specifiers() -> str:
    return "\n".join(
        paragraph(f"Li \\&{specifier}", SPECIFIERS[field]) for specifier, field in crash.SPECIFIERS
    )


def fields() -> str:
    return "\n".join(paragraph(f"Va {name}", text) for name, text in journal.OWN_FIELDS.items())


def standard() -> str:
    return _listed(list(journal.STANDARD_FIELDS), "Va")


def _listed(names: list[str], macro: str) -> str:
    return "\n".join(f".{macro} {name} {'.' if name == names[-1] else ','}" for name in names)


def signals() -> str:
    return _listed([name for _, name in sorted(crash.SIGNALS.items())], "Dv")


PARTS: dict[str, Callable[[], str]] = {
    "options": options,
    "specifiers": specifiers,
    "fields": fields,
    "signals": signals,
    "standard": standard,
}


def filled(page: str) -> str:
    """The page with what stands between the marks of each part made anew."""

    def part(found: re.Match[str]) -> str:
        return f"{found[1]}{PARTS[found[2]]()}\n{found[3]}"

    return re.sub(r'(?ms)^(\.\\" begin (\w+)\n).*?^(\.\\" end \2)$', part, page)


def example() -> str:
    """The example configuration: every option, commented out, with its default."""
    parts = [EXAMPLE_HEAD]
    for one in OPTIONS:
        text = textwrap.fill(
            one.text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
        )
        parts.append(f"\n{text}\n#{one.name}={one.default}\n")
    return "".join(parts)


def main() -> int:
    """Write what changed."""
    for path in sorted((SOURCE / "man").glob("*.[1-8]")):
        before = path.read_text()
        if filled(before) != before:
            path.write_text(filled(before))
            print(path.relative_to(SOURCE))
    target = SOURCE / EXAMPLE
    if not target.exists() or target.read_text() != example():
        target.write_text(example())
        print(EXAMPLE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
