from __future__ import annotations

import fcntl
import os
import pathlib
import signal
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycoredump import admission, guard, retention, state
from pycoredump.config import Config
from pycoredump.retention import Stored

MIB = 1 << 20
GIB = 1 << 30
UNLIMITED = Config(max_use=0, keep_free=0, max_age=0)
NOW = 1_700_000_000


def archive(inode: int, *, age: int = 0, used: int = MIB, uid: str = "0", program: str = "a") -> Stored:
    return Stored(
        name=f"core-{program}-{inode}-11-1.zst",
        inode=inode,
        used=used,
        changed=NOW - age,
        uid=uid,
        program=program,
    )


def chosen(files: list[Stored], config: Config, *, free: int = 100 * GIB, keep: int = 0) -> list[int]:
    found = retention.victims(files, config, now=NOW, free=free, total=100 * GIB, keep=keep)
    return [file.inode for file in found]


def test_without_limits_nothing_goes() -> None:
    assert chosen([archive(1, age=10**9), archive(2)], UNLIMITED, free=0) == []


def test_what_is_too_old_goes() -> None:
    files = [archive(1, age=101), archive(2, age=100), archive(3, age=-5)]
    assert chosen(files, UNLIMITED.replace(max_age=100)) == [1]


def test_the_oldest_of_a_program_go_when_there_are_too_many() -> None:
    files = [archive(n, age=n, program=program) for n, program in enumerate("ababa", 1)]
    assert sorted(chosen(files, UNLIMITED.replace(keep_per_program=2))) == [5]
    assert sorted(chosen(files, UNLIMITED.replace(keep_per_program=1))) == [3, 4, 5]


def test_of_several_in_one_second_the_one_just_written_counts_as_the_latest() -> None:
    files = [archive(n) for n in (1, 2, 3)]
    assert sorted(chosen(files, UNLIMITED.replace(keep_per_program=1), keep=3)) == [1, 2]


def test_over_max_use_the_oldest_of_the_user_with_most_bytes_go_first() -> None:
    files = [
        archive(1, age=9, used=3 * MIB, uid="1000"),
        archive(2, age=1, used=8 * MIB, uid="1001"),
        archive(3, age=5, used=2 * MIB, uid="1001"),
        archive(4, age=2, used=3 * MIB, uid="1000"),
    ]
    assert chosen(files, UNLIMITED.replace(max_use=14 * MIB)) == [3]
    assert chosen(files, UNLIMITED.replace(max_use=13 * MIB)) == [3, 2]
    assert chosen(files, UNLIMITED.replace(max_use=5 * MIB)) == [3, 2, 1]


def test_below_keep_free_as_much_goes_as_is_missing() -> None:
    files = [archive(n, age=10 - n, used=10 * MIB) for n in range(1, 6)]
    config = UNLIMITED.replace(keep_free=GIB)
    assert chosen(files, config, free=GIB) == []
    assert chosen(files, config, free=GIB - 1) == [1]
    assert chosen(files, config, free=GIB - 15 * MIB) == [1, 2]


def test_what_goes_for_its_age_counts_as_free() -> None:
    files = [archive(1, age=500, used=20 * MIB), archive(2, used=20 * MIB)]
    assert chosen(files, UNLIMITED.replace(keep_free=GIB, max_age=100), free=GIB - 20 * MIB) == [1]


def test_the_file_just_written_stays_whatever_the_limits() -> None:
    files = [archive(1, age=10**6, used=GIB), archive(2, used=GIB)]
    config = Config(max_use=1, keep_free=2**63, max_age=1, keep_per_program=1)
    assert chosen(files, config, free=0, keep=1) == [2]


files = st.lists(
    st.builds(
        archive,
        inode=st.integers(1, 40),
        age=st.integers(-100, 10**7),
        used=st.integers(0, GIB),
        uid=st.sampled_from(["", "0", "1000", "x"]),
        program=st.sampled_from("abc"),
    ),
    unique_by=lambda file: file.inode,
    max_size=12,
)
limits = st.builds(
    Config,
    max_use=st.sampled_from([0, 1, MIB, GIB, 2**64 - 1, -1]),
    keep_free=st.sampled_from([0, 1, MIB, GIB, 2**64 - 1, -1]),
    max_age=st.sampled_from([0, 1, 1000, 10**6]),
    keep_per_program=st.integers(0, 3),
)


@given(files, limits, st.integers(0, 100 * GIB), st.integers(0, 40))
def test_enough_goes_and_never_the_kept_one_and_nothing_twice(
    stored: list[Stored], config: Config, free: int, keep: int
) -> None:
    total = 100 * GIB
    gone = retention.victims(stored, config, now=NOW, free=free, total=total, keep=keep)
    inodes = [file.inode for file in gone]
    assert len(set(inodes)) == len(inodes)
    assert keep not in inodes
    left = [file for file in stored if file.inode not in inodes]
    alone = all(file.inode == keep for file in left)
    most = admission.max_use(config, total)
    assert alone or not most or sum(file.used for file in left) <= most
    assert alone or free + sum(file.used for file in gone) >= admission.keep_free(config, total)
    assert (
        alone
        or not config.max_age
        or all(NOW - file.changed <= config.max_age for file in left if file.inode != keep)
    )


@given(files, limits, st.integers(0, 100 * GIB))
def test_whoever_has_less_than_another_loses_nothing_for_space(
    stored: list[Stored], config: Config, free: int
) -> None:
    """The user with the most bytes pays first, until another one has more."""
    config = config.replace(max_age=0, keep_per_program=0)
    gone = retention.victims(stored, config, now=NOW, free=free, total=100 * GIB)
    used = {uid: sum(file.used for file in stored if file.uid == uid) for uid in {f.uid for f in stored}}
    for file in gone:
        assert used[file.uid] == max(used.values())
        used[file.uid] -= file.used


# On a real directory.


@pytest.fixture
def directory(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(state, "DIRECTORY", os.fspath(tmp_path / "run"))
    (tmp_path / "core").mkdir()
    fd = os.open(tmp_path / "core", os.O_RDONLY)
    yield fd
    os.close(fd)


def put(directory: int, name: str, *, age: int = 0, uid: str = "") -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=directory)
    os.write(fd, b"x" * 5000)
    if uid:
        os.setxattr(fd, "user.coredump.uid", uid.encode())
    os.close(fd)
    os.utime(name, (time.time() - age,) * 2, dir_fd=directory)


def names(directory: int) -> list[str]:
    return sorted(os.listdir(directory))


def test_archives_are_listed_with_program_and_nothing_else_is(directory: int) -> None:
    put(directory, "core-a-b-12-11-1700000000.zst")
    put(directory, "core-plain-13-6-1700000000")
    for other in ("core", "core-a", "mine-a-1-2-3.zst", ".#core-1-aa"):
        put(directory, other)
    os.mkdir("core-d-1-2-3.zst", dir_fd=directory)
    os.symlink("/etc/passwd", "core-l-1-2-3.zst", dir_fd=directory)
    found = {file.name: file for file in retention.listing(directory)}
    assert sorted(found) == ["core-a-b-12-11-1700000000.zst", "core-plain-13-6-1700000000"]
    assert found["core-a-b-12-11-1700000000.zst"].program == "a-b"
    assert found["core-plain-13-6-1700000000"].used >= 5000


def test_the_user_is_the_one_of_the_attribute(directory: int) -> None:
    try:
        put(directory, "core-a-1-11-1.zst", uid="1000")
    except OSError as e:
        pytest.skip(f"no user attributes here: {e}")
    put(directory, "core-a-2-11-1.zst")
    assert {file.name: file.uid for file in retention.listing(directory)} == {
        "core-a-1-11-1.zst": "1000",
        "core-a-2-11-1.zst": "",
    }


def test_run_removes_what_is_too_much_and_says_what(directory: int) -> None:
    for number in range(4):
        put(directory, f"core-a-{number}-11-1.zst", age=number * 100)
    put(directory, "notes.txt", age=10**9)
    removed = retention.run(directory, UNLIMITED.replace(max_age=150), now=int(time.time()))
    assert sorted(file.name for file in removed) == ["core-a-2-11-1.zst", "core-a-3-11-1.zst"]
    assert names(directory) == ["core-a-0-11-1.zst", "core-a-1-11-1.zst", "notes.txt"]


def test_room_is_made_for_what_comes_from_the_oldest_on(directory: int) -> None:
    for number in range(3):
        put(directory, f"core-a-{number}-11-1.zst", age=number)
    space = os.fstatvfs(directory)
    free = space.f_frsize * space.f_bavail
    config = UNLIMITED.replace(keep_free=max(1, free // 2))
    assert retention.run(directory, config, now=int(time.time())) == []
    removed = retention.run(directory, config, now=int(time.time()), need=2 * free)
    assert [file.name for file in removed] == [f"core-a-{number}-11-1.zst" for number in (2, 1, 0)]


def test_unfinished_files_of_dead_handlers_go_and_fresh_ones_stay(directory: int) -> None:
    put(directory, ".#core-1-aaaa", age=7200)
    put(directory, ".#core-2-bbbb", age=60)
    put(directory, ".#other", age=10**6)
    assert retention.run(directory, UNLIMITED, now=int(time.time())) == []
    assert names(directory) == [".#core-2-bbbb", ".#other"]


def held_lock(tmp_path: pathlib.Path) -> int:
    (tmp_path / "run").mkdir(exist_ok=True)
    fd = os.open(tmp_path / "run/retention", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def test_while_another_one_removes_there_is_nothing_to_do(directory: int, tmp_path: pathlib.Path) -> None:
    put(directory, "core-a-1-11-1.zst", age=1000)
    fd = held_lock(tmp_path)
    assert retention.run(directory, UNLIMITED.replace(max_age=10), now=int(time.time())) == []
    os.close(fd)
    assert len(retention.run(directory, UNLIMITED.replace(max_age=10), now=int(time.time()))) == 1


def test_who_needs_room_waits_for_the_one_who_makes_some(directory: int, tmp_path: pathlib.Path) -> None:
    put(directory, "core-a-1-11-1.zst", age=1000)
    fd = held_lock(tmp_path)
    before = signal.signal(signal.SIGUSR1, lambda *_: os.close(fd))
    child = os.fork()
    if child == 0:
        time.sleep(0.2)
        os.kill(os.getppid(), signal.SIGUSR1)
        os._exit(0)
    try:
        removed = retention.run(directory, UNLIMITED.replace(max_age=10), now=int(time.time()), need=1)
        assert len(removed) == 1
    finally:
        os.waitpid(child, 0)
        signal.signal(signal.SIGUSR1, before)


def test_without_a_place_for_the_lock_it_is_done_all_the_same(
    directory: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(state, "DIRECTORY", os.fspath(tmp_path / "file/run"))
    put(directory, "core-a-1-11-1.zst", age=1000)
    assert len(retention.run(directory, UNLIMITED.replace(max_age=10), now=int(time.time()))) == 1


def test_the_limit_of_waiting_is_not_for_ever() -> None:
    reading, writing = os.pipe()
    with pytest.raises(TimeoutError), guard.TimeLimit(0.05):
        os.read(reading, 1)
    os.close(reading)
    os.close(writing)
