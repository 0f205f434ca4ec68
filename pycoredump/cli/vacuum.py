"""pycoredumpctl vacuum: archives go until the limits hold: those of the command line, or the configuration's."""

from __future__ import annotations

import os
import time

from pycoredump import retention, values
from pycoredump.cli import options, removal, search, times
from pycoredump.config import Config
from pycoredump.errors import ArgumentError

LIMITS = ("max-use", "keep-free", "older-than", "keep-per-program")


def run(command: options.Command) -> int:
    """ArgumentError, PycoredumpError. Nothing to remove is no failure."""
    if command.arguments:
        raise ArgumentError("vacuum takes no matches", hint="remove does.")
    limits = _limits(command)
    directory = search.place(command).cores
    if not os.path.isdir(directory):
        return _nothing(command)  # before the first crash, and the timer runs all the same

    removal.need_right(directory)
    names = victims(directory, limits)
    if not names:
        return _nothing(command)
    removed = removal.remove(command, directory, names)
    return 0 if removed == len(names) or command.has("dry-run") else 1


def _nothing(command: options.Command) -> int:
    if not command.has("quiet"):
        print("The limits hold; nothing to remove")
    return 0


def victims(directory: str, limits: Config) -> list[str]:
    """Names of what is too much, in the order in which the handler itself would remove it."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        space = os.fstatvfs(fd)
        chosen = retention.victims(
            retention.listing(fd),
            limits,
            now=int(time.time()),
            free=space.f_frsize * space.f_bavail,
            total=space.f_frsize * space.f_blocks,
        )
    finally:
        os.close(fd)
    return [file.name for file in chosen]


def _limits(command: options.Command) -> Config:
    """The configuration; where the command line has limits, these alone count."""
    config = search.configuration(command)
    if not any(command.has(name) for name in LIMITS):
        return config

    return config.replace(
        max_use=_size(command, "max-use") if command.has("max-use") else values.INFINITY,
        keep_free=_size(command, "keep-free") if command.has("keep-free") else 0,
        max_age=_age(command.get("older-than")) if command.has("older-than") else 0,
        keep_per_program=_number(command.get("keep-per-program")) if command.has("keep-per-program") else 0,
    )


def _size(command: options.Command, name: str) -> int:
    size = values.size(command.get(name))
    if not size:
        raise ArgumentError(f"--{name}=0 is no limit", hint="To remove all, `remove --until=now`.")
    return size


def _age(text: str) -> int:
    seconds = times.span(text) // times.SECOND
    if not seconds:
        raise ArgumentError("--older-than=0 is no limit", hint="To remove all, `remove --until=now`.")
    return seconds


def _number(text: str) -> int:
    number = values.number(text)
    if not number:
        raise ArgumentError("--keep-per-program=0 is no limit", hint="To remove all, `remove --until=now`.")
    return number
