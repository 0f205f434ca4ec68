"""Everything that the tests need: packages (as root), and a virtual environment on the system's Python."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from pycoredump.configure.kernel import Kernel
from pycoredump.errors import PycoredumpError
from tools import lock, packages

REQUIREMENTS = pathlib.Path(__file__).parents[1] / "tests" / "requirements.txt"
# An installed sshd would listen: the tests' own is only unpacked.
SSHD = pathlib.Path(__file__).parents[1] / "build" / "sshd"
SSHD_PACKAGES = ("openssh-server", "libwrap0")
# With its user, which the package would have made, for itself alone.
SSHD_SCRIPT = """\
#!/bin/sh
exec unshare --mount sh -c '
here=$1
shift
mount --bind "$here/passwd" /etc/passwd || exit 1
for library in "$here"/root/usr/lib/*/libwrap.so.0; do
    LD_LIBRARY_PATH=${library%/*} exec "$here/root/usr/sbin/sshd" "$@"
done' sh "$(dirname "$0")" "$@"
"""
STAMP = "requirements.txt"  # in the environment: what was installed there


def main(argv: list[str]) -> int:
    """Prepare the environment `argv[1]`. 1 if it cannot be made."""
    try:
        for sentence in bring_packages():
            print(sentence, file=sys.stderr)
        unpack_sshd(SSHD)
        environment(pathlib.Path(argv[1]), REQUIREMENTS.read_text())
    except PycoredumpError as e:
        print(f"{e}. {e.hint}".removesuffix(" "), file=sys.stderr)
        return 1
    return 0


def bring_packages() -> list[str]:
    """Install packages; systemd-coredump's takes core_pattern when it is installed, so it is put back."""
    by = packages.manager()
    with contextlib.ExitStack() as stack:
        if by is not None and os.geteuid() == 0 and packages.missing(packages.TEST, by):
            stack.enter_context(lock.held())
            stack.enter_context(lock.restored(Kernel()))
        return packages.bring(packages.TEST)


def unpack_sshd(directory: pathlib.Path) -> None:
    """DIRECTORY/sshd, by Debian's package, where this host has none. Without it tests say what they skip."""
    if shutil.which("sshd", path="/usr/sbin:/usr/bin") or (directory / "sshd").exists():
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    with tempfile.TemporaryDirectory() as place:
        if _quiet(
            "sh", "-c", 'cd "$1" && shift && apt-get download "$@"', "sh", place, *SSHD_PACKAGES
        ).returncode:
            return
        root = directory / "root"
        root.mkdir(parents=True, exist_ok=True)
        for package in pathlib.Path(place).glob("*.deb"):
            if _quiet("dpkg-deb", "-x", os.fspath(package), os.fspath(root)).returncode:
                return
    users = pathlib.Path("/etc/passwd").read_text()
    (directory / "passwd").write_text(f"{users}sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n")
    (directory / "sshd").write_text(SSHD_SCRIPT)
    (directory / "sshd").chmod(0o755)


def environment(directory: pathlib.Path, requirements: str) -> None:
    """Make the environment, unless it works and has what is required. PycoredumpError."""
    python = directory / "bin" / "python"
    stamp = directory / STAMP
    works = python.exists() and _quiet(os.fspath(python), "-c", "import pip").returncode == 0
    if works and stamp.exists() and stamp.read_text() == requirements:
        return

    if not works:
        made = _quiet(
            sys.executable, "-m", "venv", "--clear", "--system-site-packages", os.fspath(directory)
        )
        if made.returncode != 0:
            raise PycoredumpError(
                f"Cannot make {directory}: {_last(made)}", hint="Install the package python3-venv as root."
            )
    print(f"Installing {REQUIREMENTS.name} into {directory}", flush=True)
    done = _quiet(os.fspath(python), "-m", "pip", "install", "-q", "-r", os.fspath(REQUIREMENTS))
    if done.returncode != 0:
        raise PycoredumpError(f"pip cannot install {REQUIREMENTS}: {_last(done)}")
    stamp.write_text(requirements)


def _quiet(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1] if lines else f"status {done.returncode}"


if __name__ == "__main__":
    sys.exit(main(sys.argv))
