"""What we have changed, on disk before the first change: what revert needs beyond the marks in the files."""

from __future__ import annotations

import json
import os
import stat

from pycoredump.configure.tree import Tree
from pycoredump.errors import ConfigError

DIRECTORY = "/var/lib/pycoredump"
PATH = f"{DIRECTORY}/configure.json"
VERSION = 1


class Changed:
    """Everything of ours on the host, by path inside the root; grows while a plan is made."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}  # path -> our text if the file is ours as a whole, else ""
        self.made: list[str] = []  # directories created, parents first
        self.modes: dict[str, int | None] = {}  # directory -> mode before; None: there was none
        self.sysctl: dict[str, tuple[str, str]] = {}  # key -> (running value before, value set)

    def merged(self, other: Changed) -> Changed:
        """Both together; what `self` knows of the time before wins."""
        result = Changed()
        result.files = other.files | self.files | {p: t for p, t in other.files.items() if t}
        result.made = self.made + [path for path in other.made if path not in self.made]
        result.modes = other.modes | self.modes
        result.sysctl = {
            key: (self.sysctl.get(key, value)[0], value[1]) for key, value in other.sysctl.items()
        } | {key: value for key, value in self.sysctl.items() if key not in other.sysctl}
        return result

    def dump(self) -> str:
        """As JSON text. Undecodable bytes of file names and texts stay surrogates in \\u form."""
        return (
            json.dumps(
                {
                    "version": VERSION,
                    "files": self.files,
                    "made": self.made,
                    "modes": self.modes,
                    "sysctl": {key: list(pair) for key, pair in self.sysctl.items()},
                },
                indent=1,
                sort_keys=True,
            )
            + "\n"
        )

    def __bool__(self) -> bool:
        return bool(self.files or self.made or self.modes or self.sysctl)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Changed) and self.dump() == other.dump()

    def __hash__(self) -> int:
        raise TypeError("a record changes while a plan is made")


def _check_owner(tree: Tree) -> None:
    """What it names is undone by root: nobody else may have written it."""
    try:
        status = os.stat(tree.real(PATH))
    except FileNotFoundError:
        return  # only planned

    if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(
            f"{tree.real(PATH)} can be written by others than root",
            hint="look at it, then chown root and chmod 644",
        )


def load(tree: Tree) -> Changed:
    """The record of the root; an empty one if nothing was changed. ConfigError if it cannot be understood."""
    text = tree.read(PATH)
    changed = Changed()
    if text is None:
        return changed

    _check_owner(tree)

    try:
        data = json.loads(text)
        if data["version"] != VERSION:
            raise ValueError(f"version {data['version']}")

        changed.files = {str(path): str(ours) for path, ours in data["files"].items()}
        changed.made = [str(path) for path in data["made"]]
        changed.modes = {str(p): None if mode is None else int(mode) for p, mode in data["modes"].items()}
        changed.sysctl = {str(key): (str(pair[0]), str(pair[1])) for key, pair in data["sysctl"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as e:
        raise ConfigError(
            f"{tree.real(PATH)} is not our record: {e}",
            hint="move it away: revert then still finds every marked line, but not the kernel's old values",
        ) from e
    return changed
