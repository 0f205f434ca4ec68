from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pycoredump import procfs
from pycoredump.crash import Crash
from pycoredump.procfs import Process, ProcessDirectory

CRASH = Crash(pid=4711, signal=11, timestamp=1700000000, comm="prog")
# The fields from state on; the 22nd of the line, 20th here, is the start time.
STAT = "S 1 4711 4711 0 -1 4194304 " + " ".join(str(i) for i in range(101, 113)) + " 987654 9 9\n"


class FakeProc:
    """A /proc of plain files."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        (root / "self/ns").mkdir(parents=True)
        (root / "self/ns/mnt").symlink_to("mnt:[1]")

    def process(
        self, pid: int = 4711, *, comm: str = "prog", parent: int = 1, mnt: str = "mnt:[1]"
    ) -> pathlib.Path:
        path = self.root / str(pid)
        for name in ("fd", "fdinfo", "ns", "task"):
            (path / name).mkdir(parents=True)
        (path / "comm").write_text(f"{comm}\n")
        (path / "stat").write_text(f"{pid} ({comm}) {STAT}".replace("S 1 ", f"S {parent} ", 1))
        (path / "exe").symlink_to("/usr/bin/prog")
        (path / "ns/mnt").symlink_to(mnt)
        return path

    def open(self, pid: int = 4711, *, tid: int | None = None) -> ProcessDirectory:
        return ProcessDirectory(pid, tid=tid, proc=os.fspath(self.root))


@pytest.fixture
def proc(tmp_path: pathlib.Path) -> FakeProc:
    return FakeProc(tmp_path / "proc")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stopped itself."""
    code = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
    with subprocess.Popen(
        [sys.executable, "-ISc", code, "an argument", ""], env={"A": "1", "B": "x\ny"}
    ) as process:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        yield process
        process.send_signal(signal.SIGKILL)


def test_a_process_that_is_gone_is_an_os_error(proc: FakeProc) -> None:
    with pytest.raises(FileNotFoundError):
        proc.open(4712)


def test_all_facts_of_a_living_process_are_read(child: subprocess.Popen[bytes]) -> None:
    crash = CRASH.replace(pid=child.pid, tid=child.pid)
    found = procfs.gather(ProcessDirectory(child.pid), crash)
    assert found.problems == ()
    assert found.start_time > 0
    assert found.cmdline.split(b"\0")[-3:] == [b"an argument", b"", b""]
    assert found.environ == b"A=1\0B=x\ny\0"
    assert found.exe == os.readlink(f"/proc/{child.pid}/exe").encode()
    assert found.cwd == os.getcwd().encode()
    assert found.root == b"/"
    assert found.comm == found.thread_name == pathlib.Path(f"/proc/{child.pid}/comm").read_bytes()[:-1]
    assert b"Max core file size" in found.limits
    assert f"Pid:\t{child.pid}\n".encode() in found.status
    assert b"[stack]" in found.maps
    assert found.auxv == pathlib.Path(f"/proc/{child.pid}/auxv").read_bytes()
    assert found.open_fds.startswith(b"0:")
    assert b"\npos:\t" in found.open_fds
    assert found.container_cmdline == b""


def test_what_is_held_is_the_process_that_was_opened(child: subprocess.Popen[bytes]) -> None:
    directory = ProcessDirectory(child.pid)
    child.kill()
    child.wait()
    assert directory.read("comm", 64) == b""
    assert directory.link("exe") == b""
    assert directory.start_time() == 0


def test_a_pidfd_of_the_process_proves_it(child: subprocess.Popen[bytes]) -> None:
    directory = ProcessDirectory(child.pid)
    pidfd = os.pidfd_open(child.pid)
    other = os.pidfd_open(os.getpid())
    assert directory.is_process_of(pidfd)
    assert not directory.is_process_of(other)
    child.kill()
    child.wait()
    assert not directory.is_process_of(pidfd)
    for fd in (pidfd, other):
        os.close(fd)


def test_a_descriptor_that_is_no_pidfd_proves_nothing(child: subprocess.Popen[bytes]) -> None:
    directory = ProcessDirectory(child.pid)
    assert not directory.is_process_of(0)
    assert not directory.is_process_of(1 << 20)


def test_a_process_that_is_not_the_crashed_one_gives_no_facts(child: subprocess.Popen[bytes]) -> None:
    other = os.pidfd_open(os.getpid())
    found = procfs.gather(ProcessDirectory(child.pid), CRASH.replace(pid=child.pid, pidfd=other))
    os.close(other)
    assert found == Process(problems=(f"/proc/{child.pid} is not the crashed process any more",))


@pytest.mark.parametrize(
    "comm",
    ["prog", "a b", ")", "x) S 1 2 3 4", "(", "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")],
)
def test_the_start_time_is_found_behind_any_comm(proc: FakeProc, comm: str) -> None:
    proc.process(comm=comm)
    assert proc.open().start_time() == 987654


@pytest.mark.parametrize("text", ["", "4711 (prog", "4711 (prog) S 1", "4711 (prog) " + "x " * 30])
def test_a_stat_without_start_time_is_zero(proc: FakeProc, text: str) -> None:
    (proc.process() / "stat").write_text(text)
    assert proc.open().start_time() == 0


def test_facts_that_cannot_be_read_are_left_out(proc: FakeProc) -> None:
    proc.process()
    found = procfs.gather(proc.open(), CRASH)
    assert found == Process(start_time=987654, comm=b"prog", exe=b"/usr/bin/prog")


def test_a_file_is_read_to_its_cap_and_no_further(proc: FakeProc) -> None:
    path = proc.process()
    (path / "cmdline").write_bytes(b"x" * ((512 << 10) + 1))
    (path / "comm").write_bytes(b"y" * 1000)
    found = procfs.gather(proc.open(), CRASH)
    assert len(found.cmdline) == 512 << 10
    assert found.comm == b"y" * 64


def test_a_pipe_or_link_in_the_place_of_a_file_is_not_followed_or_waited_for(proc: FakeProc) -> None:
    path = proc.process()
    os.mkfifo(path / "status")
    (path / "environ").symlink_to("/etc/passwd")
    found = procfs.gather(proc.open(), CRASH)
    assert (found.status, found.environ) == (b"", b"")


def test_bytes_of_any_kind_are_kept_as_they_are(proc: FakeProc) -> None:
    path = proc.process()
    hostile = b"\xff\x1b[31m\n\0--\0"
    (path / "cmdline").write_bytes(hostile)
    (path / "environ").write_bytes(hostile)
    os.unlink(path / "exe")
    os.symlink(b"/tmp/\xff\n", path / "exe")
    found = procfs.gather(proc.open(), CRASH)
    assert (found.cmdline, found.environ, found.exe) == (hostile, hostile, b"/tmp/\xff\n")


def test_open_descriptors_are_listed_in_order_with_their_fdinfo(proc: FakeProc) -> None:
    path = proc.process()
    for number, target in ((10, "socket:[1]"), (2, "/dev/null"), (0, "/a b")):
        (path / f"fd/{number}").symlink_to(target)
        (path / f"fdinfo/{number}").write_text(f"pos:\t{number}\nflags:\t02\n")
    assert procfs.open_fds(proc.open()) == (
        b"0:/a b\npos:\t0\nflags:\t02\n\n2:/dev/null\npos:\t2\nflags:\t02\n\n10:socket:[1]\npos:\t10\nflags:\t02\n"
    )


def test_of_very_many_descriptors_some_are_listed_and_the_others_counted(proc: FakeProc) -> None:
    path = proc.process()
    for number in range(4100):
        (path / f"fd/{number}").symlink_to("x")
    found = procfs.open_fds(proc.open())
    assert found.count(b":x\n") == 4096
    assert found.endswith(b"\n... and 4 more\n")


def test_a_leader_that_has_ended_is_replaced_by_the_thread_that_crashed(proc: FakeProc) -> None:
    path = proc.process()
    os.unlink(path / "exe")
    (path / "task/4712").mkdir()
    (path / "task/4712/exe").symlink_to("/usr/bin/threads")
    (path / "task/4712/comm").write_text("worker\n")
    directory = proc.open(tid=4712)
    assert directory.link("exe") == b"/usr/bin/threads"
    assert procfs.thread_name(directory, 4712) == b"worker"


def test_a_thread_that_is_gone_leaves_the_leader(proc: FakeProc) -> None:
    path = proc.process()
    os.unlink(path / "exe")
    assert proc.open(tid=4712).read("comm", 64) == b"prog\n"


def test_the_name_of_the_thread_is_its_own(proc: FakeProc) -> None:
    path = proc.process()
    (path / "task/4712").mkdir()
    (path / "task/4712/comm").write_text("worker 7\n")
    assert procfs.thread_name(proc.open(), 4712) == b"worker 7"
    assert procfs.thread_name(proc.open(), 4713) == b"prog"


def test_the_command_of_a_container_is_that_of_its_first_process(proc: FakeProc) -> None:
    for pid, parent, mnt in ((4711, 4700, "mnt:[2]"), (4700, 4600, "mnt:[2]"), (4600, 1, "mnt:[1]")):
        (proc.process(pid, parent=parent, mnt=mnt) / "cmdline").write_bytes(b"%d\0" % pid)
    assert procfs.container_cmdline(proc.open()) == b"4700\0"


def test_a_process_of_our_own_mount_namespace_is_in_no_container(proc: FakeProc) -> None:
    (proc.process() / "cmdline").write_bytes(b"prog\0")
    assert procfs.container_cmdline(proc.open()) == b""


def test_parents_that_go_in_a_circle_end(proc: FakeProc) -> None:
    for pid, parent in ((4711, 4700), (4700, 4711)):
        (proc.process(pid, parent=parent, mnt="mnt:[2]") / "cmdline").write_bytes(b"x")
    assert procfs.container_cmdline(proc.open()) == b"x"


def test_user_and_group_are_the_real_ones() -> None:
    status = b"Name:\tprog\nUid:\t1000\t0\t0\t0\nGid:\t33\t34\t35\t36\n"
    assert procfs.user_and_group(Process(status=status)) == ("1000", "33")
    assert procfs.user_and_group(Process()) == ("", "")
    assert procfs.user_and_group(Process(status=b"Uid:\nGid:")) == ("", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"Max core file size        0                    unlimited            bytes     \n", 0),
        (b"Max core file size        1073741824           unlimited            bytes     \n", 1073741824),
        (b"Max core file size        unlimited            unlimited            bytes     \n", 2**64 - 1),
        (b"Max core file size\n", None),
        (b"Max core file size        x\n", None),
        (b"Max open files            1024                 4096                 files     \n", None),
        (b"", None),
    ],
)
def test_the_core_limit_is_the_soft_one(text: bytes, expected: int | None) -> None:
    assert procfs.core_limit(Process(limits=text)) == expected
