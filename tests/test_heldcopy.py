from __future__ import annotations

import os
from collections.abc import Iterator

import elfcore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stoppedchild import Child

from pycoredump import heldcopy, plan
from pycoredump.heldcopy import HeldCopy
from pycoredump.memory import Memory
from pycoredump.pagemap import Pages, Snapshot
from pycoredump.plan import Plan, Run

PAGE = 4096
HEAD = b"\x7fELF" + bytes(60)


class Numbers(Memory):
    """A memory in which each page is full of its own number."""

    def __init__(self, *, gone_behind: int = 1 << 62) -> None:
        super().__init__(-1)
        self.gone_behind = gone_behind

    def read_into(self, buffer: memoryview, address: int) -> int:
        came = max(0, min(len(buffer), self.gone_behind - address))
        buffer[:came] = b"".join(b"%08d" % (at // 8) for at in range(address, address + came, 8))
        return came

    def is_there(self) -> bool:
        return self.gone_behind > 1 << 60


def numbers(address: int, size: int) -> bytes:
    return b"".join(b"%08d" % (at // 8) for at in range(address, address + size, 8))


def planned(*runs: Run) -> Plan:
    return Plan(head=HEAD, runs=lambda: iter(runs), size=0)


RUNS = (
    plan.literal(b"notes"),
    plan.data(5 * PAGE, 2 * PAGE),
    plan.zero(PAGE),
    plan.data(PAGE, PAGE),
    plan.data(9 * PAGE, PAGE),
)


@pytest.fixture
def copy() -> Iterator[HeldCopy]:
    made = heldcopy.make(planned(*RUNS), Numbers())
    assert made is not None
    yield made
    made.close()


def test_the_copy_is_the_core_as_planned(copy: HeldCopy) -> None:
    expected = (
        HEAD
        + b"notes"
        + numbers(5 * PAGE, 2 * PAGE)
        + bytes(PAGE)
        + numbers(PAGE, PAGE)
        + numbers(9 * PAGE, PAGE)
    )
    assert os.pread(copy.fd, 1 << 20, 0) == expected


def test_memory_is_read_from_it_by_address_and_what_is_not_in_it_is_zero(copy: HeldCopy) -> None:
    whole = bytearray(12 * PAGE)
    for start, end in ((1, 2), (5, 7), (9, 10)):
        whole[start * PAGE : end * PAGE] = numbers(start * PAGE, (end - start) * PAGE)
    assert copy.read(0, 12 * PAGE) == whole
    assert copy.read(6 * PAGE + 8, 8) == b"%08d" % (6 * PAGE // 8 + 1)
    assert copy.read(100 * PAGE, 5) == bytes(5)
    assert copy.is_there()


@given(st.integers(0, 12 * PAGE), st.integers(0, 6 * PAGE))
def test_any_range_of_it_is_what_the_process_had(start: int, size: int) -> None:
    made = heldcopy.make(planned(*RUNS), Numbers())
    assert made is not None
    try:
        assert made.read(start, size) == made.read(0, 20 * PAGE)[start : start + size]
    finally:
        made.close()


def test_memory_that_goes_away_leaves_no_copy() -> None:
    assert heldcopy.make(planned(*RUNS), Numbers(gone_behind=6 * PAGE)) is None


def test_a_process_that_is_killed_meanwhile_leaves_no_copy() -> None:
    # All came, but what a dying process has given back already reads as untouched.
    assert heldcopy.make(planned(*RUNS), Numbers(gone_behind=1 << 50)) is None


@pytest.mark.parametrize(
    "runs",
    [
        (plan.data(0, heldcopy.SIZE_MAX + PAGE),),
        tuple(plan.data(at * PAGE, 1) for at in range(heldcopy.RUNS_MAX + 1)),
        (plan.data(0, PAGE), plan.zero(heldcopy.SPAN_MAX)),
        (),
    ],
    ids=["much", "many", "wide", "nothing"],
)
def test_what_is_not_little_is_not_copied(runs: tuple[Run, ...]) -> None:
    assert heldcopy.make(planned(*runs), Numbers()) is None


def test_pages_that_could_not_be_read_stay_known() -> None:
    memory = Numbers()
    memory.failed.append((5 * PAGE, PAGE))
    made = heldcopy.make(planned(*RUNS), memory)
    assert made is not None
    assert made.failed == [(5 * PAGE, PAGE)]
    made.close()


def test_which_pages_were_touched_is_known_when_the_process_is_gone() -> None:
    child = Child()
    try:
        fd = child.directory.open("pagemap")
    except OSError as e:
        child.end()
        pytest.skip(f"pagemap cannot be read: {e}")
    pages = Pages(fd)
    start, end = child.start, child.start + (8 << 20)
    known = list(pages.touched(start, end))
    snapshot = Snapshot(pages, [(start, end)])
    child.end()
    os.close(fd)
    assert list(snapshot.touched(start, end)) == known
    assert known
    low = known[0][0]
    assert list(snapshot.touched(low + PAGE, low + 2 * PAGE)) in ([], [(low + PAGE, low + 2 * PAGE)])
    assert list(snapshot.touched(end, end + PAGE)) == []


def test_a_copy_of_a_synthetic_core_reads_as_the_core() -> None:
    process = elfcore.linux_process()
    data = process.core()
    made = heldcopy.make(
        Plan(
            head=data[:64], runs=lambda: iter([plan.literal(data[64:]), plan.data(0, PAGE)]), size=len(data)
        ),
        Numbers(),
    )
    assert made is not None
    assert os.pread(made.fd, len(data), 0) == data
    made.close()
