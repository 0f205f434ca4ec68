"""The program: exit statuses, one line for a mistake, JSON, the diff, and nothing outside --root."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shlex
import subprocess
import sys

import distributions
import pytest

from pycoredump.configure import inspect, main, options
from pycoredump.configure.kernel import Kernel
from pycoredump.configure.request import UNLIMITED, Request
from pycoredump.configure.tree import Tree
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
    assert run("apply", *where) == main.HOLDS
    assert run("check", *where) == main.HOLDS
    assert capsys.readouterr().out.endswith("every item holds; notes: 1\n")
    assert (
        run("check", "--services", *where) == main.OPEN
    )  # Debian's services, which are set on request only
    assert run("apply", "--services", *where) == main.HOLDS
    assert run("check", "--services", *where) == main.HOLDS
    assert capsys.readouterr().out.endswith("every item holds\n")
    assert run("revert", *where) == main.HOLDS
    assert run("check", *where) == main.OPEN


def test_the_advice_is_the_command_for_what_was_asked(
    root: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--root", os.fspath(root))
    run("check", "--mode", "file", "--domain", "anna", "--domain", "*", "--core-limit", "unlimited", *where)
    command = f"apply --root {root} --mode file --domain anna --domain '*' --core-limit unlimited"
    shown = capsys.readouterr().out
    assert f"to do      pycoredump-configure {command}\n" in shown
    assert run(*shlex.split(command)) == main.HOLDS
    assert "made /var/core, mode 1777\n" in capsys.readouterr().out


def test_a_dry_run_of_file_mode_tells_of_the_directory(
    root: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--root", os.fspath(root))
    run("apply", "--dry-run", "--mode", "file", *where)
    assert capsys.readouterr().out.endswith("\n/var/core: mode 1777\n")
    run("apply", "--mode", "file", *where)
    capsys.readouterr()
    run("revert", "--dry-run", *where)
    assert capsys.readouterr().out.endswith("\n/var/core: removed if it is empty\n")
    run("revert", "--dry-run", "--json", *where)
    data = json.loads(capsys.readouterr().out)
    assert data["other"] == ["/var/core: removed if it is empty"]
    assert data["running"] == {}
    assert "/etc/security/limits.conf" in data["files"]


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


@pytest.mark.parametrize(
    ("redirection", "status", "message"),
    [
        (">&-", main.OPEN, ""),
        (">&- 2>&- <&-", main.OPEN, ""),
        (">/dev/full", main.FAILED, "pycoredump-configure: standard output: No space left on device\n"),
    ],
)
def test_an_output_that_takes_nothing_costs_no_traceback(
    root: pathlib.Path, redirection: str, status: int, message: str
) -> None:
    command = f"{sys.executable} -B -m pycoredump.configure.main check --root {root} {redirection}"
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=pathlib.Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (status, message)


@pytest.mark.parametrize("locale", ["C", "en_US.ISO-8859-1", "POSIX"])
def test_any_locale_can_print_any_file(root: pathlib.Path, locale: str) -> None:
    (root / "etc/security/limits.conf").write_bytes(
        "root soft core 0 # €\udcff".encode("utf-8", "surrogateescape")
    )
    (root / "etc/sysctl.conf").write_text("kernel.core_pattern=|/opt/ärger/€ %P\n")
    for verb in (["check"], ["check", "--json"], ["apply", "--dry-run"], ["apply"], ["revert"]):
        done = subprocess.run(
            [
                sys.executable,
                "-B",
                "-X",
                "utf8=0",
                "-m",
                "pycoredump.configure.main",
                *verb,
                "--root",
                os.fspath(root),
            ],
            cwd=pathlib.Path(__file__).parents[2],
            env={"LC_ALL": locale, "PYTHONCOERCECLOCALE": "0", "PATH": "/usr/bin:/bin"},
            capture_output=True,
            check=False,
        )
        assert (done.stderr, done.returncode in (main.HOLDS, main.OPEN)) == (b"", True)


def test_the_diff_is_escaped_on_a_terminal_and_raw_in_a_pipe(root: pathlib.Path) -> None:
    (root / "etc/security/limits.conf").write_text("root\tsoft\tcore 0 # \x1b[2J\n")
    command = [
        sys.executable,
        "-B",
        "-m",
        "pycoredump.configure.main",
        "apply",
        "--dry-run",
        "--root",
        os.fspath(root),
    ]
    repository = pathlib.Path(__file__).parents[2]
    piped = subprocess.run(command, cwd=repository, capture_output=True, check=True).stdout
    assert b" root\tsoft\tcore 0 # \x1b[2J\n" in piped
    master, slave = os.openpty()
    done = subprocess.run(command, cwd=repository, stdout=slave, check=True)
    os.close(slave)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: all is read
        while more := os.read(master, 65536):
            shown += more
    os.close(master)
    assert (done.returncode, b"\x1b" in shown, b"core 0 # \\x1b[2J" in shown) == (0, False, True)


BAD = {
    "a negative limit": (["apply", "--core-limit=-5"], "--core-limit '-5' is not a limit"),
    "no number": (["apply", "--core-limit", "1G"], "--core-limit '1G' is not a limit"),
    "a limit below a page": (["apply", "--core-limit", "3"], "--core-limit '3' is not a limit"),
    "a limit of 5,000 digits": (["apply", "--core-limit", "9" * 5000], "is not a limit"),
    "a limit in other digits": (["apply", "--core-limit", "٣٣٣٣٣"], "is not a limit"),
    "a root that is none": (["check", "--root", "/etc/passwd"], "'/etc/passwd' is not a directory"),
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
    where = ["--root", os.fspath(root)] if argv and "--root" not in argv else []
    assert run(*argv, *where) == main.FAILED
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert message in captured.err
    assert distributions.snapshot(root) == before


FILES = {
    "limits.conf": ("etc/security/limits.conf", "# x\nroot soft\n", "/etc/security/limits.conf:2: 'root soft'"),
    "limits.d": ("etc/security/limits.d/x.conf", "* hard core no\n", "/etc/security/limits.d/x.conf:1: 'no'"),
    "PAM that includes itself": ("etc/pam.d/sshd", "#\n@include sshd\n", "/etc/pam.d/sshd:2: 'sshd' includes itself"),
    "limits of 5,000 digits": ("etc/security/limits.conf", f"root soft core x{'9' * 5000}\n", "/etc/security/limits.conf:1"),
    "bytes in limits.conf": ("etc/security/limits.conf", "\x00\x01\n\x7fELF\n", "/etc/security/limits.conf:1: "),
    "bytes in a PAM file": ("etc/pam.d/sshd", "\x7fELF\x00\n", "/etc/pam.d/sshd:1: "),
    "a PAM file of CR LF": ("etc/pam.d/login", "session required pam_x.so\r\n", "/etc/pam.d/login:1: the line ends in CR LF"),
    "PAM that includes what is not there": ("etc/pam.d/login", "session include nosuch\n", "/etc/pam.d/login:1: 'nosuch'"),
    "sshd_config that includes itself": ("etc/ssh/sshd_config", "\nInclude /etc/ssh/sshd_config\n", "/etc/ssh/sshd_config:2: "),
    "PAM type": ("etc/pam.d/login", "sesion required x\n", "/etc/pam.d/login:1: 'sesion'"),
    "sshd_config": ("etc/ssh/sshd_config", "Match User x\nUsePAM no\n", "/etc/ssh/sshd_config:2: UsePAM inside"),
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


PLACES = ["etc/security/limits.conf", "etc/pam.d/sshd", "etc/pam.d/login", "etc/ssh/sshd_config", "etc/sysctl.conf",
          "etc/passwd", "var/lib/pycoredump/configure.json", "var/core"]  # fmt: skip


@pytest.mark.parametrize("kind", ["directory", "FIFO", "link to itself"])
@pytest.mark.parametrize("path", PLACES)
def test_what_is_no_file_in_the_place_of_one_is_one_line(
    root: pathlib.Path, capsys: pytest.CaptureFixture[str], path: str, kind: str
) -> None:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    if kind == "directory":
        if path == "var/core":
            pytest.skip("that is what it should be")

        place.mkdir()
    elif kind == "FIFO":
        os.mkfifo(place)
    else:
        place.symlink_to(place.name)
    before = distributions.snapshot(root)
    assert run("apply", "--mode", "file", "--domain", "anna", "--root", os.fspath(root)) == main.FAILED
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    # sysctl.conf is found by its link first
    assert f"/{path}" in captured.err.replace("sysctl.d/99-sysctl.conf", "sysctl.conf")
    assert distributions.snapshot(root) == before


@pytest.mark.parametrize("path", ["etc/security/limits.conf", "etc/ssh/sshd_config", "etc/pam.d/login", "etc/sysctl.conf"])  # fmt: skip
def test_a_dangling_link_is_a_file_that_is_not_there(root: pathlib.Path, path: str) -> None:
    (root / path).unlink()
    (root / path).symlink_to("/nowhere/to/be/found")
    before = distributions.snapshot(root)
    assert run("apply", "--root", os.fspath(root)) == main.HOLDS
    assert run("revert", "--root", os.fspath(root)) == main.HOLDS
    assert distributions.snapshot(root) == before


@pytest.mark.root
@pytest.mark.parametrize(
    "path", ["etc/security/limits.conf", "etc/pam.d", "etc/ssh/sshd_config.d", "var/lib"]
)
def test_what_is_immutable_changes_nothing(
    root: pathlib.Path, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    (root / "etc/ssh/sshd_config").write_text("Include /etc/ssh/sshd_config.d/*.conf\n")
    (root / "var/lib").mkdir(parents=True)
    if (
        os.geteuid() != 0
        or subprocess.run(["chattr", "+i", root / path], check=False, capture_output=True).returncode
    ):
        pytest.skip("needs root, and a file system that knows chattr +i")

    try:
        before = distributions.snapshot(root)
        assert run("apply", "--root", os.fspath(root)) == main.FAILED
        captured = capsys.readouterr()
        assert (captured.out, captured.err.count("\n")) == ("", 1)
        assert f"/{path}" in captured.err
        assert "Operation not permitted" in captured.err
        assert "(nothing was changed)" in captured.err
        assert distributions.snapshot(root) == before
    finally:
        subprocess.run(["chattr", "-i", root / path], check=True)


MASKED = {
    "etc/security/limits.conf": main.HOLDS,
    "etc/sysctl.conf": main.HOLDS,
    "etc/sysctl.d/60-pycoredump.conf": main.HOLDS,
    "etc/pam.d/login": main.OPEN,  # nothing can be added to it
    "etc/ssh/sshd_config": main.FAILED,
    "var/lib/pycoredump/configure.json": main.FAILED,
}


@pytest.mark.parametrize(("path", "status"), MASKED.items())
def test_a_link_to_dev_null_is_never_followed_to_the_device(
    root: pathlib.Path, capsys: pytest.CaptureFixture[str], path: str, status: int
) -> None:
    (root / path).unlink(missing_ok=True)
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).symlink_to("/dev/null")
    (root / "dev").mkdir()
    (root / "dev/null").write_text("the device")
    before = distributions.snapshot(root)
    assert run("apply", "--root", os.fspath(root)) == status
    assert capsys.readouterr().err.count("\n") == (status == main.FAILED)
    assert (root / "dev/null").read_text() == "the device"
    run("revert", "--root", os.fspath(root))
    assert distributions.snapshot(root) == before


@pytest.mark.root
def test_a_full_disk_changes_nothing(tmp_path: pathlib.Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")

    program = f"{sys.executable} -B -m pycoredump.configure.main"
    laid = distributions.lay(tmp_path / "laid", distributions.NO_PAM)
    (tmp_path / "disk").mkdir()
    script = f"""
        mount -t tmpfs -o size=1M disk {tmp_path}/disk && cp -a {laid}/. {tmp_path}/disk && cd {tmp_path}/disk || exit 99
        head -c 2M /dev/zero >filler 2>/dev/null
        tar c etc usr | md5sum
        (cd {pathlib.Path(__file__).parents[2]} && {program} apply --root {tmp_path}/disk); echo status $?
        ls -A . etc/security; tar c etc usr | md5sum
    """
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert (lines[1], lines[0]) == (f"status {main.FAILED}", lines[-1])
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr
    assert "(nothing was changed)" in done.stderr


@pytest.mark.root
def test_a_file_that_is_mounted_alone_cannot_be_replaced_and_changes_nothing(root: pathlib.Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")

    before = distributions.snapshot(root)
    limits = root / "etc/security/limits.conf"
    program = f"{sys.executable} -B -m pycoredump.configure.main apply --root {root}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"mount --bind {limits} {limits} && exec {program}"],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (main.FAILED, "", 1)
    assert "limits.conf: Device or resource busy (nothing was changed)" in done.stderr
    assert distributions.snapshot(root) == before


@pytest.mark.root
def test_only_root_may_change_the_host_and_is_told_so(root: pathlib.Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to become someone else")

    for verb in ("apply", "revert"):
        done = subprocess.run(
            [sys.executable, "-B", "-m", "pycoredump.configure.main", verb],
            cwd=pathlib.Path(__file__).parents[2],
            user=65534,
            group=65534,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (main.FAILED, "")
        assert done.stderr == (
            "pycoredump-configure: Only root can change this host (sudo, or --dry-run to see what would be)\n"
        )


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
    assert options.core_limit(text) == expected


@pytest.mark.parametrize("text", ["", "@", "-x", "%adm", "a b", "a#b", "a:b", "a\n"])
def test_a_domain_is_one_word(text: str) -> None:
    with pytest.raises(ArgumentError):
        options.domain(text)
