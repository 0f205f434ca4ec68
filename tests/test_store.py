from __future__ import annotations

import errno
import os
import pathlib
import stat
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycoredump import store
from pycoredump.crash import Crash
from pycoredump.store import StoreError, Unnamed

CRASH = Crash(pid=4711, signal=11, timestamp=1700000000, comm="prog")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def directory(tmp_path: pathlib.Path) -> int:
    return store.open_directory(os.fspath(tmp_path / "core"))


def mode(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_missing_directory_is_made_for_root_to_list_and_all_to_pass(tmp_path: pathlib.Path) -> None:
    before = os.umask(0o077)  # the handler's
    try:
        store.open_directory(os.fspath(tmp_path / "a/b/core"))
    finally:
        os.umask(before)
    assert mode(tmp_path / "a/b/core") == 0o711
    assert mode(tmp_path / "a") == mode(tmp_path / "a/b") == 0o755


def test_the_mode_that_an_administrator_chose_stays(tmp_path: pathlib.Path) -> None:
    (tmp_path / "core").mkdir(mode=0o750)
    store.open_directory(os.fspath(tmp_path / "core"))
    assert mode(tmp_path / "core") == 0o750


def test_a_directory_that_all_may_write_to_is_refused_with_advice(tmp_path: pathlib.Path) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core").chmod(0o1777)
    with pytest.raises(StoreError, match="others could change cores") as caught:
        store.open_directory(os.fspath(tmp_path / "core"))
    assert caught.value.hint == f"chown root:root {tmp_path}/core; chmod 711 {tmp_path}/core"


@needs_root
def test_a_directory_that_a_group_may_write_to_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core").chmod(0o770)
    store.open_directory(os.fspath(tmp_path / "core"))
    os.chown(tmp_path / "core", 0, 12345)
    with pytest.raises(StoreError, match="others could change cores"):
        store.open_directory(os.fspath(tmp_path / "core"))


@needs_root
def test_a_directory_of_another_user_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "core").mkdir()
    os.chown(tmp_path / "core", 12345, 0)
    with pytest.raises(StoreError, match="has owner 12345"):
        store.open_directory(os.fspath(tmp_path / "core"))


@pytest.mark.parametrize("name", ["file", "file/core", "loop"])
def test_what_is_no_directory_is_refused(tmp_path: pathlib.Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(StoreError, match="Cannot use directory"):
        store.open_directory(os.fspath(tmp_path / name))


def test_nobody_sees_a_file_before_it_has_its_name(directory: int) -> None:
    unnamed = Unnamed(directory)
    os.write(unnamed.fd, b"core")
    assert os.listdir(directory) == []
    assert unnamed.link("core-a-1-11-1.zst") == "core-a-1-11-1.zst"
    unnamed.discard()
    assert os.listdir(directory) == ["core-a-1-11-1.zst"]


def test_a_file_that_gets_no_name_is_gone(directory: int) -> None:
    unnamed = Unnamed(directory)
    unnamed.discard()
    os.close(unnamed.fd)
    assert os.listdir(directory) == []


def test_a_file_is_for_its_owner_and_group_only(directory: int) -> None:
    for umask in (0o000, 0o077):
        before = os.umask(umask)
        unnamed = Unnamed(directory)
        os.umask(before)
        assert stat.S_IMODE(os.fstat(unnamed.fd).st_mode) == 0o640


def test_an_existing_name_is_never_replaced(directory: int) -> None:
    names = []
    for number in range(3):
        unnamed = Unnamed(directory)
        os.write(unnamed.fd, b"%d" % number)
        names.append(unnamed.link("core-a-1-11-1.zst"))
    assert names == ["core-a-1-11-1.zst", "core-a-1-11-1-1.zst", "core-a-1-11-1-2.zst"]
    for number, name in enumerate(names):
        fd = os.open(name, os.O_RDONLY, dir_fd=directory)
        assert os.read(fd, 9) == b"%d" % number
        os.close(fd)


def test_a_link_in_the_place_of_the_name_is_not_followed(directory: int, tmp_path: pathlib.Path) -> None:
    (tmp_path / "precious").write_bytes(b"x")
    os.symlink(tmp_path / "precious", "core-a-1-11-1.zst", dir_fd=directory)
    assert Unnamed(directory).link("core-a-1-11-1.zst") == "core-a-1-11-1-1.zst"
    assert (tmp_path / "precious").read_bytes() == b"x"


def test_when_all_names_are_taken_it_is_an_os_error(directory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "NAMES_MAX", 3)
    for _ in range(3):
        Unnamed(directory).link("core-a-1-11-1")
    with pytest.raises(FileExistsError):
        Unnamed(directory).link("core-a-1-11-1")


def refusing(number: int) -> Callable[..., None]:
    """A system call that fails."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


class WithoutUnnamedFiles:
    """os.open() of a file system that knows no O_TMPFILE (NFS)."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.open = os.open

    def __call__(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(self.number, os.strerror(self.number))
        return self.open(path, flags, mode, dir_fd=dir_fd)


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL])
def test_without_unnamed_files_a_hidden_one_gets_the_name(
    directory: int, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "open", WithoutUnnamedFiles(number))
    unnamed = Unnamed(directory)
    (hidden,) = os.listdir(directory)
    assert hidden.startswith(".#core-")
    unnamed.link("core-a-1-11-1.zst")
    unnamed.discard()
    assert os.listdir(directory) == ["core-a-1-11-1.zst"]

    Unnamed(directory).discard()
    assert os.listdir(directory) == ["core-a-1-11-1.zst"]


def test_without_hard_links_the_hidden_file_is_renamed_and_replaces_nothing(
    directory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", WithoutUnnamedFiles(errno.EOPNOTSUPP))
    monkeypatch.setattr(os, "link", refusing(errno.EPERM))
    first, second = Unnamed(directory), Unnamed(directory)
    assert first.link("core-a-1-11-1.zst") == "core-a-1-11-1.zst"
    assert second.link("core-a-1-11-1.zst") == "core-a-1-11-1-1.zst"
    for unnamed in (first, second):
        unnamed.discard()
    assert sorted(os.listdir(directory)) == ["core-a-1-11-1-1.zst", "core-a-1-11-1.zst"]


def test_where_everybody_could_read_it_nothing_is_stored(
    directory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system without modes, mounted so that all may read."""
    monkeypatch.setattr(os, "open", WithoutUnnamedFiles(errno.EOPNOTSUPP))
    monkeypatch.setattr(os, "fchmod", refusing(errno.EPERM))
    monkeypatch.setattr(store, "FILE_MODE", 0o644)
    before = os.umask(0o022)
    try:
        with pytest.raises(StoreError, match="cannot keep other users from reading"):
            Unnamed(directory)
    finally:
        os.umask(before)
    assert os.listdir(directory) == []


def test_a_file_system_without_modes_that_only_root_reads_is_good_enough(
    directory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fchmod", refusing(errno.EPERM))
    assert Unnamed(directory).link("core-a-1-11-1.zst") == "core-a-1-11-1.zst"


def test_another_failure_of_making_a_file_is_told(directory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", WithoutUnnamedFiles(errno.EROFS))
    with pytest.raises(OSError, match="Read-only file system"):
        Unnamed(directory)


@pytest.mark.parametrize(
    ("comm", "escaped"),
    [
        ("nginx", "nginx"),
        ("a b", "a\\x20b"),
        ("../x", "\\x2e\\x2e\\x2fx"),
        ("a\\b", "a\\x5cb"),
        ("\n\x1b[1m", "\\x0a\\x1b[1m"),
        ("ü", "\\xc3\\xbc"),
        ("\udcff", "\\xff"),
        ("", ""),
    ],
)
def test_a_name_in_a_file_name_is_escaped_as_by_systemd(comm: str, escaped: str) -> None:
    assert store.escape(comm) == escaped


@given(st.text(max_size=64).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_comm_is_one_printable_component_of_a_path(data: bytes) -> None:
    comm = data[:15].decode("utf-8", "surrogateescape")
    name = store.file_name(CRASH.replace(comm=comm), compressed=True)
    assert name.startswith("core-")
    assert name.endswith("-4711-11-1700000000.zst")
    assert name.isascii()
    assert name.isprintable()
    assert not set(name) & set("/ ")
    assert len(name) < 255


def test_the_name_tells_comm_pid_signal_and_time() -> None:
    assert store.file_name(CRASH, compressed=True) == "core-prog-4711-11-1700000000.zst"
    assert store.file_name(CRASH, compressed=False) == "core-prog-4711-11-1700000000"


def test_read_access_for_one_user_is_what_setfacl_makes(directory: int, tmp_path: pathlib.Path) -> None:
    unnamed = Unnamed(directory)
    try:
        store.allow_reading(unnamed.fd, 12345)
    except OSError as e:
        pytest.skip(f"no access control lists here: {e.strerror}")
    name = unnamed.link("core-a-1-11-1.zst")
    assert stat.S_IMODE(os.stat(name, dir_fd=directory).st_mode) == 0o640
    try:
        shown = subprocess.run(
            ["getfacl", "-cnpE", tmp_path / "core" / name], capture_output=True, text=True, check=True
        ).stdout
    except FileNotFoundError:
        return  # the kernel took it; the tests on the kernel show who can read
    assert shown.split() == ["user::rw-", "user:12345:r--", "group::r--", "mask::r--", "other::---"]


def test_attributes_are_those_of_systemd_and_empty_ones_are_left_out(directory: int) -> None:
    unnamed = Unnamed(directory)
    crash = CRASH.replace(uid=1000, rlimit=2**64 - 1, hostname="web\udcff")
    store.set_attributes(unnamed.fd, store.attributes(crash, "/usr/bin/prog"))
    found = {name: os.getxattr(unnamed.fd, name) for name in os.listxattr(unnamed.fd)}
    if not found:
        pytest.skip("no user attributes here")
    assert found == {
        "user.coredump.pid": b"4711",
        "user.coredump.uid": b"1000",
        "user.coredump.signal": b"11",
        "user.coredump.timestamp": b"1700000000000000",
        "user.coredump.rlimit": b"18446744073709551615",
        "user.coredump.hostname": b"web\xff",
        "user.coredump.comm": b"prog",
        "user.coredump.exe": b"/usr/bin/prog",
    }


def test_attributes_longer_than_a_file_system_takes_are_cut(directory: int) -> None:
    unnamed = Unnamed(directory)
    store.set_attributes(unnamed.fd, {"exe": "/" + "x" * 4095})
    for name in os.listxattr(unnamed.fd):
        assert len(os.getxattr(unnamed.fd, name)) == 1024


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSPC, errno.EPERM, errno.E2BIG])
def test_a_file_system_without_attributes_is_no_failure(
    directory: int, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    calls = []

    def refuse(*arguments: object) -> None:
        calls.append(arguments)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "setxattr", refuse)  # the kernel's answer
    store.set_attributes(Unnamed(directory).fd, {"pid": "1", "uid": "2"})
    assert len(calls) == 1
