"""PHP: the script by the command line (php(1))."""

from __future__ import annotations

import re

from pycoredump.analysis.image import Image
from pycoredump.analysis.interpreters import commandline
from pycoredump.analysis.interpreters.commandline import Options
from pycoredump.analysis.model import ScriptTrace

OPTIONS = Options(code="rRBE", file="fF", valued="cdgztS")


class Php:
    name = "PHP"
    program = re.compile(r"php(-cgi|-fpm)?[\d.]*")
    library = re.compile(r"libphp")

    def script(self, arguments: tuple[str, ...]) -> str:
        return commandline.script(arguments, OPTIONS)

    def frames(self, process: Image, *, deadline: float) -> tuple[ScriptTrace, ...]:
        return ()  # its structures differ from release to release, and no release describes them
