"""What the sandbox cannot do, tried from the inside."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import pathlib
import resource
import signal
import socket
import time
from collections.abc import Callable, Sequence

import pytest

from pycoredump.analysis import confine, sandbox, seccomp
from pycoredump.errors import PycoredumpError

MEMORY = 1 << 30
_libc = ctypes.CDLL(None, use_errno=True)

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to lose")


def inside(work: Callable[[], object], fds: Sequence[int] = (), *, seconds: float = 10) -> object:
    """The result of `work` in the sandbox, or the name of what it raised there."""

    def attempt(_: Sequence[int]) -> bytes:
        try:
            return json.dumps(work()).encode()
        except BaseException as e:
            return json.dumps(f"{type(e).__name__}: {e}").encode()

    return json.loads(sandbox.run(attempt, fds, seconds=seconds, memory=MEMORY))


def called(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*[ctypes.c_ulong(a) for a in arguments]) == -1:
        raise OSError(ctypes.get_errno(), name)


def executable_memory() -> int:
    return len(mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC))


ATTEMPTS: dict[str, Callable[[], object]] = {
    "open a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "open the root": lambda: os.open("/", os.O_RDONLY),
    "make a file": lambda: os.open("x", os.O_WRONLY | os.O_CREAT),
    "list files": lambda: os.listdir("/"),
    "leave its root": lambda: os.chdir("/.."),
    "unlink": lambda: os.unlink("/etc/passwd"),
    "make a socket": socket.socket,
    "make a local socket": lambda: socket.socket(socket.AF_UNIX),
    "fork": os.fork,
    "run a program": lambda: os.execv("/bin/true", ["true"]),
    "signal another process": lambda: os.kill(os.getpid() + 1, 0),
    "signal itself": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "trace another process": lambda: called("ptrace", 16, 1, 0, 0),
    "read another process": lambda: called("process_vm_readv", 1, 0, 0, 0, 0, 0),
    "write to standard error": lambda: os.write(2, b"x"),
    "map executable memory": executable_memory,
    "make memory executable": lambda: called("mprotect", 0x10000, 4096, 5),
    "become root": lambda: os.setresuid(0, 0, 0),
    "raise its limits": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)),
    "make a namespace": lambda: called("unshare", confine.CLONE_NEWUSER),
    "make memory files": lambda: os.memfd_create("x"),
    "make a pipe": os.pipe,
    "watch files": lambda: called("inotify_init1", 0),
    "use io_uring": lambda: called("syscall", 425, 1, 0),
    "use bpf": lambda: called("syscall", 321, 0, 0, 0),
    "use a keyring": lambda: called("syscall", 250, 0, 0, 0, 0, 0),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_sandbox_cannot(attempt: str) -> None:
    told = inside(ATTEMPTS[attempt])
    assert isinstance(told, str)
    assert any(words in told for words in ("Operation not permitted", "[Errno 1]", "not allowed"))


def test_sandbox_can_read_what_it_is_given(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "core"
    path.write_bytes(b"given")
    fd = os.open(path, os.O_RDONLY)
    try:
        assert sandbox.run(lambda fds: os.pread(fds[0], 9, 0), [fd], seconds=10, memory=MEMORY) == b"given"
    finally:
        os.close(fd)


def test_sandbox_cannot_write_to_what_it_is_given(tmp_path: pathlib.Path) -> None:
    fd = os.open(tmp_path / "core", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        assert "Operation not permitted" in str(inside(lambda: os.write(fd, b"x"), [fd]))
    finally:
        os.close(fd)


def test_other_descriptors_are_closed(tmp_path: pathlib.Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert "Bad file descriptor" in str(inside(lambda: os.pread(fd, 1, 0)))
    finally:
        os.close(fd)


def test_memory_has_a_limit() -> None:
    with pytest.raises(sandbox.SandboxError, match="more memory than it may have"):
        sandbox.run(lambda _: bytes(2 * MEMORY), [], seconds=10, memory=MEMORY)


def test_an_endless_loop_is_ended() -> None:
    def work(_: Sequence[int]) -> bytes:
        while True:
            pass

    with pytest.raises(sandbox.SandboxError, match="took too long"):
        sandbox.run(work, [], seconds=0.5, memory=MEMORY)


def test_a_wait_is_ended() -> None:
    def prepare() -> None:
        time.sleep(60)

    with pytest.raises(sandbox.SandboxError, match="took too long"):
        sandbox.run(lambda _: b"", [], prepare=prepare, seconds=0.5, memory=MEMORY)


def test_what_it_tells_has_a_limit() -> None:
    with pytest.raises(sandbox.SandboxError, match="more than 1000 bytes"):
        sandbox.run(lambda _: bytes(2000), [], seconds=10, memory=MEMORY, result_max=1000)


def test_its_crash_is_told() -> None:
    def work(_: Sequence[int]) -> bytes:
        ctypes.string_at(0)
        return b""

    with pytest.raises(sandbox.SandboxError, match="ended by SIGSEGV"):
        sandbox.run(work, [], seconds=10, memory=MEMORY)


def test_its_error_is_told_without_control_characters() -> None:
    def work(_: Sequence[int]) -> bytes:
        raise ValueError("\x1b[31mred")

    with pytest.raises(sandbox.SandboxError, match=r"ValueError: \?\[31mred"):
        sandbox.run(work, [], seconds=10, memory=MEMORY)


@ROOT
@pytest.mark.root
def test_root_becomes_nobody_without_capabilities() -> None:
    seen: list[object] = []

    def prepare() -> None:
        confine.confine(confine.Limits(seconds=10, memory=MEMORY))
        seen.append(
            [
                os.getresuid(),
                os.getgroups(),
                confine.capabilities(),
                os.getpid(),
                [p for p in ("/etc", "/proc", "/usr") if os.path.exists(p)],
            ]
        )

    receive, send = os.pipe()
    pid = confine.fork()
    if pid == 0:
        prepare()
        os.write(send, json.dumps(seen[0]).encode())
        os._exit(0)
    os.close(send)
    os.waitpid(pid, 0)
    with os.fdopen(receive, "rb") as file:
        users, groups, capabilities, own_pid, files = json.loads(file.read())
    assert set(users) == {confine.account()[0]}
    assert (groups, set(capabilities), own_pid, files) == ([], {0}, 1, [])


@ROOT
@pytest.mark.root
def test_our_own_children_stay_in_our_process_namespace() -> None:
    before = os.readlink("/proc/self/ns/pid_for_children")
    sandbox.run(lambda _: b"", [], seconds=10, memory=MEMORY)
    assert os.readlink("/proc/self/ns/pid_for_children") == before


def test_probe_names_only_what_is_missing() -> None:
    assert "system call filter" not in sandbox.probe()


@pytest.mark.parametrize(
    ("passwd", "account"),
    [
        ("root:x:0:0::/:/bin/sh\npycoredump:x:995:994::/:/bin/false\n", (995, 994)),
        ("pycoredump:x:0:0::/:\n", (65534, 65534)),
        ("pycoredump:x:abc:0::/:\n", (65534, 65534)),
        ("", (65534, 65534)),
    ],
    ids=["there", "claims-root", "damaged", "missing"],
)
def test_account_is_the_system_user_or_nobody(
    tmp_path: pathlib.Path, passwd: str, account: tuple[int, int]
) -> None:
    path = tmp_path / "passwd"
    path.write_text(passwd)
    assert confine.account(os.fspath(path)) == account


def test_privileges_that_stay_stop_the_analysis() -> None:
    with pytest.raises(PycoredumpError, match="not run"):
        confine.verify(1234567, 1234567)


@pytest.mark.parametrize("name", seccomp.MACHINES)
def test_filter_fits_and_refuses_by_default(name: str) -> None:
    program = seccomp.program(seccomp.MACHINES[name], 5)
    assert len(program) % 8 == 0
    assert len(program) // 8 <= 4096  # BPF_MAXINSNS
    assert program[-8:] == b"\x06\0\0\0" + seccomp.REFUSE.to_bytes(4, "little")
