from __future__ import annotations

import json
import os
import pathlib
import select
import subprocess
import time

import pytest

from pycoredump import watcher
from pycoredump.watcher import Watcher

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def told(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Where what is started in the place of lost.py writes its arguments."""
    file = tmp_path / "told"
    code = f"import json, os, sys; open({os.fspath(file)!r} + '.new', 'w').write(json.dumps(sys.argv[2:]))\n"
    monkeypatch.setattr(
        watcher, "LOST", f"{code}os.rename({os.fspath(file)!r} + '.new', {os.fspath(file)!r})"
    )
    return file


def appears(path: pathlib.Path, *, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)
    return path.exists()


def reap() -> None:
    """Wait for the shell, our only child."""
    os.wait()


ARGUMENTS = ["/etc", "/usr/lib", "handler", "4711", "11", "1", "a 'b' $c\n", ""]


def test_death_without_a_word_starts_who_tells_of_the_crash(told: pathlib.Path) -> None:
    os.close(Watcher(*ARGUMENTS).fd)
    assert appears(told, seconds=60)
    assert json.loads(told.read_text()) == ARGUMENTS
    reap()


def test_a_crash_that_is_told_is_not_told_twice(told: pathlib.Path) -> None:
    Watcher(*ARGUMENTS).done()
    reap()
    assert not told.exists()


def test_a_watcher_that_was_killed_is_no_failure(told: pathlib.Path) -> None:
    one = Watcher(*ARGUMENTS)
    (child,) = children()
    os.kill(child, 9)
    reap()
    one.done()
    assert not told.exists()


def children() -> list[int]:
    return [int(pid) for pid in pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def test_where_nothing_can_be_started_it_is_an_os_error(monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(watcher, "SHELL", "/nowhere")
    with pytest.raises(FileNotFoundError):
        Watcher(*ARGUMENTS)
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_the_core_is_let_go_while_somebody_still_watches() -> None:
    """The kernel waits until nobody holds its stream."""
    code = (
        f"import sys, os; sys.path.insert(0, {os.fspath(ROOT)!r}); from pycoredump.watcher import Watcher\n"
        "one = Watcher('a'); os.close(0); os.write(1, b'x'); os.read(int(sys.argv[1]), 1); one.done()"
    )
    stream, kernel = os.pipe()
    waiting, go = os.pipe()
    with subprocess.Popen(
        ["/usr/bin/python3", "-ISc", code, str(waiting)],
        stdin=stream,
        stdout=subprocess.PIPE,
        pass_fds=[waiting],
    ) as process:
        os.close(stream)
        assert process.stdout is not None
        assert process.stdout.read(1) == b"x"
        poll = select.poll()
        poll.register(kernel, select.POLLERR)
        assert poll.poll(10_000) == [(kernel, select.POLLERR)]  # no reader is left
        os.write(go, b"x")
    for fd in (kernel, waiting, go):
        os.close(fd)
