"""The exceptions of pycoredump. Each says what went wrong and, where known, what to do now.

Imported before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations


class PycoredumpError(Exception):
    """What went wrong, as one sentence; `hint` is what to do now. Only the programs' main() prints it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ArgumentError(PycoredumpError):
    """The kernel (or a person) passed arguments that cannot be understood."""


class ConfigError(PycoredumpError):
    """A value in a configuration file cannot be used."""


class CoreError(PycoredumpError):
    """The bytes are not an ELF core that can be understood."""


class ArchiveError(PycoredumpError):
    """The file is not one of our archives, or is damaged."""


class ProcessGone(PycoredumpError):
    """The process (its memory) vanished while it was read."""
