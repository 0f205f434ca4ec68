from __future__ import annotations

import errno
import os
import pathlib
import re
import signal
import socket
import struct
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycoredump import journal

ROOT = pathlib.Path(__file__).parents[1]


def parsed(data: bytes) -> dict[str, bytes]:
    """The native protocol, read as its documentation says (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""
    fields = {}
    while data:
        line, newline, rest = data.partition(b"\n")
        assert newline
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack_from("<Q", rest)
            value, end, rest = rest[8 : 8 + size], rest[8 + size : 9 + size], rest[9 + size :]
            assert end == b"\n"
            assert len(value) == size
        assert re.fullmatch(rb"[A-Z][A-Z0-9_]{0,63}", name)
        fields[name.decode()] = value
        data = rest
    return fields


names = st.from_regex(r"\A[A-Z][A-Z0-9_]{0,20}\Z")


@given(st.dictionaries(names, st.binary(max_size=50), max_size=6))
def test_any_fields_are_read_back_from_the_protocol(fields: dict[str, bytes]) -> None:
    assert parsed(journal.serialize(fields)) == fields


def test_a_value_with_a_newline_has_its_length_in_front() -> None:
    assert journal.serialize({"A": b"1", "B": b"2\n3"}) == b"A=1\nB\n\3\0\0\0\0\0\0\x002\n3\n"


@pytest.mark.parametrize("name", [*journal.STANDARD_FIELDS, *journal.OWN_FIELDS])
def test_journald_takes_the_name_of_each_field(name: str) -> None:
    assert re.fullmatch(r"[A-Z][A-Z0-9_]{0,63}", name)


def test_no_field_of_ours_has_a_name_of_systemds() -> None:
    assert not set(journal.OWN_FIELDS) & set(journal.STANDARD_FIELDS)


def test_every_entry_is_found_by_coredumpctl() -> None:
    assert journal.entry({"COREDUMP_PID": b"1"}) == {
        "MESSAGE_ID": b"fc2e22bc6ee647b6b90729ab34a250b1",
        "PRIORITY": b"2",
        "SYSLOG_IDENTIFIER": b"pycoredump",
        "COREDUMP_PID": b"1",
    }


@given(st.dictionaries(names, st.binary(max_size=300), max_size=8), st.integers(1, 400))
def test_an_entry_is_cut_to_what_journald_takes(fields: dict[str, bytes], most: int) -> None:
    found = journal.fitted(fields, most)
    assert found.keys() == fields.keys()
    assert sum(len(value) for value in found.values()) <= most + len(journal.CUT) * len(fields)
    if sum(map(len, fields.values())) <= most:
        assert found == fields


def test_the_largest_fields_are_cut_first() -> None:
    fields = {"MESSAGE": b"what happened", "COREDUMP_PROC_MAPS": b"m" * 1000, "COREDUMP_ENVIRON": b"e" * 900}
    found = journal.fitted(fields, 1000)
    assert found["MESSAGE"] == b"what happened"
    assert found["COREDUMP_PROC_MAPS"].endswith(b"m...")
    assert found["COREDUMP_ENVIRON"].endswith(b"e...")


# Over a real socket.


@pytest.fixture
def journald(tmp_path: pathlib.Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(os.fspath(tmp_path / "socket"))
        sock.settimeout(10)
        yield sock


def path(sock: socket.socket) -> str:
    return str(sock.getsockname())


def received(sock: socket.socket) -> dict[str, bytes]:
    data, descriptors, _, _ = socket.recv_fds(sock, 1 << 20, 1)
    if descriptors:
        with open(descriptors[0], "rb") as file:
            file.seek(0)
            return parsed(file.read())
    return parsed(data)


def test_somebody_listens_or_not(journald: socket.socket, tmp_path: pathlib.Path) -> None:
    assert journal.listens(path(journald))
    assert not journal.listens(os.fspath(tmp_path / "none"))
    stale = os.fspath(tmp_path / "stale")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ended:
        ended.bind(stale)
    assert not journal.listens(stale)


def test_a_message_is_one_datagram(journald: socket.socket) -> None:
    journal.post(journal.message(journal.LOG_INFO, "Process 1 crashed\udcff", A="b"), path=path(journald))
    assert received(journald) == {
        "MESSAGE": b"Process 1 crashed\xff",
        "PRIORITY": b"6",
        "SYSLOG_IDENTIFIER": b"pycoredump",
        "A": b"b",
    }


def test_an_entry_too_large_for_a_datagram_comes_in_a_sealed_file(journald: socket.socket) -> None:
    fields = {"MESSAGE": b"x", "COREDUMP_PROC_MAPS": b"m\n" * (2 << 20)}
    journal.send_natively(fields, path=path(journald))
    assert received(journald) == fields


def fill(sock: socket.socket) -> None:
    """As a journald that does not read any more."""
    with pytest.raises(BlockingIOError):
        fill_until_refused(sock)


def fill_until_refused(sock: socket.socket) -> None:
    for _ in range(100000):
        journal.post({"MESSAGE": b"x"}, path=path(sock))


def test_a_journald_that_hangs_is_not_waited_for(journald: socket.socket) -> None:
    fill(journald)
    with pytest.raises(BlockingIOError):
        journal.send_natively({"MESSAGE": b"x"}, flags=journal.MSG_DONTWAIT, path=path(journald))


@pytest.mark.parametrize("data", [b"", b"\x7fELF" + bytes(100000)])
def test_a_core_becomes_an_entry_in_the_file_where_it_stands(journald: socket.socket, data: bytes) -> None:
    fd = os.memfd_create("core")
    os.pwrite(fd, data, journal.CORE_AT)
    journal.send_file(fd, len(data), {"COREDUMP_PID": b"1"}, path=path(journald))
    found = received(journald)
    assert found["COREDUMP"] == data
    assert found["COREDUMP_PID"] == b"1"
    assert found["MESSAGE_ID"] == journal.COREDUMP_ID.encode()
    os.close(fd)


def test_without_a_socket_it_is_an_os_error(tmp_path: pathlib.Path) -> None:
    nowhere = os.fspath(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        journal.post({"A": b"1"}, path=nowhere)
    with pytest.raises(FileNotFoundError):
        journal.send_natively({"A": b"1"}, path=nowhere)


@pytest.fixture
def elsewhere(journald: socket.socket, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """What sends an entry sends it, natively, to the test's own socket."""
    monkeypatch.setattr(journal, "SOCKET", path(journald))
    defaults = journal.send_natively.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "path", path(journald))
    monkeypatch.setattr(journal, "PACKAGES", "/nowhere")
    monkeypatch.setitem(sys.modules, "systemd", None)
    return journald


def sender(sock: socket.socket) -> int:
    """The user by whom the next entry was sent, as the kernel tells journald."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    _, ancillary, _, _ = sock.recvmsg(1 << 20, 1000)
    (credentials,) = [data for _, kind, data in ancillary if kind == socket.SCM_CREDENTIALS]
    return int(struct.unpack("3i", credentials[:12])[1])


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@needs_root
def test_an_entry_comes_from_the_user_whose_process_crashed(
    elsewhere: socket.socket, tmp_path: pathlib.Path
) -> None:
    elsewhere.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    for parent in (tmp_path, *list(tmp_path.parents)[:3]):
        parent.chmod(0o755)
    os.chmod(path(elsewhere), 0o666)
    assert journal.send_as({"A": b"1"}, user=12345) == "python3-systemd cannot be used"
    assert sender(elsewhere) == 12345


@needs_root
def test_an_entry_that_the_user_cannot_send_comes_from_root(elsewhere: socket.socket) -> None:
    elsewhere.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    os.chmod(path(elsewhere), 0o600)
    assert "python3-systemd cannot be used" in journal.send_as({"A": b"1"}, user=12345)
    assert sender(elsewhere) == 0


def test_where_no_process_can_be_made_the_entry_is_sent_all_the_same(
    elsewhere: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> int:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)  # the kernel's answer
    journal.send_as({"A": b"1"}, user=12345)
    assert received(elsewhere)["A"] == b"1"


def test_a_user_who_stops_the_sender_does_not_keep_the_entry(
    elsewhere: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork = os.fork

    def stopped() -> int:
        pid = fork()
        if pid:
            os.kill(pid, signal.SIGSTOP)
        return pid

    def slow(*_: object) -> int:
        signal.pause()
        return 0

    monkeypatch.setattr(os, "fork", stopped)
    monkeypatch.setattr(journal, "_send_in_child", slow)
    monkeypatch.setattr(journal, "SEND_SECONDS", 0.2)
    journal.send_as({"A": b"1"}, user=12345)
    assert received(elsewhere)["A"] == b"1"


# The kernel log.


def test_a_line_of_the_kernel_log_ends_and_holds_no_control_characters(tmp_path: pathlib.Path) -> None:
    """A record without its end is shown when the next one comes, which may be never."""
    file = tmp_path / "kmsg"
    file.write_bytes(b"")
    journal.kernel_log(journal.LOG_ERR, "Process 1 (a\n<0>b\x1b[1m\udcff) crashed", path=os.fspath(file))
    assert file.read_bytes() == b"<3>pycoredump[%d]: Process 1 (a?<0>b?[1m?) crashed\n" % os.getpid()


def test_a_long_line_of_the_kernel_log_is_cut(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "kmsg"
    file.write_bytes(b"")
    journal.kernel_log(journal.LOG_ERR, "ü" * 5000, path=os.fspath(file))
    assert len(file.read_bytes()) == 901
    assert file.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("name", ["none", "directory", "."])
def test_a_kernel_log_that_is_not_there_is_no_failure(tmp_path: pathlib.Path, name: str) -> None:
    (tmp_path / "directory").mkdir()
    journal.kernel_log(journal.LOG_ERR, "x", path=os.fspath(tmp_path / name))


def test_the_kernel_log_of_this_machine_shows_a_line_at_once() -> None:
    try:
        fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(fd, 0, os.SEEK_END)
        os.close(os.open("/dev/kmsg", os.O_WRONLY))
    except OSError as e:
        pytest.skip(f"/dev/kmsg: {e.strerror}")
    marker = f"the tests of pycoredump look whether this is shown ({os.urandom(8).hex()})"
    journal.kernel_log(6, marker)
    shown = b""
    try:
        while marker.encode() not in shown:
            shown = os.read(fd, 8192)
    except BlockingIOError:
        pytest.fail("the line is not shown")
    finally:
        os.close(fd)
