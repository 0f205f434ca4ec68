"""The analysis as a unit of its own: started for one connection, as systemd starts it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import socket
import subprocess
import threading
from collections.abc import Iterator

import elfcore
import pytest

from pycoredump.analysis import sandbox, service
from pycoredump.analysis.model import Facts

SOURCE = pathlib.Path(__file__).parents[1]
UNIT = SOURCE / "systemd" / "pycoredump-analysis@.service"
SECONDS = 60


def command() -> list[str]:
    """ExecStart= of the unit, on this checkout."""
    found = re.search(r'^ExecStart=(\S+ -I -c) "(.*)"$', UNIT.read_text(), re.MULTILINE)
    assert found is not None
    return [*found[1].split(), found[2].replace("/usr/lib/pycoredump", os.fspath(SOURCE))]


def start(connection: socket.socket) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(), stdin=connection.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def unit(tmp_path: pathlib.Path) -> Iterator[str]:
    """A socket whose connections are answered by the unit's command."""
    path = os.fspath(tmp_path / "analysis")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        with answering(listener, command()):
            yield path


@contextlib.contextmanager
def answering(listener: socket.socket, argv: list[str]) -> Iterator[None]:
    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    subprocess.run(argv, stdin=connection.fileno(), stdout=subprocess.DEVNULL, check=False)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def core() -> Iterator[int]:
    segment = elfcore.Segment(start=0x7FFF_0000_0000, data=elfcore.contents(elfcore.PAGE))
    thread = elfcore.Thread(pc=0x40_0000, sp=segment.start)
    fd = os.memfd_create("core")
    os.write(fd, elfcore.core(threads=[thread], segments=[segment], signal=elfcore.Siginfo()))
    try:
        yield fd
    finally:
        os.close(fd)


def test_the_unit_says_what_the_handlers_child_says(unit: str, core: int) -> None:
    facts = Facts(signal=11, comm="prog")

    asked = service.analyse(core, [], facts, seconds=SECONDS, path=unit)

    assert asked == service.analyse(core, [], facts, seconds=SECONDS, path="")
    assert [thread.tid for thread in asked.threads] == [4711]


def test_without_a_unit_the_handler_helps_itself(tmp_path: pathlib.Path, core: int) -> None:
    found = service.analyse(core, [], Facts(), seconds=SECONDS, path=f"{tmp_path}/nobody")

    assert [thread.tid for thread in found.threads] == [4711]


def test_ready_comes_before_anything_slow() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, start(theirs) as process:
        ours.settimeout(SECONDS)
        assert ours.recv(64) == service.READY  # it has not been told what to do yet
        ours.send(b"something else")
        assert process.communicate()[1] == (
            "pycoredump-analysis: The request is not one of pycoredump's handler\n"
        )


def test_a_handler_that_could_not_wait_is_no_failure_of_the_unit() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    with theirs, start(theirs) as process:
        assert process.communicate()[1] == ""
        assert process.returncode == 0


def test_a_unit_that_breaks_off_is_named(tmp_path: pathlib.Path, core: int) -> None:
    path = os.fspath(tmp_path / "analysis")
    broken = "import os, socket; socket.socket(fileno=os.dup(0)).send(b'ready')"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        with (
            answering(listener, ["/usr/bin/python3", "-IS", "-c", broken]),
            pytest.raises(sandbox.SandboxError, match=r"broke off|ended before its answer"),
        ):
            service.analyse(core, [], Facts(), seconds=SECONDS, path=path)
