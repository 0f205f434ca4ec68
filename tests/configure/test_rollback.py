"""Any error at any step: everything is put back, and one line says so."""

from __future__ import annotations

import errno
import os
import pathlib
import subprocess
import sys

import distributions
import pytest
from distributions import Quick

from pycoredump.configure import change, main, plan
from pycoredump.configure.kernel import Kernel
from pycoredump.configure.record import Changed
from pycoredump.configure.request import Request
from pycoredump.configure.transaction import Transaction, locked
from pycoredump.configure.tree import Tree
from pycoredump.errors import PycoredumpError

HOST = distributions.NO_PAM


class FullDisk(Quick):
    """Fails once, at step number `at`."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.steps = 0

    def step(self, what: str, path: str) -> None:
        self.steps += 1
        if self.steps == self.at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def test_an_error_at_any_step_of_apply_puts_everything_back(tmp_path: pathlib.Path) -> None:
    root = distributions.lay(tmp_path, HOST)
    before = distributions.snapshot(root)
    failures = 0
    while error := failure(root, failures + 1, revert=False):
        failures += 1
        assert "No space left on device" in str(error)
        assert error.hint == "nothing was changed"
        assert distributions.snapshot(root) == before
    assert failures > 30


def failure(root: pathlib.Path, at: int, *, revert: bool) -> PycoredumpError | None:
    """Run with a disk that fails at a step; the error, None if there was no such step any more."""
    try:
        if revert:
            change.revert(os.fspath(root), None, disk=FullDisk(at))
        else:
            change.apply(os.fspath(root), Request(mode="file"), None, disk=FullDisk(at))
    except PycoredumpError as e:
        return e
    return None


def test_an_error_at_any_step_of_revert_leaves_what_was_applied(tmp_path: pathlib.Path) -> None:
    root = distributions.lay(tmp_path, HOST)
    pristine = distributions.snapshot(root)
    change.apply(os.fspath(root), Request(mode="file"), None, disk=Quick())
    applied = distributions.snapshot(root / "etc")
    failures = 0
    while failure(root, failures + 1, revert=True):
        failures += 1
        assert distributions.snapshot(root / "etc") == applied, failures
    assert failures > 20
    assert distributions.snapshot(root) == pristine


def test_a_kernel_that_refuses_puts_files_and_earlier_values_back(tmp_path: pathlib.Path) -> None:
    root = distributions.lay(tmp_path / "root", HOST)
    before = distributions.snapshot(root)
    kernel = fake_kernel(tmp_path / "sys")
    refusing = tmp_path / "sys/fs/suid_dumpable"
    refusing.unlink()
    refusing.mkdir()
    todo = plan.Plan(
        changes=change.planned(os.fspath(root), Request(), None).changes,
        before=Changed(),
        after=Changed(),
        made=[],
        mode=None,
        kernel={"kernel.core_pattern": ("core", "|/x"), "fs.suid_dumpable": ("0", "2")},
        back={},
        predicted=[],
        reasons={},
    )
    with pytest.raises(PycoredumpError, match=r"Cannot set fs.suid_dumpable=2"):
        carry_out(root, todo, kernel)
    assert distributions.snapshot(root) == before
    assert kernel.read("kernel.core_pattern") == "core"


def carry_out(root: pathlib.Path, todo: plan.Plan, kernel: Kernel) -> None:
    with Transaction(Tree(os.fspath(root)), Quick()) as transaction:
        change.carry_out(transaction, todo, kernel)


def fake_kernel(directory: pathlib.Path) -> Kernel:
    for path, value in {
        "kernel/core_pattern": "core",
        "kernel/core_pipe_limit": "0",
        "kernel/core_uses_pid": "0",
        "fs/suid_dumpable": "0",
    }.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(f"{value}\n")
    return Kernel(os.fspath(directory))


def test_the_safe_core_pattern_is_set_first_and_restored_last(tmp_path: pathlib.Path) -> None:
    kernel = fake_kernel(tmp_path)
    order: list[str] = []

    class Watched(Kernel):
        def write(self, key: str, value: str) -> None:
            order.append(key)
            super().write(key, value)

    watched = Watched(os.fspath(tmp_path))
    wanted = {"fs.suid_dumpable": "2", "kernel.core_pattern": "|/x", "kernel.core_uses_pid": "1"}
    pending = watched.pending(wanted)
    for key, (_, value) in pending.items():
        watched.write(key, value)
    assert order == ["kernel.core_pattern", "kernel.core_uses_pid", "fs.suid_dumpable"]
    order.clear()
    watched.restore(pending)
    assert order == ["fs.suid_dumpable", "kernel.core_uses_pid", "kernel.core_pattern"]
    assert kernel.read("kernel.core_pattern") == "core"


def test_a_revert_that_fails_leaves_the_kernel_as_it_was_applied(tmp_path: pathlib.Path) -> None:
    root = distributions.lay(tmp_path / "root", HOST)
    kernel = fake_kernel(tmp_path / "sys")
    with Transaction(Tree(os.fspath(root)), Quick()) as transaction:
        before = Changed()
        before.sysctl = kernel.pending({"kernel.core_pattern": "|/x", "fs.suid_dumpable": "2"})
        for key, (_, value) in before.sysctl.items():
            kernel.write(key, value)
        transaction.write_record(before)
    applied = kernel.values()
    done = ["set fs.suid_dumpable = 0", "set kernel.core_pattern = core"]
    for at in range(1, 100):
        try:
            assert change.revert(os.fspath(root), kernel, disk=FullDisk(at)) == done
            break
        except PycoredumpError:
            assert kernel.values() == applied, at
    assert at > 10


def test_restore_leaves_a_value_that_someone_else_has_set_since(tmp_path: pathlib.Path) -> None:
    kernel = fake_kernel(tmp_path)
    kernel.write("kernel.core_pattern", "|/other")
    assert kernel.restore({"kernel.core_pattern": ("core", "|/x")}) == []
    assert kernel.read("kernel.core_pattern") == "|/other"


def test_an_item_that_does_not_take_effect_puts_everything_back(
    tmp_path: pathlib.Path,
) -> None:
    root = distributions.lay(tmp_path, HOST)
    before = distributions.snapshot(root)
    foreign = root / "etc/security/limits.d/zz.conf"

    class Meddling(Quick):
        """Someone else writes a file that wins while we write ours."""

        def rename(self, old: str, new: str) -> None:
            super().rename(old, new)
            if new.endswith("limits.conf") and not foreign.exists():
                foreign.write_text("root soft core 0\n")

    with pytest.raises(PycoredumpError, match=r"core limit of root is not in effect after the change \(0\)"):
        change.apply(os.fspath(root), Request(), None, disk=Meddling())
    foreign.unlink()
    assert distributions.snapshot(root) == before


def test_two_at_once_are_refused(tmp_path: pathlib.Path) -> None:
    root = distributions.lay(tmp_path, HOST)
    with (
        locked(Tree(os.fspath(root))),
        pytest.raises(PycoredumpError, match="Another pycoredump-configure"),
    ):
        change.apply(os.fspath(root), Request(), None, disk=Quick())


def test_the_program_says_it_in_one_line(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = distributions.lay(tmp_path, HOST)
    (root / "usr/libexec/pycoredump").unlink()
    assert main.main(["apply", "--root", os.fspath(root)]) == main.FAILED
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert "every crash would be lost" in captured.err


def test_a_file_that_someone_else_changes_meanwhile_is_not_overwritten(tmp_path: pathlib.Path) -> None:
    root = distributions.lay(tmp_path, HOST)
    before = distributions.snapshot(root)
    sshd = root / "etc/pam.d/sshd"

    class Meddling(Quick):
        """Someone edits a file after it was read and before it is replaced."""

        def rename(self, old: str, new: str) -> None:
            super().rename(old, new)
            if new.endswith("pam.d/login"):
                sshd.write_text("# edited\n")

    with pytest.raises(PycoredumpError, match=r"/etc/pam.d/sshd was changed by someone else meanwhile"):
        change.apply(os.fspath(root), Request(), None, disk=Meddling())
    assert sshd.read_text() == "# edited\n"
    sshd.write_text(HOST["/etc/pam.d/sshd"])
    assert distributions.snapshot(root) == before


class Watching(Quick):
    """Looks at the host before each step."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.seen: list[tuple[bool, ...]] = []

    def step(self, what: str, path: str) -> None:
        limits, pam, sshd = (
            self.root / name
            for name in ("etc/security/limits.conf", "etc/pam.d/sshd", "etc/ssh/sshd_config")
        )
        self.seen.append(
            (
                limits.exists(),
                "\nsession required pam_limits" in pam.read_text(),
                "\nUsePAM yes" in sshd.read_text(),
            )
        )


def test_there_is_no_moment_at_which_logins_would_be_refused(tmp_path: pathlib.Path) -> None:
    root = distributions.lay(tmp_path, {**HOST, "/etc/ssh/sshd_config": "# x\nUsePAM no\n"})
    (root / "etc/security/limits.conf").unlink()
    before = distributions.snapshot(root)
    disk = Watching(root)
    change.apply(os.fspath(root), Request(), None, disk=disk)
    change.revert(os.fspath(root), None, disk=disk)
    assert distributions.snapshot(root) == before
    # Without its file, pam_limits refuses every session up to Linux-PAM 1.5; without pam_limits, UsePAM is no use.
    rise = [(False, False, False), (True, False, False), (True, True, False), (True, True, True)]
    assert [
        state for state, after in zip(disk.seen, [*disk.seen[1:], None], strict=True) if state != after
    ] == [
        *rise,
        *rise[-2::-1],
    ]


def test_many_at_once_leave_what_one_leaves(tmp_path: pathlib.Path) -> None:
    root = distributions.lay(tmp_path / "root", HOST)
    alone = distributions.lay(tmp_path / "alone", HOST)
    change.apply(os.fspath(alone), Request(), None, disk=Quick())
    command = [sys.executable, "-B", "-m", "pycoredump.configure.main", "apply", "--root", os.fspath(root)]
    repository = pathlib.Path(__file__).parents[2]
    many = [
        subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    results = [(*process.communicate(), process.returncode) for process in many]
    assert main.HOLDS in [status for _, _, status in results]
    for out, err, status in results:
        assert status in (main.HOLDS, main.FAILED)
        assert (
            (out, "Another pycoredump-configure works on" in err) == ("", True)
            if err
            else out.count("wrote") in (0, 4)
        )
    assert distributions.snapshot(root) == distributions.snapshot(alone)
