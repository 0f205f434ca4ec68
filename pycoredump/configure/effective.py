"""What is in effect, asked from the programs that decide it: sshd, a real login, PID 1.

An image is asked through chroot(1), and only sshd -t and -T run there: they read, they change nothing.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import tempfile

from pycoredump.configure import sshd
from pycoredump.configure.number import natural
from pycoredump.configure.request import UNLIMITED
from pycoredump.configure.tree import Tree
from pycoredump.record import Record

BINARIES = ("/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd")
TIMEOUT = 20  # seconds
CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
# Without -C sshd -T refuses a configuration with Match blocks (OpenSSH before 9).
CONNECTION = "user=root,host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22"
COMPLAINT = re.compile(r"^(?P<file>/\S+?):? line (?P<line>\d+): (?P<what>.*?)\.?$", re.MULTILINE)
NO_NAMESPACE = 125  # exit status of the script below
NAMESPACE = (
    *("unshare", "--mount", "--propagation", "private", "sh", "-c"),
    f'{{ mount -t tmpfs -o mode=755 tmpfs "$1" && mkdir "$1/sshd" && cat >"$1/sshd/config"; }} || exit {NO_NAMESPACE}; '
    'shift; exec "$@"',
    "sh",
)
CONFIG = "/run/sshd/config"  # in that namespace
CORE_ROW = re.compile(r"^Max core file size\s+(\S+)\s+(\S+)", re.MULTILINE)


class Verdict(Record):
    """What sshd says of a configuration. good None: it could not judge, for the reason in `complaint`."""

    good: bool | None
    complaint: str = ""


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


def _sshd(tree: Tree) -> str | None:
    return next((path for path in BINARIES if tree.is_executable(path)), None)


def _ask_sshd(tree: Tree, argv: list[str], *, config: bytes = b"") -> Ran | None:
    """Run sshd; again, in a mount namespace that has its /run/sshd, where that is what it misses.

    Debian's sshd looks for it before it judges all of its configuration, but only its running service makes it.
    `config` is in CONFIG then.
    """
    ran = run(tree, argv)
    if ran is None or "Missing privilege separation directory: /run/sshd" not in ran.err:
        return ran

    if "-f" in argv:
        argv = [*argv[: argv.index("-f")], "-f", CONFIG]
    again = run(tree, argv, around=(*NAMESPACE, tree.real("/run")), text=config)
    return (
        ran if again is None or again.status == NO_NAMESPACE or again.err.startswith("unshare:") else again
    )


def sshd_settings(tree: Tree) -> dict[str, str]:
    """What sshd would run with (sshd -T), by lower-case keyword; {} if it cannot be asked."""
    program = _sshd(tree)
    for option in ("-T", "-G"):  # -G, since OpenSSH 9.3, needs no host keys
        ran = _ask_sshd(tree, [program, option, "-C", CONNECTION]) if program else None
        if ran is not None and ran.status == 0:
            return keywords(ran.out)
    return {}


def keywords(text: str) -> dict[str, str]:
    """The rows of sshd -T by lower-case keyword: OpenSSH writes them as its manual does since 10.1 or so."""
    rows = [line.split(" ", 1) for line in text.splitlines() if " " in line]
    return {keyword.lower(): value for keyword, value in rows}


def judge(tree: Tree, text: str) -> Verdict:
    """sshd -t on a text that is not in place yet. Relative Include patterns mean /etc/ssh all the same."""
    program = _sshd(tree)
    place = next((place for place in ("/run", "/tmp") if tree.is_directory(place)), None)
    if program is None or place is None:
        return Verdict(good=None, complaint="there is no sshd")

    try:
        with tempfile.NamedTemporaryFile(dir=tree.real(place), prefix="pycoredump-") as file:
            data = text.encode("utf-8", "surrogateescape")
            file.write(data)
            file.flush()
            inside = f"{place}/{os.path.basename(file.name)}"
            ran = _ask_sshd(tree, [program, "-t", "-f", inside], config=data)
    except OSError as e:
        return Verdict(good=None, complaint=str(e.strerror))
    if ran is None:
        return Verdict(good=None, complaint="sshd cannot be run")

    if ran.status == 0:
        return Verdict(good=True)

    found = COMPLAINT.search(ran.err)
    if found is None:  # no host keys, no /run/sshd: not about the text
        return Verdict(good=None, complaint=ran.err.strip().replace("\n", "; "))

    name = sshd.main_file(tree) or "" if found["file"] in (inside, CONFIG) else found["file"]
    return Verdict(good=False, complaint=f"{name}:{found['line']}: sshd refuses it: {found['what']}")


def reload_sshd(settings: dict[str, str], *, proc: str = "/proc") -> str:
    """Tell the running sshd to read its files again; says what was done. It keeps its sessions."""
    path = settings.get("pidfile", "none")
    try:
        with open(path, encoding="ascii") as file:
            pid = int(file.read())
        name = os.path.basename(os.readlink(f"{proc}/{pid}/exe")).removesuffix(" (deleted)")
        # A chroot's PidFile may carry the number of a process of the host.
        if name != "sshd" or not os.path.samefile(f"{proc}/{pid}/root", "/"):
            raise ValueError(name)

        os.kill(pid, signal.SIGHUP)
    except (OSError, ValueError):
        return "no running sshd was found by its PidFile; reload it yourself if it runs"
    return f"sshd (process {pid}) was told to reload"


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
