"""A real sshd, su and login with real PAM in a throw-away Debian: before apply, after it, after revert.

The Debian is made by debootstrap, its mounts lie in a mount namespace that ends with its sshd, and sshd
listens on 127.0.0.1 alone.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import pty
import re
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from machine import Unavailable, machine

import pycoredump
from pycoredump.configure import main, sysctl
from pycoredump.configure.kernel import Kernel

SUITES = ("bookworm", "trixie")  # the latter switches cores off by drop-ins of its systemd package
PACKAGES = "openssh-server,login,python3"
PROGRAM = ("python3", "-m", "pycoredump.configure.main")
REPOSITORY = pathlib.Path(__file__).parents[2]

pytestmark = [pytest.mark.root, pytest.mark.slow]

if os.geteuid() != 0:
    pytest.skip("needs root for debootstrap and chroot", allow_module_level=True)
MISSING = [
    name for name in ("debootstrap", "ssh", "ssh-keygen", "unshare", "nsenter") if not shutil.which(name)
]
if MISSING:
    pytest.skip(f"{MISSING[0]} is not installed", allow_module_level=True)


Debians = Callable[[str], tuple[pathlib.Path, str]]


@pytest.fixture(scope="module")
def debians(tmp_path_factory: pytest.TempPathFactory) -> Debians:
    """Makes each suite once."""
    return functools.cache(lambda suite: make(suite, tmp_path_factory.mktemp(suite) / "root"))


@pytest.fixture
def debian(request: pytest.FixtureRequest, debians: Debians) -> pathlib.Path:
    """A Debian whose limits are off: no pam_limits in sshd and login, no PAM in sshd."""
    root, trouble = debians(getattr(request, "param", SUITES[0]))
    if trouble:
        pytest.skip(f"debootstrap failed: {trouble}")

    return root


def make(suite: str, root: pathlib.Path) -> tuple[pathlib.Path, str]:
    """The root, and why there is none."""
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, os.fspath(root)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        return root, (made.stdout.strip().splitlines() or ["no reason given"])[-1]

    for service in ("sshd", "login"):
        switch_off(root / "etc/pam.d" / service, "pam_limits.so")
    switch_off(root / "etc/ssh/sshd_config", "UsePAM yes")
    with (root / "etc/ssh/sshd_config").open("a") as file:
        file.write(
            "UsePAM no\nMatch User nobody\n    X11Forwarding no"
        )  # a Match block, and no last newline
    handler = root / "usr/libexec/pycoredump"
    handler.parent.mkdir(exist_ok=True)
    handler.write_text("#!/bin/sh\nexec cat >/dev/null\n")
    handler.chmod(0o755)
    (root / "run/sshd").mkdir(exist_ok=True)
    shutil.copytree(
        pathlib.Path(pycoredump.__file__).parent,
        root / "usr/lib/python3/dist-packages/pycoredump",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    key = root.parent / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.fspath(key)], check=True)
    (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    shutil.copy(key.with_suffix(".pub"), root / "root/.ssh/authorized_keys")
    return root, ""


def switch_off(path: pathlib.Path, word: str) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(f"#{line}" if word in line else line for line in lines))


class Server:
    """The Debian's sshd, and ways to log in."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        mounts = f"mount -t proc proc {root}/proc && mount --rbind /dev {root}/dev"
        # Soft limit 0: what a login shows then comes from PAM.
        daemon = f"chroot {root} /usr/sbin/sshd -D -e -p {self.port} -o ListenAddress=127.0.0.1"
        self.process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", f"{mounts} && ulimit -S -c 0 && exec {daemon}"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.wait()

    def wait(self) -> None:
        """Until it accepts connections."""
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.05)
        raise AssertionError("sshd does not listen")

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate()

    def ssh(self, command: str) -> str:
        """What a command prints in an ssh login as root."""
        options = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
        }
        argv = ["ssh", "-F", "/dev/null", "-i", os.fspath(self.root.parent / "key"), "-p", str(self.port)]
        argv += [f"-o{name}={value}" for name, value in options.items()]
        return output([*argv, "root@127.0.0.1", command])

    def inside(self, *argv: str) -> list[str]:
        """A command line that runs in the Debian, its mounts in place."""
        return ["nsenter", "-t", str(self.process.pid), "-m", "chroot", os.fspath(self.root), *argv]

    def su(self) -> str:
        return output(self.inside("su", "-", "root", "-c", "ulimit -c"))

    def login(self) -> str:
        """What ulimit -c prints after a console login, on a terminal of its own."""
        pid, terminal = pty.fork()
        if pid == 0:
            command = self.inside("login", "-f", "root")
            os.execvp(command[0], command)
        shown = b""
        asked = False
        while select.select([terminal], [], [], 20)[0]:
            try:
                shown += os.read(terminal, 4096)
            except OSError:  # EIO: nobody has the terminal open; login closes it once and opens it again
                if os.waitpid(pid, os.WNOHANG)[0]:
                    break
                time.sleep(0.01)
            if b"# " in shown and not asked:  # the prompt: what is typed before it, util-linux' login drops
                os.write(terminal, b"echo limit=$(ulimit -c).\nexit\n")
                asked = True
        os.close(terminal)
        answers = [part.split(b".")[0] for part in shown.split(b"limit=")[1:]]
        found = [answer.decode() for answer in answers if answer.isalnum()]
        assert found, shown
        return found[-1]


def output(argv: list[str]) -> str:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def server(debian: pathlib.Path) -> Iterator[Server]:
    running = Server(debian)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def kernel_lock() -> Iterator[None]:
    """The kernel's settings are the whole machine's: alone, and restored whatever happens."""
    try:
        with machine():
            yield
    except Unavailable as e:
        pytest.skip(str(e))


def snapshot(root: pathlib.Path) -> dict[str, tuple[object, ...]]:
    """Every file of /etc and /var/lib/pycoredump: kind, owner, mode, extended attributes, contents."""
    found: dict[str, tuple[object, ...]] = {}
    for top in (root / "etc", root / "var/lib/pycoredump", root / "var/core"):
        for path in [top, *sorted(top.rglob("*"))]:
            if not os.path.lexists(path):
                continue
            status = path.lstat()
            names = sorted(os.listxattr(path, follow_symlinks=False))
            attributes = [(name, os.getxattr(path, name, follow_symlinks=False)) for name in names]
            body = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            found[os.fspath(path)] = (status.st_mode, status.st_uid, status.st_gid, attributes, body)
    return found


def configure(*argv: str) -> int:
    return main.main(list(argv))


@pytest.mark.parametrize("debian", SUITES, indirect=True)
def test_a_login_has_the_limit_after_apply_and_every_file_is_back_after_revert(debian: pathlib.Path) -> None:
    limits = debian / "etc/security/limits.conf"
    limits.chmod(0o640)
    os.setxattr(limits, "user.note", b"kept")
    before = snapshot(debian)
    with running(debian) as old:
        assert (old.ssh("ulimit -c"), old.login()) == ("0", "0")

    assert configure("check", "--root", os.fspath(debian)) == main.OPEN
    assert configure("apply", "--root", os.fspath(debian)) == main.HOLDS
    assert configure("check", "--root", os.fspath(debian)) == main.HOLDS
    assert (limits.stat().st_mode & 0o7777, os.getxattr(limits, "user.note")) == (0o640, b"kept")
    with running(debian) as new:
        assert (new.ssh("ulimit -c"), new.su(), new.login()) == ("1048576", "1048576", "1048576")
        assert "core file size" in new.ssh("ulimit -a")

    assert configure("revert", "--root", os.fspath(debian)) == main.HOLDS
    assert snapshot(debian) == before
    with running(debian) as again:
        assert (again.ssh("ulimit -c"), again.login()) == ("0", "0")


@contextlib.contextmanager
def running(root: pathlib.Path) -> Iterator[Server]:
    server = Server(root)
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.kernel
def test_a_running_host_is_set_at_once_and_its_sshd_reloaded(
    debian: pathlib.Path, server: Server, kernel_lock: None
) -> None:
    before, kernel = snapshot(debian), Kernel().values()
    assert server.ssh("ulimit -c") == "0"

    applied = json.loads(output(server.inside(*PROGRAM, "apply", "--json")))
    assert applied["holds"]
    assert f"sshd (process {server.process.pid}) was told to reload" in applied["done"]
    assert Kernel().read(sysctl.SUID_DUMPABLE) == "2"
    assert str(Kernel().read(sysctl.CORE_PATTERN)).startswith("|/usr/libexec/pycoredump %P %s %t %e")
    server.wait()
    assert (server.ssh("ulimit -c"), server.su()) == ("1048576", "1048576")

    items = {item["name"]: item for item in applied["items"]}
    assert items["sshd uses PAM"]["effective"] == "sshd -T: yes"
    assert items["login session of root"]["effective"] == "ulimit -c: 1048576"
    assert output(server.inside(*PROGRAM, "apply")).startswith("nothing to change")

    output(server.inside(*PROGRAM, "revert"))
    assert (snapshot(debian), Kernel().values()) == (before, kernel)
    server.wait()
    assert server.ssh("ulimit -c") == "0"


NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c")


@pytest.mark.kernel
def test_in_file_mode_a_process_writes_its_core_where_no_other_can_touch_it(
    debian: pathlib.Path, server: Server, kernel_lock: None
) -> None:
    before, kernel = snapshot(debian), Kernel().values()
    assert json.loads(output(server.inside(*PROGRAM, "apply", "--mode", "file", "--json")))["holds"]
    directory = debian / "var/core"
    assert (directory.stat().st_mode & 0o7777, directory.stat().st_uid) == (0o1777, 0)
    assert Kernel().read(sysctl.CORE_PATTERN) == "/var/core/core-%e-%p-%s-%t"

    crash = [*NOBODY, "ulimit -c unlimited; kill -s SEGV $$"]
    died = subprocess.run(server.inside(*crash), stdin=subprocess.DEVNULL, check=False)
    assert died.returncode == -11
    [core] = directory.iterdir()
    assert re.fullmatch(r"core-sh-\d+-11-\d+", core.name)
    status = core.stat()
    assert (status.st_mode & 0o777, status.st_uid, core.read_bytes()[:4]) == (0o600, 65534, b"\x7fELF")
    assert subprocess.run(server.inside(*crash), stdin=subprocess.DEVNULL, check=False).returncode == -11
    assert len(list(directory.iterdir())) == 2

    rooted = directory / "core-root-1-3-1"
    rooted.touch(0o600)
    meddling = f"cat /var/core/{rooted.name} || mv /var/core/{rooted.name} /var/core/x || rm -f /var/core/{rooted.name}"
    assert subprocess.run(server.inside(*NOBODY, meddling), capture_output=True, check=False).returncode != 0
    assert rooted.exists()

    assert json.loads(output(server.inside(*PROGRAM, "apply", "--json")))["holds"]
    assert str(Kernel().read(sysctl.CORE_PATTERN)).startswith("|/usr/libexec/pycoredump ")
    assert (directory.stat().st_mode & 0o7777, len(list(directory.iterdir()))) == (0o711, 3)
    for left in directory.iterdir():
        left.unlink()
    output(server.inside(*PROGRAM, "revert"))
    assert (snapshot(debian), Kernel().values()) == (before, kernel)


@pytest.mark.kernel
def test_a_login_that_is_refused_after_the_change_puts_everything_back(
    debian: pathlib.Path, server: Server, kernel_lock: None
) -> None:
    su = debian / "etc/pam.d/su"
    original = su.read_text()
    refuse = debian / "usr/local/bin/refuse"
    refuse.write_text("#!/bin/sh\n! grep -q 'root soft core' /etc/security/limits.conf\n")
    refuse.chmod(0o755)
    su.write_text(f"{original}session required pam_exec.so quiet /usr/local/bin/refuse\n")
    try:
        before, kernel = snapshot(debian), Kernel().values()
        command = server.inside(*PROGRAM, "apply")
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (main.FAILED, "")
        assert done.stderr == (
            "pycoredump-configure: login session of root is not in effect after the change "
            "(su - root opens no session) (everything was put back)\n"
        )
        assert (snapshot(debian), Kernel().values()) == (before, kernel)
        assert server.su() == "0"
    finally:
        su.write_text(original)
        refuse.unlink()


HARDENED = {
    "limits.d of a hardening guide": (
        "etc/security/limits.d/10.hardcore.conf",
        "* hard core 0\nroot hard core 0\n",
    ),
    "a later file that wins": ("etc/security/limits.d/zz-site.conf", "root - core 0\n"),
    "a Match block in a drop-in": (
        "etc/ssh/sshd_config.d/10-site.conf",
        "UsePAM no\nMatch User nobody\nBanner none\n",
    ),
    "limits.conf without a last line end": ("etc/security/limits.conf", "* soft nofile 1024\n@adm - core 0"),
}


@pytest.mark.parametrize(("path", "text"), HARDENED.values(), ids=HARDENED.keys())
def test_a_hardened_host_has_the_limit_after_apply(debian: pathlib.Path, path: str, text: str) -> None:
    file = debian / path
    original = file.read_text() if file.exists() else None
    file.write_text(text)
    try:
        before = snapshot(debian)
        assert configure("apply", "--root", os.fspath(debian)) == main.HOLDS
        with running(debian) as server:
            assert (server.ssh("ulimit -c"), server.su()) == ("1048576", "1048576")
        assert configure("revert", "--root", os.fspath(debian)) == main.HOLDS
        assert snapshot(debian) == before
    finally:
        if original is None:
            file.unlink()
        else:
            file.write_text(original)


def test_a_host_without_limits_conf_is_not_locked_out(debian: pathlib.Path) -> None:
    file = debian / "etc/security/limits.conf"
    kept = file.rename(file.with_suffix(".kept"))
    try:
        before = snapshot(debian)
        assert configure("apply", "--root", os.fspath(debian)) == main.HOLDS
        with running(debian) as server:
            assert (server.ssh("ulimit -c"), server.login()) == ("1048576", "1048576")
        assert configure("revert", "--root", os.fspath(debian)) == main.HOLDS
        assert snapshot(debian) == before
    finally:
        kept.rename(file)


def test_an_sshd_config_that_sshd_refuses_is_left_alone(
    debian: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = debian / "etc/ssh/sshd_config"
    original = path.read_text()
    path.write_text("Port 22\nPermitRootLogins yes\n")
    try:
        before = snapshot(debian)
        assert configure("apply", "--root", os.fspath(debian)) == main.FAILED
        assert snapshot(debian) == before
    finally:
        path.write_text(original)
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "/etc/ssh/sshd_config:2: sshd refuses it" in message


def test_the_program_runs_as_a_module_of_this_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pycoredump.configure.main", "--version"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == pycoredump.VERSION
