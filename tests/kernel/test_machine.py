"""The machine is as it was after a test run, however that ended."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import keeper
import pytest
from machine import Unavailable, machine, obstacle

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.root,
    pytest.mark.skipif(bool(obstacle()), reason=obstacle() or "it can run"),
]
HERE = pathlib.Path(__file__).parent

# Registers a handler, then ends by a signal in the middle.
RUN = """
import os, sys, signal, time
sys.path[:0] = [{here!r}, {root!r}]
import launchers, machine
with machine.machine(directory={directory!r}) as taken:
    taken.register(launchers.floor(taken.directory))
    print(open("/proc/sys/kernel/core_pattern").read(), flush=True)
    os.kill(os.getpid(), {number})
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_settings_come_back_when_the_run_is_killed(number: signal.Signals) -> None:
    # Also the directory must not stay; SIGKILL leaves it, so it lies in one of ours.
    with tempfile.TemporaryDirectory(prefix="pycoredump-") as directory:
        text = RUN.format(
            here=os.fspath(HERE), root=os.fspath(HERE.parents[1]), directory=directory, number=int(number)
        )
        run = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
        assert "/floor" in run.stdout, run.stderr
        try:
            with machine():  # waits for the keeper of the killed run, which holds the lock until it is done
                now = {name: keeper.read(name) for name in keeper.SETTINGS}
        except Unavailable as e:
            pytest.skip(str(e))
    assert "pycoredump-" not in now["/proc/sys/kernel/core_pattern"]
