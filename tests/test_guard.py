from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import time

import pytest

from pycoredump import guard

ROOT = pathlib.Path(__file__).parents[1]

# The kernel starts the handler with 1 and 2 closed; precautions change the whole process, so in one of its own.
START = f"""
import sys
sys.path.insert(0, {os.fspath(ROOT)!r})
import os
from pycoredump import guard
os.dup2(1, 9)
os.close(1)
os.close(2)
said = []
problems = guard.secure(said.append)
"""


def secured(code: str) -> str:
    """What a fresh interpreter prints to descriptor 9 after taking all precautions."""
    text = (
        START + "def tell(*values):\n    os.write(9, (' '.join(map(str, values)) + '\\n').encode())\n" + code
    )
    done = subprocess.run(["/usr/bin/python3", "-ISc", text], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    return done.stdout


def test_closed_standard_descriptors_are_not_given_to_the_next_file() -> None:
    told = secured("tell(*[os.readlink(f'/proc/self/fd/{fd}') for fd in (1, 2)], os.open('/', 0) > 2)")
    assert told == "/dev/null /dev/null True\n"


def test_what_the_process_is_like_then() -> None:
    told = secured(
        "tell(problems, os.getcwd(), oct(os.umask(0)), os.getpriority(0, 0) >= 9,"
        " open('/proc/self/oom_score_adj').read().strip())"
    )
    assert told == "[] / 0o77 True 500\n"


def test_a_crash_of_the_handler_itself_starts_no_other_handler() -> None:
    """fs/coredump.c: with RLIMIT_CORE 1 nothing is piped, and what is not dumpable is not dumped at all."""
    code = "import resource, ctypes\ntell(resource.getrlimit(4)[0] <= 1, ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    assert secured(code) == "True 0\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGXCPU"])
def test_signals_that_would_end_it_are_told_and_survived(name: str) -> None:
    number = signal.Signals[name].value
    told = secured(f"os.kill(os.getpid(), {number})\ntell(said)")
    assert told == f"['Got signal {number}; the crash is finished all the same']\n"


def test_a_reader_that_went_away_and_a_file_that_is_too_large_are_errors_of_the_write() -> None:
    code = """
import resource
reading, writing = os.pipe()
os.close(reading)
try:
    os.write(writing, b"x")
except BrokenPipeError as e:
    tell(type(e).__name__)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
fd = os.open("/tmp", os.O_TMPFILE | os.O_RDWR)
try:
    os.write(fd, b"x")
except OSError as e:
    tell(e.strerror)
"""
    assert secured(code) == "BrokenPipeError\nFile too large\n"


def test_what_cannot_be_taken_is_named_and_costs_nothing() -> None:
    code = "def refuse(*_): raise OSError('no prctl')\nguard.prctl = refuse\ntell(guard.secure(said.append))"
    told = secured(code)
    assert told == "['The handler could not set its own dumpable: no prctl']\n"


def test_a_handler_that_is_nicer_already_stays_so() -> None:
    assert secured("os.setpriority(0, 0, 15)\nguard.be_nice()\ntell(os.getpriority(0, 0))") == "15\n"


def test_a_system_call_that_blocks_ends_with_a_time_out() -> None:
    reading, writing = os.pipe()
    begin = time.monotonic()
    with pytest.raises(TimeoutError), guard.TimeLimit(0.05):
        os.read(reading, 1)
    assert time.monotonic() - begin < 60
    os.close(reading)
    os.close(writing)


def test_after_the_block_nothing_is_limited_any_more() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with guard.TimeLimit(60):
        pass
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert signal.getsignal(signal.SIGALRM) == before


def test_an_error_in_the_block_lifts_the_limit_too() -> None:
    with pytest.raises(ValueError, match="x"), guard.TimeLimit(60):
        raise ValueError("x")
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
