"""The unit's way: a request over a socket, as systemd activates it, and peers that do not do what they should."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pycoredump.analysis import sandbox, service
from pycoredump.analysis.model import Facts, Report
from pycoredump.errors import PycoredumpError

sys.path.append(os.fspath(pathlib.Path(__file__).parents[1]))

import elfcore

CHECKOUT = pathlib.Path(__file__).parents[2]
FACTS = Facts(comm="prog", exe="/usr/bin/prog", arguments=("prog", "--now"))
PROGRAM = f"""
import sys
sys.path.insert(0, {os.fspath(CHECKOUT)!r})
from pycoredump.analysis.service import main
sys.exit(main())
"""
OTHER_USER = 45001
SECONDS = 20


@pytest.fixture
def core(tmp_path: pathlib.Path) -> Iterator[int]:
    path = tmp_path / "core"
    path.write_bytes(elfcore.linux_process().core())
    fd = os.open(path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def place() -> Iterator[str]:
    """A path for a socket; those of pytest may be too long for one."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        yield f"{directory}/socket"


Peer = Callable[[socket.socket], None]


@pytest.fixture
def serving(place: str) -> Iterator[Callable[[Peer], str]]:
    """Lets a function be the other end of one connection; the path of its socket."""
    threads: list[threading.Thread] = []
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(place)
    os.chmod(place, 0o777)
    listener.listen()

    def serve(peer: Peer) -> str:
        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                peer(connection)

        threads.append(threading.Thread(target=accept, daemon=True))
        threads[-1].start()
        return place

    yield serve
    listener.close()
    for thread in threads:
        thread.join(10)


@pytest.fixture
def unit(place: str) -> Iterator[str]:
    """The service behind a socket that starts one for each connection."""
    if shutil.which("systemd-socket-activate") is None:
        pytest.skip("needs systemd-socket-activate")
    process = subprocess.Popen(
        ["systemd-socket-activate", "--seqpacket", "-a", "--inetd", "-l", place, "/usr/bin/python3", "-I", "-c", PROGRAM],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + SECONDS
    while not os.path.exists(place) and time.monotonic() < end:
        time.sleep(0.02)
    yield place
    process.send_signal(signal.SIGTERM)
    process.wait(SECONDS)


def analysed(core: int, path: str, *, seconds: int = SECONDS) -> Report:
    return service.analyse(core, [], FACTS, seconds=seconds, path=path)


def test_the_unit_answers_as_the_child_does(core: int, unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    by_child = analysed(core, "")
    monkeypatch.setattr(sandbox, "Child", None)  # nobody else is asked
    monkeypatch.setattr(service, "START_SECONDS", float(SECONDS))
    assert analysed(core, unit) == by_child
    assert by_child.threads
    assert by_child.title == "SIGSEGV in prog+0x1234 (prog)"


def test_the_unit_takes_more_descriptors_than_one_message_does(
    core: int, unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "Child", None)
    monkeypatch.setattr(service, "START_SECONDS", float(SECONDS))
    modules = [(b"/lib/%d.so" % number, core) for number in range(2 * service.PASSED_MAX)]
    assert service.analyse(core, modules, FACTS, seconds=SECONDS, path=unit).threads


def test_the_sandbox_is_at_work_until_its_report_is_wanted(core: int, unit: str) -> None:
    begun = [service.Request(core, [], FACTS, seconds=SECONDS, path=path) for path in (unit, "", "")]
    reports = [one.report() for one in begun]
    assert reports[0] == reports[1] == reports[2]
    assert reports[0].threads


def closes(connection: socket.socket) -> None:
    pass


def says_garbage(connection: socket.socket) -> None:
    connection.send(b"hello")


def is_silent(connection: socket.socket) -> None:
    time.sleep(1.0)


@pytest.mark.parametrize("peer", [closes, says_garbage, is_silent])
def test_a_child_stands_in_for_a_unit_that_does_not_begin(
    peer: Peer, core: int, serving: Callable[[Peer], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "START_SECONDS", 0.3)
    assert analysed(core, serving(peer)).threads


def test_a_child_stands_in_where_nobody_listens(core: int, place: str) -> None:
    assert analysed(core, place).threads


def hangs(connection: socket.socket) -> None:
    service.receive_descriptors(connection)
    connection.send(service.READY)
    time.sleep(3)


def dies(connection: socket.socket) -> None:
    service.receive_descriptors(connection)
    connection.send(service.READY)


def dies_in_its_answer(connection: socket.socket) -> None:
    service.receive_descriptors(connection)
    connection.send(service.READY)
    connection.send(struct.pack("<Q", 5000))
    connection.send(b"{")


def boasts(connection: socket.socket) -> None:
    service.receive_descriptors(connection)
    connection.send(service.READY)
    connection.send(struct.pack("<Q", 1 << 60))


def lies(connection: socket.socket) -> None:
    service.receive_descriptors(connection)
    connection.send(service.READY)
    connection.send(struct.pack("<Q", 4))
    connection.send(b"null")


@pytest.mark.parametrize("peer", [hangs, dies, dies_in_its_answer, boasts, lies])
def test_a_unit_that_breaks_off_costs_the_backtrace_alone(
    peer: Peer, core: int, serving: Callable[[Peer], str]
) -> None:
    with pytest.raises(PycoredumpError):
        analysed(core, serving(peer), seconds=1)


def asked(ask: Callable[[socket.socket], object]) -> str:
    """What the service complains of when `ask` is its client."""
    receive, send = os.pipe()
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        try:
            here.close()
            service.serve(there)
            complaint = b""
        except (PycoredumpError, OSError) as e:
            complaint = str(e).encode()
        os.write(send, complaint)
        os._exit(0)
    there.close()
    os.close(send)
    with here, os.fdopen(receive, "rb") as file:
        ask(here)
        complaint = file.read()
    os.waitpid(pid, 0)
    return complaint.decode()


def test_the_service_refuses_what_is_no_request() -> None:
    assert "not one of pycoredump's handler" in asked(lambda peer: peer.send(b"GET / HTTP/1.0"))


def test_the_service_refuses_a_request_without_descriptors() -> None:
    assert "0 descriptors" in asked(lambda peer: peer.send(service.GREETING + struct.pack("<I", 1)))


def test_the_service_refuses_a_job_that_is_none(core: int) -> None:
    assert "did not answer in JSON" in asked(lambda peer: service.send_descriptors(peer, [core, core]))


def test_the_service_gives_up_a_client_that_goes_away() -> None:
    assert asked(lambda peer: peer.close()) != ""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
@pytest.mark.root
def test_the_service_refuses_other_users(serving: Callable[[Peer], str]) -> None:
    complaints: list[str] = []

    def peer(connection: socket.socket) -> None:
        try:
            service.serve(connection)
        except PycoredumpError as e:
            complaints.append(str(e))

    path = serving(peer)
    client = f"import socket; s = socket.socket(1, socket.SOCK_SEQPACKET); s.connect({path!r}); s.send(b'x'); s.recv(9)"
    subprocess.run(
        ["/usr/bin/python3", "-I", "-c", client], user=OTHER_USER, group=OTHER_USER, extra_groups=[], cwd="/", check=False,
        timeout=SECONDS,
    )  # fmt: skip
    assert complaints == [f"User {OTHER_USER} may not ask for an analysis"]
