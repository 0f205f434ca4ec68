"""Perl: the script by the command line (perlrun(1))."""

from __future__ import annotations

import re

from pycoredump.analysis.image import Image
from pycoredump.analysis.interpreters import commandline
from pycoredump.analysis.interpreters.commandline import Options
from pycoredump.analysis.model import ScriptTrace

OPTIONS = Options(code="eE", valued="I", attached="0CDFilMmVx")


class Perl:
    name = "Perl"
    program = re.compile(r"perl(5[\d.]*)?(-[\w-]+)?")
    library = re.compile(r"libperl\.so")

    def script(self, arguments: tuple[str, ...]) -> str:
        return commandline.script(arguments, OPTIONS)

    def frames(self, process: Image, *, deadline: float) -> tuple[ScriptTrace, ...]:
        return ()  # its structures differ from release to release, and no release describes them
