"""Packages of the distribution: what is needed, why, and how it comes onto the machine."""

from __future__ import annotations

import os
import shutil
import subprocess

from pycoredump.record import Record


class Package(Record):
    """One package. A distribution without it has an empty name."""

    debian: str
    fedora: str
    reason: str


RUN = (
    Package(debian="python3-zstandard", fedora="python3-zstandard", reason="compress cores"),
    Package(debian="python3-systemd", fedora="python3-systemd", reason="write journal entries"),
)
BUILD = (
    Package(debian="gcc", fedora="gcc", reason="compile programs that crash"),
    Package(debian="libc6-dev", fedora="glibc-devel", reason="compile programs that crash"),
)
TEST = (
    *RUN,
    *BUILD,
    Package(debian="python3-venv", fedora="", reason="a place for pytest, mypy and ruff"),
    Package(debian="g++", fedora="gcc-c++", reason="compile C++ programs that crash"),
    Package(debian="make", fedora="make", reason="build test programs"),
    Package(debian="gdb", fedora="gdb", reason="judge cores and backtraces"),
    Package(debian="elfutils", fedora="elfutils", reason="judge cores"),
    Package(debian="zstd", fedora="zstd", reason="judge archives"),
    Package(debian="systemd", fedora="systemd", reason="a real journald"),
    Package(debian="systemd-coredump", fedora="systemd-udev", reason="coredumpctl must take what we write"),
    Package(debian="acl", fedora="acl", reason="judge who may read a core"),
    Package(debian="attr", fedora="attr", reason="judge what is written beside a core"),
    Package(debian="strace", fedora="strace", reason="see what the handler does before the release"),
    Package(debian="debootstrap", fedora="debootstrap", reason="throw-away systems for sshd and login"),
    Package(debian="openssh-client", fedora="openssh-clients", reason="log in there"),
    Package(debian="procps", fedora="procps-ng", reason="sysctl as distributions run it"),
    Package(
        debian="systemd-journal-remote",
        fedora="systemd-journal-remote",
        reason="journals with entries of choice",
    ),
    Package(debian="zsh", fedora="zsh", reason="judge completions"),
    Package(debian="fish", fedora="fish", reason="judge completions"),
    Package(debian="groff-base", fedora="groff-base", reason="judge manual pages"),
)


class Manager(Record):
    """One way of distributions."""

    field: str  # of Package: the name there
    installed: tuple[str, ...]  # tells whether the package that is appended is installed
    known: tuple[str, ...]  # tells whether there is such a package
    refresh: tuple[str, ...]
    install: tuple[str, ...]


APT = Manager(
    field="debian",
    installed=("dpkg-query", "--show", "--showformat=${db:Status-Status}"),
    known=("apt-cache", "show", "--no-all-versions"),
    refresh=("apt-get", "-qq", "update"),
    install=("apt-get", "-qq", "install", "--no-install-recommends"),
)
DNF = Manager(
    field="fedora",
    installed=("rpm", "--query"),
    known=("dnf", "-q", "info"),
    refresh=("dnf", "-q", "makecache"),
    install=("dnf", "-q", "-y", "install"),
)


def manager() -> Manager | None:
    """The one of this machine, None for any other distribution."""
    if shutil.which("apt-get") and shutil.which("dpkg-query"):
        return APT
    return DNF if shutil.which("dnf") and shutil.which("rpm") else None


def missing(wanted: tuple[Package, ...], by: Manager) -> list[str]:
    """Names of the packages that are not installed; a package that the distribution has not is none."""
    names = [str(getattr(package, by.field)) for package in wanted]
    return [name for name in names if name and not _installed(name, by)]


def _installed(name: str, by: Manager) -> bool:
    found = _run([*by.installed, name])
    return found.returncode == 0 and (by is not APT or found.stdout.strip() == "installed")


def bring(wanted: tuple[Package, ...]) -> list[str]:
    """Install what is missing. What still is, one sentence each: nothing of it keeps us from going on."""
    by = manager()
    if by is None:
        needed = ", ".join(f"{package.debian} ({package.reason})" for package in wanted)
        return [f"Neither apt-get nor dnf is here: see yourself to what Debian calls {needed}"]

    names = missing(wanted, by)
    if names and os.geteuid() == 0:
        print(f"Installing {' '.join(names)}", flush=True)
        _install(names, by)
        names = missing(wanted, by)
    reasons = {getattr(package, by.field): package.reason for package in wanted}
    return [f"Package {name} is missing (to {reasons[name]})" for name in names]


def _install(names: list[str], by: Manager) -> None:
    # Old or no lists are the usual state of a bare machine; without a network the old ones may still do.
    _run(by.refresh)
    known = [name for name in names if _run([*by.known, name]).returncode == 0]
    if not known:
        return
    done = _run([*by.install, *known])
    if done.returncode != 0:
        print(done.stderr.strip(), flush=True)


def _run(command: list[str] | tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment
    )
