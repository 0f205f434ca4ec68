"""The host without anything of ours: the basis of every plan, and what revert makes true.

The record names the files; the marks in them are enough where it was lost.
"""

from __future__ import annotations

import re

from pycoredump.configure import directory, limits, lines, pam_plan, sshd, sysctl, systemd_manager
from pycoredump.configure.record import Changed
from pycoredump.configure.tree import Tree

# Where files of ours as a whole, or lines of ours, can be.
PLACES = (
    limits.DROP_INS,
    "/etc/ssh/sshd_config.d",
    "/etc/sysctl.d",
    "/etc/systemd/system.conf.d",
    "/etc/pam.d",
)
FILES = (limits.MAIN, sshd.MAINS[0], sysctl.CONF, directory.TMPFILES)


# A mark may stand above any of our lines; which file it is in does not matter.
OURS = re.compile(
    "|".join(
        pattern.pattern for pattern in (pam_plan.OURS, sshd.OURS, limits.OURS, sysctl.OURS, directory.OURS)
    )
)
# What our whole files are made of: for the day when the record is lost.
BODIES = re.compile(
    "|".join(
        [
            OURS.pattern,
            pam_plan.INCLUDE.pattern,
            *(re.escape(line) for line in (*directory.BODY, *systemd_manager.BODY)),
            *(re.escape(f"# {reason}") for reason in sysctl.REASONS.values()),
        ]
    )
)


def undo(tree: Tree, changed: Changed) -> None:
    """Plan every file as it would be without us."""
    for path in sorted({*changed.files, *FILES, *_ours(tree)}):
        text = tree.read(path)
        if text is None:
            continue

        if lines.is_whole(text):
            tree.write(path, lines.remove_whole(text, changed.files.get(path, ""), BODIES))
        elif lines.marked(text):
            tree.write(path, lines.remove(text, OURS))


def _ours(tree: Tree) -> list[str]:
    paths = [f"{place}/{name}" for place in PLACES for name in tree.files(place)]
    return [path for path in paths if "pycoredump" in path or path.startswith("/etc/pam.d/")]
