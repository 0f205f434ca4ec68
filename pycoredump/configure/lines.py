"""Lines we add to files that are not ours, so marked that they can be taken out again to the byte.

Only whole lines are ever added; no foreign byte changes. Each added line has a mark above it. Every
format edited here (PAM, limits.conf, sshd_config, sysctl.conf) takes a line that begins with # as a comment.
"""

from __future__ import annotations

import collections
import os
import re

MARK = '# pycoredump-configure added the next line; "pycoredump-configure revert" removes both.'
# The file did not end in a line break: one was added, and goes too if nothing came after it since.
MARK_BREAK = (
    '# pycoredump-configure added the next line and a line break before this one; "revert" removes all.'
)
APART_MAX = 10  # lines: as far as that, our line is looked for below its mark
# The first line of a file that is ours as a whole.
HEADER = '# Written by pycoredump-configure; "pycoredump-configure revert" removes this file.'


def split(text: str) -> list[str]:
    """The lines with their ends. Only \\n ends a line: str.splitlines() also knows \\x0c, \\x85 and others."""
    *ended, rest = text.split("\n")
    return [f"{line}\n" for line in ended] + ([rest] if rest else [])


def insert(text: str, at: int, added: list[str]) -> str:
    """The text with the lines added before line number `at` (from 0; the number of lines: at the end).

    The added lines end in \\n also in a file of CR LF lines: libpam would take the CR for part of a word.
    """
    lines = split(text)
    unended = at >= len(lines) and text != "" and not text.endswith("\n")
    block = [f"{MARK}\n{line}\n" for line in added]
    if unended and block:
        block[0] = f"\n{MARK_BREAK}\n{added[0]}\n"

    return "".join(lines[:at]) + "".join(block) + "".join(lines[at:])


def remove(text: str, ours: re.Pattern[str]) -> str:
    """The text without our marks and without the line below each that is still as we wrote it."""
    found = split(text)
    bare = [line.rstrip("\r\n") for line in found]
    gone: set[int] = set()
    for number, line in enumerate(bare):
        if line in (MARK, MARK_BREAK):
            gone |= {number, *_below(bare, number, ours)}
    kept = [line for number, line in enumerate(found) if number not in gone]
    broken = max((number for number, line in enumerate(bare) if line == MARK_BREAK), default=len(found))
    if kept and broken < len(found) and gone.issuperset(range(broken, len(found))):
        # Who turned the whole file into CR LF lines did so with our line break too.
        kept[-1] = kept[-1].removesuffix("\r\n" if found[broken].endswith("\r\n") else "\n")
    return "".join(kept)


def _below(bare: list[str], mark: int, ours: re.Pattern[str]) -> list[int]:
    """The number of the line that a mark is about; others may have put lines of theirs in between."""
    for number in range(mark + 1, min(mark + 1 + APART_MAX, len(bare))):
        if bare[number] in (MARK, MARK_BREAK):
            break
        if ours.fullmatch(bare[number]):
            return [number]
    return []


def marked(text: str) -> bool:
    """Whether we have added something to this file."""
    return any(line.rstrip("\r\n") in (MARK, MARK_BREAK) for line in split(text))


def whole(body: list[str]) -> str:
    """The text of a file that is ours as a whole."""
    return "".join(f"{line}\n" for line in [HEADER, *body])


def is_whole(text: str) -> bool:
    """Whether this file is ours as a whole: who takes our first line out has taken it over."""
    return any(line.rstrip("\r\n") == HEADER for line in split(text))


def remove_whole(text: str, written: str, ours: re.Pattern[str]) -> str | None:
    """What others have put into a file of ours; None: nothing, so the file goes.

    `written` is what we wrote; where that is not known, it is each line that `ours` matches, once.
    """
    found = [line.rstrip("\r\n") for line in split(text)]
    known = (
        written.split("\n")
        if written
        else {line for line in found if line == HEADER or ours.fullmatch(line)}
    )
    left = collections.Counter(line for line in known if line)
    foreign = []
    for line, bare in zip(split(text), found, strict=True):
        left[bare] -= 1
        foreign.append((line, left[bare] < 0))
    if not any(theirs and line.strip() for line, theirs in foreign):
        return None

    # A section stays: what others have put below it belongs to it.
    return "".join(line for line, theirs in foreign if theirs or line.startswith("["))


def last_name(usual: str, others: list[str]) -> str:
    """A name of ours, the usual one if it may, that sorts as bytes after all others and is none of them."""
    last = max(others, key=os.fsencode, default="")
    for name in (usual, "zz-pycoredump.conf"):
        if os.fsencode(last) < os.fsencode(name):
            return name

    return f"{last.removesuffix('.conf')}~pycoredump.conf"
