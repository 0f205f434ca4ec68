"""The sshd program: its verdict on a configuration, what it has in effect, telling it to read it again.

An image's is run through chroot(1), and only with -t, -T and -G: they read, they change nothing.
"""

from __future__ import annotations

import os
import re
import signal
import tempfile

from pycoredump.configure import effective, sshd
from pycoredump.configure.tree import Tree
from pycoredump.record import Record

BINARIES = ("/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd")
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


class Verdict(Record):
    """What sshd says of a configuration. good None: it could not judge, for the reason in `complaint`."""

    good: bool | None
    complaint: str = ""


def _program(tree: Tree) -> str | None:
    return next((path for path in BINARIES if tree.is_executable(path)), None)


def _ask(tree: Tree, argv: list[str], *, config: bytes = b"") -> effective.Ran | None:
    """Run sshd; again, in a mount namespace that has its /run/sshd, where that is what it misses.

    Debian's sshd looks for it before it judges all of its configuration, but only its running service makes it.
    `config` is in CONFIG then.
    """
    ran = effective.run(tree, argv)
    if ran is None or "Missing privilege separation directory: /run/sshd" not in ran.err:
        return ran

    if "-f" in argv:
        argv = [*argv[: argv.index("-f")], "-f", CONFIG]
    again = effective.run(tree, argv, around=(*NAMESPACE, tree.real("/run")), text=config)
    return (
        ran if again is None or again.status == NO_NAMESPACE or again.err.startswith("unshare:") else again
    )


def settings(tree: Tree) -> dict[str, str]:
    """What sshd would run with (sshd -T), by lower-case keyword; {} if it cannot be asked."""
    program = _program(tree)
    for option in ("-T", "-G"):  # -G, since OpenSSH 9.3, needs no host keys
        ran = _ask(tree, [program, option, "-C", CONNECTION]) if program else None
        if ran is not None and ran.status == 0:
            return keywords(ran.out)
    return {}


def keywords(text: str) -> dict[str, str]:
    """The rows of sshd -T by lower-case keyword: OpenSSH writes them as its manual does since 10.1 or so."""
    rows = [line.split(" ", 1) for line in text.splitlines() if " " in line]
    return {keyword.lower(): value for keyword, value in rows}


def judge(tree: Tree, text: str) -> Verdict:
    """sshd -t on a text that is not in place yet. Relative Include patterns mean /etc/ssh all the same."""
    program = _program(tree)
    place = next((place for place in ("/run", "/tmp") if tree.is_directory(place)), None)
    if program is None or place is None:
        return Verdict(good=None, complaint="there is no sshd")

    try:
        with tempfile.NamedTemporaryFile(dir=tree.real(place), prefix="pycoredump-") as file:
            data = text.encode("utf-8", "surrogateescape")
            file.write(data)
            file.flush()
            inside = f"{place}/{os.path.basename(file.name)}"
            ran = _ask(tree, [program, "-t", "-f", inside], config=data)
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


def reload(settings: dict[str, str], *, proc: str = "/proc") -> str:
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
