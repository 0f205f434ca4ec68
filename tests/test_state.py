from __future__ import annotations

import fcntl
import os
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycoredump import state
from pycoredump.state import Slots


@pytest.fixture
def run(tmp_path: pathlib.Path) -> str:
    return os.fspath(tmp_path / "run")


def test_as_many_get_a_place_as_there_are(run: str) -> None:
    held = [Slots(2, directory=run) for _ in range(2)]
    assert all(slots.acquire(7, seconds=1) for slots in held)
    third = Slots(2, directory=run)
    assert third.acquire(7, seconds=1) is False
    held[1].release()
    assert third.acquire(8, seconds=1) is True


def test_places_of_another_name_are_others(run: str) -> None:
    assert Slots(1, directory=run).acquire(1)
    assert Slots(1, name="analysis", directory=run).acquire(1)


def test_a_place_is_free_again_when_its_holder_is_killed(run: str) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        Slots(1, directory=run).acquire(1)
        os.write(writing, b"x")
        os.kill(os.getpid(), 9)
    os.read(reading, 1)
    os.waitpid(child, 0)
    assert Slots(1, directory=run).acquire(1, seconds=1)
    os.close(reading)
    os.close(writing)


def test_a_place_that_was_given_back_is_free_although_a_child_has_the_descriptor(run: str) -> None:
    slots = Slots(1, directory=run)
    slots.acquire(1)
    copy = os.dup(slots.fd)
    slots.release()
    assert Slots(1, directory=run).acquire(1, seconds=1)
    os.close(copy)


def test_giving_back_twice_or_nothing_is_no_failure(run: str) -> None:
    slots = Slots(1, directory=run)
    slots.release()
    slots.acquire(1)
    slots.release()
    slots.release()


def test_without_a_directory_nobody_waits(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    slots = Slots(1, directory=os.fspath(tmp_path / "file/run"))
    assert slots.acquire(1) is False
    slots.release()


def test_a_link_in_the_place_of_a_lock_is_not_followed(run: str, tmp_path: pathlib.Path) -> None:
    os.mkdir(run)
    (tmp_path / "precious").write_bytes(b"x")
    os.symlink(tmp_path / "precious", f"{run}/slot-0")
    assert Slots(1, directory=run).acquire(0) is False


def test_stamps_are_those_of_the_program_and_now_is_added(run: str) -> None:
    assert state.stamps("/bin/a", 100, keep=5, directory=run) == []
    assert state.stamps("/bin/a", 110, keep=5, directory=run) == [100]
    assert state.stamps("/bin/b", 115, keep=5, directory=run) == []
    assert state.stamps("/bin/a", 120, keep=5, directory=run) == [100, 110]


def test_only_the_last_stamps_are_remembered(run: str) -> None:
    for now in range(1, 10):
        state.stamps("a", now, keep=3, directory=run)
    assert state.stamps("a", 10, keep=3, directory=run) == [7, 8, 9]
    (file,) = os.scandir(f"{run}/rate")
    assert file.stat().st_size <= len("10\n" * 3) + 3


@pytest.mark.parametrize("contents", [b"\xff\xfe\n1\nx\n-5\n", b"", b"1" * 5000, b"\n" * 100, b"1 2\n"])
def test_damaged_stamps_count_as_never_or_as_what_they_say(run: str, contents: bytes) -> None:
    state.stamps("a", 1, keep=3, directory=run)
    pathlib.Path(run, "rate/a").write_bytes(contents)
    try:
        found = state.stamps("a", 5, keep=3, directory=run)
    except ValueError:
        pytest.fail("a damaged file costs the core")
    assert all(stamp >= 0 for stamp in found)
    assert state.stamps("a", 6, keep=3, directory=run)[-1] == 5


def test_without_a_place_every_core_is_the_first(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert state.stamps("a", 1, keep=3, directory=os.fspath(tmp_path / "file/run")) == []


@given(st.text(max_size=300))
def test_any_program_has_a_name_in_the_directory(program: str) -> None:
    name = state._file_name(program)
    assert name not in ("", ".", "..")
    assert "/" not in name
    assert "\0" not in name
    assert len(os.fsencode(name)) <= 255


def test_names_without_end_leave_a_bounded_number_of_files(
    run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "PROGRAMS_MAX", 20)
    for number in range(100):
        state.stamps(f"program-{number}", number, keep=3, directory=run)
        os.utime(f"{run}/rate/program-{number}", (number, number))
    left = set(os.listdir(f"{run}/rate"))
    assert len(left) <= 20
    assert "program-99" in left
    assert "program-0" not in left


def test_two_at_once_lose_no_stamp(run: str) -> None:
    children = []
    for number in range(8):
        child = os.fork()
        if child == 0:
            state.stamps("a", number + 1, keep=50, directory=run)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    assert sorted(state.stamps("a", 100, keep=50, directory=run)) == list(range(1, 9))


def test_a_lock_held_for_good_is_waited_for_no_longer_than_allowed(run: str) -> None:
    os.mkdir(run)
    fd = os.open(f"{run}/slot-0", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert Slots(1, directory=run).acquire(0, seconds=1) is False
    os.close(fd)
