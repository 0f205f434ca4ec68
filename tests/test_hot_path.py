"""What the handler may import before the crashed process is released: each import is time that somebody waits."""

from __future__ import annotations

import os
import pathlib
import subprocess
from collections.abc import Iterator

import elfcore
import pytest
from stoppedchild import Child

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "pycoredump"
PYTHON = "/usr/bin/python3"  # the one that the handler's first line names
UNLIMITED = str(2**64 - 1)  # %c
RULE = "tests/test_hot_path.py"  # a module whose docstring names this file is bound by it

# Beside what the bare interpreter (python3 -IS) has loaded by itself, and why.
ALLOWED = {
    "__future__": "annotations that are not evaluated",
    "os": "all system calls; brings the next six with it",
    "_collections_abc": "by os",
    "_stat": "by stat",
    "genericpath": "by os",
    "os.path": "by os",
    "posixpath": "by os",
    "stat": "by os; who owns the directory of cores",
    "errno": "failures are told apart by number",
    "struct": "ELF and zstd headers",
    "_struct": "by struct",
    "fcntl": "flock(2), PAGEMAP_SCAN, O_DIRECT, seals",
    "mmap": "page-aligned buffers that are given back to the kernel",
    "resource": "no core of the handler itself",
    "itertools": "built in: chain",
    "_bisect": "the C part; bisect would be one more file",
    "_ctypes": "the C part: prctl(2) and an array of numbers; ctypes costs 3 ms",
    "_socket": "the C part: one datagram to journald; socket costs 6 ms",
    "zstandard.backend_c": "the C part: compression; the package zstandard costs 12 ms",
}
# Built into the interpreter: nothing is read for them, wherever they come from.
BUILT_IN = ("_imp", "_signal", "_thread", "time", "posix", "sys")

# Runs the handler in a fresh interpreter up to the release, which is the first to open /dev/null for reading
# alone; there it tells what is loaded and ends. It says nothing to the journal nor to the kernel log, and has nobody
# who would do so for it.
UNTIL_RELEASE = """
import sys
bare = set(sys.modules)
sys.path.insert(0, {root!r})

def watch(event, arguments):
    if event == "open" and arguments[0] == "/dev/null" and arguments[2] & 3 == 0:
        import posix
        loaded = sorted(set(sys.modules) - bare)
        posix.write(1, ("\\n".join(loaded) + "\\n").encode())
        posix._exit(0)
    if event in ("socket.sendmsg", "socket.connect", "os.posix_spawn") or (event == "open" and arguments[0] == "/dev/kmsg"):
        raise OSError(111, "Connection refused")

sys.addaudithook(watch)
from pycoredump import heldcopy
from pycoredump.handler import main
heldcopy.SIZE_MAX = {copied}
main(["handler", *{arguments!r}], etc={etc!r}, lib={etc!r})
sys.exit("the release was not reached")
"""


def surplus(loaded: list[str]) -> list[str]:
    """What is loaded but not allowed; our own modules are another matter."""
    others = [name for name in loaded if name.partition(".")[0] != "pycoredump"]
    return [name for name in others if name not in ALLOWED and name not in BUILT_IN]


def fresh(code: str, *, stdin: bytes = b"") -> list[str]:
    """The lines that a fresh interpreter without site prints."""
    done = subprocess.run([PYTHON, "-ISc", code], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


def bound() -> set[str]:
    """The modules whose docstrings say that they run before the release."""
    found = set()
    for path in PACKAGE.glob("*.py"):
        if RULE in path.read_text().partition('"""\n')[0]:
            found.add(f"pycoredump.{path.stem}")
    return found


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    found = Child()
    yield found
    found.end()


def core_of(child: Child) -> bytes:
    """A core that can be proved to be the child's: its auxiliary vector stands in it, and one of its mappings."""
    vector = child.directory.read("auxv", 1 << 16)
    notes = (
        elfcore.note(1, elfcore.prstatus(elfcore.Thread(tid=child.process.pid, sp=child.start + 4096)))
        + elfcore.note(6, vector)
        + elfcore.note(0x46494C45, elfcore.nt_file([elfcore.File(1 << 20, 2 << 20, 0, b"/bin/true")]))
    )
    return elfcore.core(notes=notes, segments=[elfcore.Segment(child.start, bytes(8 << 20))])


def loaded_at_release(
    child: Child, directory: pathlib.Path, options: str, *, pid: int = 0, copied: int = 0
) -> list[str]:
    """Our modules and others', when the handler has stored (or copied) the child's core and is about to let it go."""
    (directory / "pycoredump.conf").write_text(f"[Coredump]\nDirectory={directory}/core\n{options}\n")
    number = str(pid or child.process.pid)
    arguments = [
        number,
        "11",
        "1700000000",
        "prog",
        str(os.getuid()),
        str(os.getgid()),
        UNLIMITED,
        "1",
        "",
        number,
    ]
    code = UNTIL_RELEASE.format(
        root=os.fspath(ROOT), arguments=arguments, etc=os.fspath(directory), copied=copied
    )
    return fresh(code, stdin=core_of(child))


WAYS = {
    "as shipped": "",
    "all kept from memory": "KeepFree=0\nMaxUse=0",
    "under a budget": "Content=budget\nBudget=64K\nKeepFree=0",
    "without locked memory": "LockedMemory=no\nKeepFree=0",
    "stacks": "Content=stacks\nKeepFree=0",
    "not compressed": "Compress=no\nKeepFree=0",
    "in the journal": "Storage=journal",
    "not stored": "Storage=none",
    "read to the end": "CloseThreshold=infinity\nKeepFree=0",
    "no room": "KeepFree=infinity",
    "broken configuration": "Nonsense\n[\x80\nBudget=much",
}


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS.keys())
def test_nothing_else_is_imported_before_the_release(
    options: str, child: Child, tmp_path: pathlib.Path
) -> None:
    too_many = surplus(loaded_at_release(child, tmp_path, options))
    assert not too_many, f"imported before the release: {' '.join(too_many)}"


def test_nothing_else_is_imported_for_a_process_that_is_gone(child: Child, tmp_path: pathlib.Path) -> None:
    too_many = surplus(loaded_at_release(child, tmp_path, "KeepFree=0", pid=2**22 - 1))
    assert not too_many, f"imported before the release: {' '.join(too_many)}"


def test_the_core_is_stored_by_then(child: Child, tmp_path: pathlib.Path) -> None:
    loaded_at_release(child, tmp_path, "KeepFree=0\nMaxUse=0")
    (stored,) = (tmp_path / "core").iterdir()
    assert stored.name == f"core-prog-{child.process.pid}-11-1700000000.zst"
    if os.geteuid() == 0:  # others may not read its memory: Yama (ptrace_scope)
        core = subprocess.run(["zstd", "-dcq", stored], capture_output=True, check=True).stdout
        assert b"page" in core  # which is not in the stream


@pytest.mark.root  # others may not read its memory: Yama (ptrace_scope)
def test_a_small_core_is_copied_and_its_process_released_before_anything_is_stored(
    child: Child, tmp_path: pathlib.Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("reading another process's memory needs root")
    too_many = surplus(loaded_at_release(child, tmp_path, "KeepFree=0\nMaxUse=0", copied=16 << 20))
    assert not too_many, f"imported before the release: {' '.join(too_many)}"
    assert list((tmp_path / "core").iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "argparse", "logging", "json", "pathlib", "subprocess", "dataclasses", "configparser", "elftools",
        "inspect", "tempfile", "asyncio", "typing", "collections", "re", "enum", "contextlib", "functools",
        "ctypes", "socket", "signal", "threading", "shutil", "zstandard", "systemd", "site",
    ],
)  # fmt: skip
def test_what_is_known_to_be_slow_is_not_allowed(name: str) -> None:
    assert surplus([name, "os"]) == [name]


def test_the_modules_that_say_they_run_before_the_release_are_those_that_do(
    child: Child, tmp_path: pathlib.Path
) -> None:
    loaded = loaded_at_release(child, tmp_path, "KeepFree=0")
    assert {name for name in loaded if name.startswith("pycoredump.")} == bound()


@pytest.mark.parametrize("name", sorted(bound()))
def test_each_of_them_imports_nothing_else_by_itself(name: str) -> None:
    code = f"import sys; bare = set(sys.modules); sys.path.insert(0, {os.fspath(ROOT)!r})\n"
    loaded = fresh(f"{code}import {name}\nprint('\\n'.join(set(sys.modules) - bare))")
    assert surplus(loaded) == []
    assert {other for other in loaded if other.startswith("pycoredump.")} <= bound()


def test_each_reason_is_said_and_each_name_is_loaded(child: Child, tmp_path: pathlib.Path) -> None:
    """A name that nothing loads any more leaves the list."""
    seen = set(loaded_at_release(child, tmp_path, "KeepFree=0\nMaxUse=0"))
    seen |= {"zstandard.backend_c"}  # may be missing here; then frames are not compressed
    assert all(ALLOWED.values())
    assert set(ALLOWED) <= seen, sorted(set(ALLOWED) - seen)
