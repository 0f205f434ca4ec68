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


def test_what_others_put_into_our_files_survives_another_apply_and_revert(tmp_path: pathlib.Path) -> None:
    root = distributions.lay(tmp_path, distributions.HARDENED)
    request = Request(mode="file", services=True)
    apply(root, request)
    ours = [
        path
        for path in sorted((root / "etc").rglob("*pycoredump*"))
        if lines.is_whole(path.read_text()) and path.is_file()
    ]
    assert len(ours) >= 4
    for path in ours:
        path.write_text(f"# theirs\n{path.read_text()}# theirs too")
    for other in (request, Request(), request):
        assert apply(root, other)[1] in ([], ["core limit of services"])
        for path in ours:
            assert [line for line in path.read_text().splitlines() if "theirs" in line] == [
                "# theirs",
                "# theirs too",
            ], path
    change.revert(os.fspath(root), None, disk=Quick())
    for path in ours:
        rest = [line for line in path.read_text().splitlines() if not line.startswith("[")]
        assert rest == ["# theirs", "# theirs too"]


@pytest.mark.parametrize("name", ["pam.d/old", "pam.d/pycoredump.d", "limits.d/x.conf", "sysctl.d/99-x.conf",
                                  "ssh/sshd_config.d/00-x.conf", "systemd/system.conf.d/x.conf"])  # fmt: skip
def test_a_directory_among_the_snippets_is_in_nobodys_way(tmp_path: pathlib.Path, name: str) -> None:
    root = distributions.lay(tmp_path, distributions.HARDENED)
    (root / "etc" / name.replace("limits.d", "security/limits.d")).mkdir(parents=True)
    before = distributions.snapshot(root)
    assert apply(root, REQUESTS["pipe"])[1] == []
    change.revert(os.fspath(root), None, disk=Quick())
    assert distributions.snapshot(root) == before


def test_a_file_that_sorts_after_every_letter_is_beaten_too(tmp_path: pathlib.Path) -> None:
    late = {
        "/etc/security/limits.d/~late.conf": "root - core 0\n",
        "/etc/sysctl.d/~late.conf": "kernel.core_pattern=core\nfs.suid_dumpable=0\n",
        "/etc/systemd/system.conf.d/\udcff.conf": "[Manager]\nDefaultLimitCORE=0\n",
    }
    root = distributions.lay(tmp_path, {**distributions.DEBIAN, **late})
    before = distributions.snapshot(root)
    assert apply(root, REQUESTS["pipe"])[1] == []
    change.revert(os.fspath(root), None, disk=Quick())
    assert distributions.snapshot(root) == before


def test_revert_after_files_were_deleted_replaced_or_moved(tmp_path: pathlib.Path) -> None:
    root = distributions.lay(tmp_path, distributions.NO_PAM)
    apply(root, Request(services=True))
    etc = root / "etc"
    (etc / "security/limits.conf").unlink()
    (etc / "pam.d/sshd").write_text("session required pam_limits.so\n")
    (etc / "sysctl.d/60-pycoredump.conf").write_text("kernel.core_uses_pid = 1\n\nvm.swappiness = 1\n")
    (etc / "pam.d/login").chmod(0o600)
    (etc / "pam.d/login").rename(root / "login")
    (etc / "pam.d/login").symlink_to("/login")
    change.revert(os.fspath(root), None, disk=Quick())
    assert not (etc / "security/limits.conf").exists()
    assert (etc / "pam.d/sshd").read_text() == "session required pam_limits.so\n"
    assert (
        etc / "sysctl.d/60-pycoredump.conf"
    ).read_text() == "kernel.core_uses_pid = 1\n\nvm.swappiness = 1\n"
    assert (etc / "pam.d/login").is_symlink()
    assert (root / "login").read_text() == distributions.NO_PAM["/etc/pam.d/login"]
    assert (root / "login").stat().st_mode & 0o777 == 0o600
    assert not (etc / "systemd/system.conf.d").exists()
    assert not (root / "var/lib/pycoredump").exists()
