"""apply and revert on whole trees of files, as distributions and hardening guides leave them."""

from __future__ import annotations

import os
import pathlib

import distributions
import pytest
from distributions import Quick

from pycoredump.configure import change, lines
from pycoredump.configure.request import UNLIMITED, Request

REQUESTS = {
    "pipe": Request(services=True),
    "file": Request(mode="file", services=True),
    "several domains": Request(domains=("anna", "@adm", "*", "root"), core_limit=UNLIMITED, services=True),
}
hosts = pytest.mark.parametrize("files", distributions.ALL.values(), ids=distributions.ALL.keys())
requests = pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())


def apply(root: pathlib.Path, request: Request) -> tuple[list[str], list[str]]:
    """What was done, and the names of the items that do not hold then."""
    done, items = change.apply(os.fspath(root), request, None, disk=Quick())
    return done, [item.name for item in items if not item.holds()]


@hosts
@requests
def test_every_item_holds_after_apply(
    tmp_path: pathlib.Path, files: distributions.Files, request_: Request
) -> None:
    root = distributions.lay(tmp_path, files)
    assert apply(root, request_)[1] == []
    assert [i.name for i in change.check(os.fspath(root), request_, None) if not i.holds()] == []


@hosts
@requests
def test_apply_twice_changes_no_more_than_once(
    tmp_path: pathlib.Path, files: distributions.Files, request_: Request
) -> None:
    root = distributions.lay(tmp_path, files)
    apply(root, request_)
    once = distributions.snapshot(root)
    assert apply(root, request_)[0] == []
    assert distributions.snapshot(root) == once


@hosts
@requests
def test_revert_restores_every_byte(
    tmp_path: pathlib.Path, files: distributions.Files, request_: Request
) -> None:
    root = distributions.lay(tmp_path, files)
    before = distributions.snapshot(root)
    done, _ = apply(root, request_)
    assert bool(change.revert(os.fspath(root), None, disk=Quick())) == bool(done)
    assert distributions.snapshot(root) == before


@hosts
def test_foreign_lines_keep_their_bytes_and_order(
    tmp_path: pathlib.Path, files: distributions.Files
) -> None:
    root = distributions.lay(tmp_path, files)
    for one in change.planned(os.fspath(root), Request(services=True), None).changes:
        before, after = lines.split(one.before or ""), iter(lines.split(one.after or ""))
        # The one byte that may be added to a foreign line is the end that a file's last line lacked.
        assert all(any(line in (new, new.removesuffix("\n")) for new in after) for line in before), one.path


@hosts
def test_apply_of_another_mode_leaves_what_it_alone_would(
    tmp_path: pathlib.Path, files: distributions.Files
) -> None:
    direct = distributions.lay(tmp_path / "direct", files)
    detour = distributions.lay(tmp_path / "detour", files)
    (detour / "var/core").mkdir(parents=True, mode=0o711)
    (direct / "var/core").mkdir(parents=True, mode=0o711)
    apply(direct, REQUESTS["pipe"])
    apply(detour, REQUESTS["file"])
    apply(detour, REQUESTS["pipe"])
    assert distributions.snapshot(detour / "etc") == distributions.snapshot(direct / "etc")
    assert (detour / "var/core").stat().st_mode == (direct / "var/core").stat().st_mode


def test_revert_after_both_modes_leaves_no_directory(tmp_path: pathlib.Path) -> None:
    root = distributions.lay(tmp_path, distributions.DEBIAN)
    before = distributions.snapshot(root)
    apply(root, REQUESTS["file"])
    apply(root, REQUESTS["pipe"])
    assert (root / "var/core").stat().st_mode & 0o7777 == 0o711
    change.revert(os.fspath(root), None, disk=Quick())
    assert distributions.snapshot(root) == before


def test_revert_keeps_cores_but_closes_their_directory(tmp_path: pathlib.Path) -> None:
    root = distributions.lay(tmp_path, distributions.DEBIAN)
    apply(root, REQUESTS["file"])
    (root / "var/core/core-x").touch()
    change.revert(os.fspath(root), None, disk=Quick())
    assert ((root / "var/core").stat().st_mode & 0o7777, os.listdir(root / "var/core")) == (
        0o711,
        ["core-x"],
    )


@hosts
def test_revert_after_other_edits_takes_only_our_lines(
    tmp_path: pathlib.Path, files: distributions.Files
) -> None:
    root = distributions.lay(tmp_path, files)
    originals = {path: text for path, text in files.items() if not text.startswith("->")}
    apply(root, Request())
    places = ("/etc/security/limits.conf", "/etc/ssh/sshd_config", "/etc/sysctl.conf", "/etc/pam.d/sshd")
    edited = [path for path in places if path in originals]
    for path in edited:
        with (root / path.lstrip("/")).open("ab") as file:
            file.write(b"# added later\n")
    change.revert(os.fspath(root), None, disk=Quick())
    for path in edited:
        text = (root / path.lstrip("/")).read_bytes().decode("utf-8", "surrogateescape")
        first = originals[path] + ("" if originals[path].endswith("\n") or not originals[path] else "\n")
        assert text in (first + "# added later\n", originals[path] + "# added later\n")


def test_a_lost_record_costs_revert_no_line(tmp_path: pathlib.Path) -> None:
    root = distributions.lay(tmp_path, distributions.HARDENED)
    before = distributions.snapshot(root / "etc")
    apply(root, Request())
    (root / "var/lib/pycoredump/configure.json").unlink()
    change.revert(os.fspath(root), None, disk=Quick())
    assert distributions.snapshot(root / "etc") == before
