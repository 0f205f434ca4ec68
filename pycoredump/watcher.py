"""Should the handler be killed, somebody still tells of the crash: a shell that waits for the end of a pipe.

Runs before the release: tests/test_hot_path.py lists what this module may import. A shell, as that takes
0.3 ms and half a MiB; only if nothing was written into the pipe when it ends does it start lost.py.
"""

from __future__ import annotations

import os
import sys

SHELL = "/bin/sh"
SCRIPT = 'read -r line || exec "$@"'
LIBRARY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOST = "import sys; sys.path.insert(0, sys.argv[1]); from pycoredump.lost import main; sys.exit(main(sys.argv[2:]))"


class Watcher:
    """Waits beside the handler until done() or the handler's death."""

    def __init__(self, *arguments: str) -> None:
        """`arguments` are those of lost.main(). OSError if nobody can be started."""
        reading, self.fd = os.pipe()  # neither end is inherited
        # Standard input is the core: whoever else holds it keeps the crashed process from being released.
        actions = [(os.POSIX_SPAWN_DUP2, reading, 0)]
        program = [sys.executable or "/usr/bin/python3", "-IS", "-c", LOST, LIBRARY, *arguments]
        try:
            os.posix_spawn(SHELL, [SHELL, "-c", SCRIPT, SHELL, *program], {}, file_actions=actions)
        finally:
            os.close(reading)

    def done(self) -> None:
        """The crash is told: nobody else needs to."""
        try:
            os.write(self.fd, b"done\n")
        except OSError:
            return  # it was killed itself
        os.close(self.fd)
