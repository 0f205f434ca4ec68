from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from stoppedchild import Child

from pycoredump import pagemap, plan
from pycoredump.corefile import Layout, Segment
from pycoredump.elfnote import Abi, MappedFile
from pycoredump.sharedmemory import SharedMemories, SharedMemory

PAGE = 4096
MIB = 1 << 20

# Maps 64 MiB of shared memory, from its second MiB on, and writes three pages of that.
CHILD = """
import ctypes, mmap, os, signal
fd = os.memfd_create("known")
os.ftruncate(fd, 65 << 20)
area = mmap.mmap(fd, 64 << 20, flags=FLAGS, offset=1 << 20)
for page in (3, 5000, 16383):
    area[page * 4096 : page * 4096 + 4] = page.to_bytes(4, "little")
start = ctypes.addressof(ctypes.c_char.from_buffer(area))
print(f"{start:x}", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.fixture(scope="module", params=["mmap.MAP_SHARED", "mmap.MAP_SHARED | 0x4000"])
def child(request: pytest.FixtureRequest) -> Iterator[Child]:
    found = Child(CHILD.replace("FLAGS", request.param))
    yield found
    found.end()


def pages_of(stretches: Iterator[tuple[int, int]], start: int) -> list[tuple[int, int]]:
    return [((first - start) // PAGE, (stop - start) // PAGE) for first, stop in stretches]


def memory_at(child: Child, address: int) -> SharedMemory:
    found = SharedMemories(child.directory).at(address)
    if found is None and os.geteuid() != 0:
        pytest.skip("needs root to open /proc/PID/map_files")
    assert found is not None
    return found


def test_what_was_written_is_known(child: Child) -> None:
    memory = memory_at(child, child.start)
    found = pages_of(memory.touched(child.start, child.start + 64 * MIB), child.start)
    assert found == [(3, 4), (5000, 5001), (16383, 16384)]


def test_only_what_is_asked_for_is_told(child: Child) -> None:
    memory = memory_at(child, child.start + 20 * MIB)
    found = pages_of(memory.touched(child.start + 4 * PAGE, child.start + 6000 * PAGE), child.start)
    assert found == [(5000, 5001)]


def test_a_look_at_it_writes_nothing(child: Child) -> None:
    before = os.fstat(memory_at(child, child.start).fd).st_blocks
    list(memory_at(child, child.start).touched(child.start, child.start + 64 * MIB))
    assert os.fstat(memory_at(child, child.start).fd).st_blocks == before


def test_a_plan_reads_only_what_was_written(child: Child) -> None:
    memory_at(child, child.start)
    segment = Segment((1, 6, 0, child.start, 0, 64 * MIB, 64 * MIB, PAGE))
    layout = Layout(
        abi=Abi(word=8, order="<", machine=62), head=b"", notes_at=0, segments=(segment,), size=0,
        files=(MappedFile(start=child.start, end=child.start + 64 * MIB, offset=0, path=b"/memfd:known"),),
    )  # fmt: skip
    pages = pagemap.open_pages(child.directory)
    runs = list(pagemap.runs(segment, plan.known(layout, segment, pages)))
    assert sum(size for _, size, zero in runs if not zero) == 6 * PAGE  # three untouched ones are read along
    assert sum(size for _, size, _ in runs) == 64 * MIB


def test_private_and_other_memory_is_not_its_file(child: Child) -> None:
    """Pages of a private mapping that were written are the process's own: the file knows nothing of them."""
    private = Child(CHILD.replace("FLAGS", "mmap.MAP_PRIVATE"))
    try:
        assert SharedMemories(private.directory).at(private.start) is None
        assert SharedMemories(child.directory).at(child.start - 1) is None
        assert SharedMemories(child.directory).at(0) is None
    finally:
        private.end()


def test_of_a_process_that_is_gone_nothing_is_known() -> None:
    gone = Child(CHILD.replace("FLAGS", "mmap.MAP_SHARED"))
    memories = SharedMemories(gone.directory)
    gone.end()
    assert memories.at(gone.start) is None
