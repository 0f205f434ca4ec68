"""Shells: the script by the command line (sh(1), bash(1))."""

from __future__ import annotations

import re

from pycoredump.analysis.image import Image
from pycoredump.analysis.interpreters import commandline
from pycoredump.analysis.interpreters.commandline import Options
from pycoredump.analysis.model import ScriptTrace

OPTIONS = Options(code="c", valued="oO", words=frozenset({"--rcfile", "--init-file"}))


class Shell:
    name = "shell"
    program = re.compile(r"(ba|da|k|mk|z|a|pdk|ya)?sh([\d.]*|-static)|busybox")
    library = None

    def script(self, arguments: tuple[str, ...]) -> str:
        return commandline.script(arguments, OPTIONS)

    def frames(self, process: Image, *, deadline: float) -> tuple[ScriptTrace, ...]:
        return ()  # its structures differ from release to release, and no release describes them
