"""What is in effect, asked from those that decide it: a real login, PID 1, systemd; sshd_program.py asks sshd."""

from __future__ import annotations

import os
import re
import resource
import subprocess

from pycoredump.configure.number import natural
from pycoredump.configure.request import UNLIMITED
from pycoredump.configure.tree import Tree
from pycoredump.record import Record

TIMEOUT = 20  # seconds
CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
CORE_ROW = re.compile(r"^Max core file size\s+(\S+)\s+(\S+)", re.MULTILINE)


class Ran(Record):
    """A program's end."""

    status: int
    out: str
    err: str


def run(tree: Tree, argv: list[str], *, around: tuple[str, ...] = (), text: bytes = b"") -> Ran | None:
    """Run a program of the root, `text` on its standard input; None if it cannot be run.

    `around`: a command of the host that starts it.
    """
    command = argv if tree.root == "/" else ["/usr/sbin/chroot", tree.root, *argv]
    if tree.root != "/" and os.geteuid() != 0:
        return None

    try:
        done = subprocess.run(
            [*around, *command],
            input=text,
            capture_output=True,
            timeout=TIMEOUT,
            env=CLEAN,
            cwd="/",
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode in (126, 127) and tree.root != "/":
        return None  # chroot(1): no such program, or one of another architecture

    return Ran(
        status=done.returncode,
        out=done.stdout.decode("utf-8", "replace"),
        err=done.stderr.decode("utf-8", "replace"),
    )


def service_limit(tree: Tree) -> str:
    """The soft core limit, in bytes or "infinity", that the running systemd gives to services; "" without it."""
    if not os.path.isdir("/run/systemd/system"):  # sd_booted(3)
        return ""

    ran = run(tree, ["systemctl", "show", "--property=DefaultLimitCORESoft", "--value"])
    return ran.out.strip() if ran and ran.status == 0 else ""


def reload_systemd(tree: Tree) -> None:
    """Let a running systemd read system.conf again."""
    if os.path.isdir("/run/systemd/system"):
        run(tree, ["systemctl", "daemon-reload"])


def core_limits(text: str) -> tuple[int, int] | None:
    """Soft and hard core limit, in bytes, of a /proc/PID/limits text."""
    found = CORE_ROW.search(text)
    if found is None:
        return None

    soft, hard = (UNLIMITED if word == "unlimited" else natural(word) or 0 for word in found.groups())
    return soft, hard


def inherited() -> tuple[int, int]:
    """PID 1's core limits: what a login starts with. The kernel's default where they cannot be read."""
    try:
        with open("/proc/1/limits", encoding="ascii") as file:
            return core_limits(file.read()) or (0, UNLIMITED)
    except OSError:
        return 0, UNLIMITED


def login(user: str, *, profile: bool) -> int | None:
    """The soft core limit, in bytes, of a session that su(1) opens through PAM; None if it cannot be tried.

    profile: as a login shell, which also runs /etc/profile.
    """
    if os.geteuid() != 0:
        return None

    command = ["su", *(["-l"] if profile else []), "-s", "/bin/sh", user, "-c", "cat /proc/self/limits"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            env=CLEAN,
            cwd="/",
            check=False,
            start_new_session=True,
            preexec_fn=_lower,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = core_limits(done.stdout.decode("utf-8", "replace")) if done.returncode == 0 else None
    return found[0] if found else None


def _lower() -> None:
    """Begin at a soft limit of 0, so that what is measured comes from PAM and not from our own shell."""
    hard = inherited()[1]
    limit = resource.RLIM_INFINITY if hard >= UNLIMITED else hard
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, limit))
    except (OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
