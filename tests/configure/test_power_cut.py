"""The power fails before each single step of apply and of revert: nothing is half written, and a rerun finishes.

PowerCut models a disk: what was written but not synced is lost, empty or kept; an unsynced rename has
happened or not. test_killed_at_each_system_call does the same with the real process under strace.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import distributions
import pytest
from distributions import Quick

from pycoredump.configure import change
from pycoredump.configure.disk import Disk
from pycoredump.configure.request import Request

HOST = {
    path: text
    for path, text in distributions.UNENDED.items()
    if path.startswith(("/etc/pam.d", "/etc/ssh", "/etc/sec", "/etc/sysctl", "/etc/passwd", "/usr"))
} | {"/etc/sysctl.conf": "fs.suid_dumpable=0", "/etc/group": distributions.GROUP}
REQUEST = Request(mode="file")  # touches every kind: files edited, made and removed, directories, a mode


@pytest.fixture
def memory(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A directory in memory: these tests copy trees some thousand times."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(dir=place) as directory:
        yield pathlib.Path(directory)


class Cut(BaseException):
    """The power is gone: no handler of Exception runs its course."""


class FailingDisk(Quick):
    """A disk whose power is cut before step number `at`; then what was not synced is lost as `loss` says."""

    def __init__(self, at: int, loss: str) -> None:
        self.at = at
        self.loss = loss
        self.steps = 0
        self.unsynced_files: list[str] = []
        self.unsynced_names: list[tuple[str, str, bytes | None]] = []  # directory, path, contents before

    def step(self, what: str, path: str) -> None:
        self.steps += 1
        if self.steps < self.at:
            self._note(what, path)
            return

        if self.steps == self.at and self.loss != "nothing":
            self._lose()
        raise Cut

    def _note(self, what: str, path: str) -> None:
        if what == "open":
            self.unsynced_files.append(path)
        if what in ("open", "rename", "unlink"):
            before = pathlib.Path(path).read_bytes() if os.path.isfile(path) else None
            self.unsynced_names.append((os.path.dirname(path), path, before))
        if what == "fsync":
            self.unsynced_files = [name for name in self.unsynced_files if name != path]
            self.unsynced_names = [entry for entry in self.unsynced_names if entry[0] != path]

    def _lose(self) -> None:
        for path in self.unsynced_files:
            if os.path.lexists(path):
                pathlib.Path(path).write_bytes(b"")
        if self.loss == "contents":
            return
        for _, path, before in reversed(self.unsynced_names):
            if before is None:
                pathlib.Path(path).unlink(missing_ok=True)
            else:
                pathlib.Path(path).write_bytes(before)


def steps(root: pathlib.Path, *, revert: bool) -> int:
    disk = FailingDisk(10**9, "nothing")
    run(root, disk, revert=revert)
    return disk.steps


def run(root: pathlib.Path, disk: Disk, *, revert: bool) -> None:
    if revert:
        change.revert(os.fspath(root), None, disk=disk)
    else:
        change.apply(os.fspath(root), REQUEST, None, disk=disk)


def cut(root: pathlib.Path, at: int, loss: str, *, revert: bool) -> None:
    disk = FailingDisk(at, loss)
    with pytest.raises(Cut):
        run(root, disk, revert=revert)


def contents(root: pathlib.Path) -> dict[str, bytes]:
    """The files that programs read: what is hidden or below /var/lib is ours alone."""
    return {
        name: body
        for name, (_, body) in distributions.snapshot(root).items()
        if not os.path.basename(name).startswith(".") and not name.startswith("var/")
    }


def is_old_or_new(now: dict[str, bytes], old: dict[str, bytes], new: dict[str, bytes]) -> bool:
    for name in now.keys() | old.keys() | new.keys():
        if now.get(name, b"") not in (old.get(name, b""), new.get(name, b"")):
            return False
    return True


@pytest.mark.parametrize("loss", ["nothing", "contents", "everything"])
@pytest.mark.parametrize("revert", [False, True], ids=["apply", "revert"])
def test_a_power_cut_before_any_step_leaves_each_file_old_or_new(
    memory: pathlib.Path, loss: str, revert: bool
) -> None:
    pristine = distributions.lay(memory / "pristine", HOST)
    applied = memory / "applied"
    shutil.copytree(pristine, applied, symlinks=True)
    count = steps(applied, revert=False)
    before, after = distributions.snapshot(pristine), distributions.snapshot(applied)
    if revert:
        scratch = memory / "scratch"
        shutil.copytree(applied, scratch, symlinks=True)
        count = steps(scratch, revert=True)
    assert count > 30
    old, new = contents(pristine), contents(applied)
    for at in range(1, count + 1):
        root = memory / str(at)
        shutil.copytree(applied if revert else pristine, root, symlinks=True)
        cut(root, at, loss, revert=revert)
        finishes(root, old, new, before, after, what=at)
        shutil.rmtree(root)


def files(snapshot: dict[str, tuple[int, bytes]]) -> dict[str, tuple[int, bytes]]:
    """All but the record, whose list of directories made may differ after a cut."""
    return {name: entry for name, entry in snapshot.items() if not name.endswith("configure.json")}


def without_empty(snapshot: dict[str, tuple[int, bytes]]) -> dict[str, tuple[int, bytes]]:
    """Without /var's directories: a cut before the first record, or after it is gone, may leave empty ones."""
    return {
        name: entry for name, entry in snapshot.items() if not (name + "/").startswith("var/") or entry[1]
    }


strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


@strace
@pytest.mark.slow
@pytest.mark.parametrize(
    "call", ["write", "fsync", "rename", "unlink", "mkdir", "fchmod", "fchown", "rmdir"]
)
def test_killed_at_each_system_call_it_leaves_each_file_old_or_new(memory: pathlib.Path, call: str) -> None:
    pristine = distributions.lay(memory / "pristine", HOST)
    applied = memory / "applied"
    shutil.copytree(pristine, applied, symlinks=True)
    change.apply(os.fspath(applied), REQUEST, None, disk=Quick())
    before, after = distributions.snapshot(pristine), distributions.snapshot(applied)
    old, new = contents(pristine), contents(applied)
    killed = 0
    for verb, start in (("apply", pristine), ("revert", applied)):
        for number in range(1, 200):
            root = memory / "root"
            shutil.copytree(start, root, symlinks=True)
            survived = run_under_strace(root, verb, call, number)
            if not survived:
                killed += 1
                finishes(root, old, new, before, after, what=(verb, call, number))
            shutil.rmtree(root)
            if survived:
                break
    assert killed > 0, "the program makes no such call: this test shows nothing"


def finishes(
    root: pathlib.Path,
    old: dict[str, bytes],
    new: dict[str, bytes],
    before: dict[str, tuple[int, bytes]],
    after: dict[str, tuple[int, bytes]],
    *,
    what: object,
) -> None:
    """Each file is old or new; a revert, or a second apply and then a revert, does the rest."""
    assert is_old_or_new(contents(root), old, new), what
    again = root.with_name("again")
    shutil.copytree(root, again, symlinks=True)
    change.revert(os.fspath(again), None, disk=Quick())
    assert without_empty(distributions.snapshot(again)) == without_empty(before), what
    change.apply(os.fspath(root), REQUEST, None, disk=Quick())
    assert files(distributions.snapshot(root)) == files(after), what
    change.revert(os.fspath(root), None, disk=Quick())
    assert without_empty(distributions.snapshot(root)) == without_empty(before), what
    shutil.rmtree(again)


def run_under_strace(root: pathlib.Path, verb: str, call: str, number: int) -> bool:
    """Run the program and kill it at its number-th such call; whether it came to its end."""
    script = "import sys; from pycoredump.configure import main; sys.exit(main.main(sys.argv[1:]))"  # no .pyc writes
    argv = [verb, "--root", os.fspath(root), *(["--mode", "file"] if verb == "apply" else [])]
    done = subprocess.run(
        [
            *("strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}"),
            *("-e", f"inject={call}:signal=SIGKILL:when={number}"),
            *(sys.executable, "-B", "-c", script, *argv),
        ],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0
