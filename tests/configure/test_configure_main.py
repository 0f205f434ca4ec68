"""The program: exit statuses, one line for a mistake, JSON, the diff, and nothing outside --root."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import distributions
import pytest

from pycoredump.configure import effective, inspect, main, rivals, sysctl
from pycoredump.configure.item import Item
from pycoredump.configure.kernel import Kernel
from pycoredump.configure.report import diff, items
from pycoredump.configure.request import UNLIMITED, Request
from pycoredump.configure.tree import Change, Tree
from pycoredump.errors import ArgumentError


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    return distributions.lay(tmp_path / "root", distributions.NO_PAM)


def run(*argv: str) -> int:
    return main.main(list(argv))


def test_check_says_1_before_and_0_after_apply(
    root: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--root", os.fspath(root))
    assert run("check", *where) == main.OPEN
    assert "WRONG  PAM limits for sshd" in capsys.readouterr().out
    assert run("apply", *where) == main.OPEN  # Debian's services, which are set on request only
    assert run("apply", "--services", *where) == main.HOLDS
    assert run("check", *where) == main.HOLDS
    assert capsys.readouterr().out.endswith("every item holds\n")
    assert run("revert", *where) == main.HOLDS
    assert run("check", *where) == main.OPEN


def test_json_names_file_line_wanted_and_effective(
    root: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("apply", "--services", "--root", os.fspath(root))
    capsys.readouterr()
    assert run("check", "--json", "--root", os.fspath(root)) == main.HOLDS
    data = json.loads(capsys.readouterr().out)
    assert data["holds"] is True
    limit = next(item for item in data["items"] if item["name"] == "core limit of root")
    assert limit == {
        "name": "core limit of root",
        "state": "ok",
        "wanted": "root soft core 1048576",
        "found": "root soft core 1048576",
        "effective": "1048576",
        "file": "/etc/security/limits.conf",
        "line": 11,
        "hint": "",
    }


def test_a_dry_run_shows_the_diff_and_changes_nothing(
    root: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = distributions.snapshot(root)
    assert run("apply", "--dry-run", "--root", os.fspath(root)) == main.HOLDS
    shown = capsys.readouterr().out
    assert "--- /etc/pam.d/sshd\n+++ /etc/pam.d/sshd\n" in shown
    assert "\n+session required pam_limits.so\n" in shown
    assert distributions.snapshot(root) == before


def test_the_diff_is_one_that_patch_applies(root: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("apply", "--dry-run", "--root", os.fspath(root))
    patch = capsys.readouterr().out
    copy = distributions.lay(root.parent / "copy", distributions.NO_PAM)
    done = subprocess.run(
        ["git", "apply", "-p1", "--unsafe-paths", "-"],
        cwd=copy,
        input=patch,
        text=True,
        check=False,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    run("apply", "--root", os.fspath(root))
    assert distributions.snapshot(copy / "etc") == distributions.snapshot(root / "etc")


@pytest.mark.parametrize("verb", [["apply", "--dry-run"], ["check"], ["apply"], ["revert"]])
def test_a_reader_that_goes_away_costs_no_traceback(root: pathlib.Path, verb: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-B", "-m", "pycoredump.configure.main", *verb, "--root", os.fspath(root)],
            cwd=pathlib.Path(__file__).parents[2],
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (main.FAILED, b"")


BAD = {
    "a negative limit": (["apply", "--core-limit=-5"], "--core-limit '-5' is not a limit"),
    "no number": (["apply", "--core-limit", "1G"], "--core-limit '1G' is not a limit"),
    "a limit below a page": (["apply", "--core-limit", "3"], "--core-limit '3' is not a limit"),
    "a limit beyond 64 bits": (["apply", "--core-limit", "9" * 30], "is not a limit"),
    "an unknown user": (["apply", "--domain", "nosuch"], "No user 'nosuch' exists"),
    "an unknown group": (["check", "--domain", "@nosuch"], "No group 'nosuch' exists"),
    "two words": (["apply", "--domain", "root soft core 0\nanna"], "is not a user, @group or *"),
    "an unknown option": (["apply", "--nosuch"], "unrecognized arguments: --nosuch"),
    "an unknown mode": (["apply", "--mode", "socket"], "invalid choice: 'socket'"),
    "no verb": ([], "required: check|apply|revert"),
}  # fmt: skip


@pytest.mark.parametrize(("argv", "message"), BAD.values(), ids=BAD.keys())
def test_a_mistake_is_one_line_and_changes_nothing(
    root: pathlib.Path, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    before = distributions.snapshot(root)
    assert run(*argv, *(["--root", os.fspath(root)] if argv else [])) == main.FAILED
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert message in captured.err
    assert distributions.snapshot(root) == before


FILES = {
    "limits.conf": ("etc/security/limits.conf", "# x\nroot soft\n", "/etc/security/limits.conf:2: 'root soft'"),
    "limits.d": ("etc/security/limits.d/x.conf", "* hard core no\n", "/etc/security/limits.d/x.conf:1: 'no'"),
    "PAM that includes itself": ("etc/pam.d/sshd", "#\n@include sshd\n", "/etc/pam.d/sshd:2: 'sshd' includes itself"),
    "PAM type": ("etc/pam.d/login", "sesion required x\n", "/etc/pam.d/login:1: 'sesion'"),
    "sshd_config": ("etc/ssh/sshd_config", "Match all\nUsePAM no\n", "/etc/ssh/sshd_config:2: UsePAM inside"),
    "our record": ("var/lib/pycoredump/configure.json", "{", "is not our record"),
}  # fmt: skip


@pytest.mark.parametrize("verb", ["check", "apply"])
@pytest.mark.parametrize(("path", "text", "message"), FILES.values(), ids=FILES.keys())
def test_a_bad_file_is_one_line_with_its_place_and_changes_nothing(
    root: pathlib.Path, capsys: pytest.CaptureFixture[str], path: str, text: str, message: str, verb: str
) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    before = distributions.snapshot(root)
    if (verb, path) == ("check", "var/lib/pycoredump/configure.json"):
        return  # check does not need it

    assert run(verb, "--root", os.fspath(root)) == main.FAILED
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert message in captured.err
    assert distributions.snapshot(root) == before


@pytest.mark.root
def test_a_read_only_etc_changes_nothing(root: pathlib.Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")

    before = distributions.snapshot(root)
    program = f"{sys.executable} -B -m pycoredump.configure.main apply --root {root}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"mount --bind -o ro {root}/etc {root}/etc && exec {program}"],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (main.FAILED, "", 1)
    assert "Cannot write" in done.stderr
    assert "Read-only file system (nothing was changed)" in done.stderr
    assert distributions.snapshot(root) == before


@pytest.mark.root
def test_owner_mode_acl_and_label_are_kept_and_links_followed(root: pathlib.Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give files away")

    file = root / "etc/security/limits.conf"
    target = root / "srv/limits.conf"
    target.parent.mkdir()
    file.rename(target)
    file.symlink_to("/srv/limits.conf")
    os.chown(target, 1, 4)
    # u::rw-, u:1000:r--, g::r--, m::r--, o::--- as linux/posix_acl_xattr.h lays it out
    entries = [(1, 6, 2**32 - 1), (2, 4, 1000), (4, 4, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1)]
    acl = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + perm.to_bytes(2, "little") + who.to_bytes(4, "little")
        for tag, perm, who in entries
    )
    os.setxattr(target, "system.posix_acl_access", acl)
    os.setxattr(target, "security.selinux", b"system_u:object_r:etc_t:s0\0")
    before = dressed(target)
    assert run("apply", "--services", "--root", os.fspath(root)) == main.HOLDS
    assert (file.is_symlink(), dressed(target)) == (True, before)
    assert "root soft core 1048576" in target.read_text()
    assert run("revert", "--root", os.fspath(root)) == main.HOLDS
    assert (file.is_symlink(), dressed(target)) == (True, before)
    assert target.read_text() == distributions.LIMITS_CONF


def dressed(path: pathlib.Path) -> tuple[object, ...]:
    status = path.stat()
    attributes = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    return status.st_mode, status.st_uid, status.st_gid, attributes


def test_an_image_costs_the_host_nothing(root: pathlib.Path) -> None:
    before = Kernel().values()
    run("apply", "--root", os.fspath(root))
    run("revert", "--root", os.fspath(root))
    assert Kernel().values() == before


def test_a_host_of_another_root_is_not_asked(root: pathlib.Path) -> None:
    found = inspect.ask(Tree(os.fspath(root)), None)
    assert (found.live, found.sysctl) == (False, {})
    assert [
        i.effective
        for i in inspect.items(Tree(os.fspath(root)), Request(), found, {})
        if "running" in i.effective
    ] == []


@pytest.mark.parametrize(("text", "expected"), [("unlimited", UNLIMITED), ("4", 4096), ("1048576", 1 << 30)])
def test_core_limit_in_kilobytes(text: str, expected: int) -> None:
    assert main.core_limit(text) == expected


@pytest.mark.parametrize("text", ["", "@", "-x", "%adm", "a b", "a#b", "a:b", "a\n"])
def test_a_domain_is_one_word(text: str) -> None:
    with pytest.raises(ArgumentError):
        main.domain(text)


def test_hostile_text_does_not_reach_the_terminal() -> None:
    item = Item(name="x", state="wrong", found="\x1b[2J\udcff", wanted="\n")
    assert all(line.isprintable() for line in items([item]))
    assert not any("\x1b" in line for line in diff([Change(path="/f", before="", after="\x1b[2J\n")]))


def test_the_core_limits_of_a_limits_file() -> None:
    row = "Max core file size         1073741824           unlimited            bytes     \n"
    assert effective.core_limits(f"Limit\n{row}") == (1 << 30, UNLIMITED)
    assert effective.core_limits("nothing") is None


def test_a_rival_that_starts_after_the_sysctl_files_is_wrong(tmp_path: pathlib.Path) -> None:
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "apport.service").symlink_to("/usr/lib/systemd/system/apport.service")
    found = rivals.inspect(Tree(os.fspath(tmp_path)), live=False)
    assert [(item.name, item.state) for item in found] == [("rival apport", "wrong")]
    (tmp_path / "etc/systemd/system/apport.service").symlink_to("/dev/null")
    assert [item.state for item in rivals.inspect(Tree(os.fspath(tmp_path)), live=False)] == ["ok"]


def test_the_manual_names_every_verb_option_and_item() -> None:
    page = (pathlib.Path(__file__).parents[2] / "man/pycoredump-configure.8").read_text().replace("\\-", "-")
    for word in ("check", "apply", "revert", "-root", "-json", "-dry-run", "-mode", "-domain", "-core-limit", "-services"):  # fmt: skip
        assert word in page
    assert all(key in page for key in sysctl.ORDER)
    assert "DefaultLimitCORE" in page
