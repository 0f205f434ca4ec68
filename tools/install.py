"""make install and make uninstall. Only this module prints."""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import FrameType

from pycoredump import crash, state
from pycoredump.configure import record as configured
from pycoredump.configure.kernel import Kernel
from pycoredump.errors import PycoredumpError
from tools import layout, lock, packages, proof, registration, tree
from tools.registration import Saved
from tools.tree import Tree

USER = "pycoredump"  # of systemd/pycoredump.sysusers.conf
SYSCTL = "/usr/lib/sysctl.d/60-pycoredump.conf"


def main(argv: list[str]) -> int:
    """0 if it is done, 1 if not: then everything is as it was before."""
    parser = argparse.ArgumentParser(prog="make")
    parser.add_argument("verb", choices=("install", "uninstall"))
    parser.add_argument("--prefix", default="/usr")
    parser.add_argument("--destdir", default="")
    options = parser.parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        prefix = _absolute("PREFIX", options.prefix)
        if options.destdir:
            staged = {"install": stage, "uninstall": unstage}[options.verb]
            staged(prefix, _absolute("DESTDIR", os.path.abspath(options.destdir)))
            return 0
        _need_root(options.verb)
        with lock.held():
            {"install": install, "uninstall": uninstall}[options.verb](prefix)
    except PycoredumpError as e:
        print(f"make {options.verb}: {e}" + (f" ({e.hint})" if e.hint else ""), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"make {options.verb}: interrupted", file=sys.stderr)
        return 1
    except OSError as e:
        print(f"make {options.verb}: {e.filename or 'the system'}: {e.strerror}", file=sys.stderr)
        return 1
    return 0


def _absolute(name: str, path: str) -> str:
    path = path.rstrip("/")
    if not path.startswith("/") or any(c.isspace() for c in path):
        raise PycoredumpError(f"{name}={path!r} is not an absolute path without blanks")
    return path


def _need_root(verb: str) -> None:
    if os.geteuid() != 0:
        raise PycoredumpError(
            "Only root can register a handler with the kernel",
            hint=f"sudo make {verb}, or make {verb} DESTDIR=directory",
        )


def stage(prefix: str, destdir: str) -> None:
    """Only copy, for a package or an image."""
    tree.install(Tree(destdir), layout.library(prefix), layout.files(prefix))
    print(f"Installed under {destdir}. Nothing was registered: {SYSCTL} does that at the next boot")


def unstage(prefix: str, destdir: str) -> None:
    removed = tree.uninstall(Tree(destdir), layout.library(prefix), kept=layout.CONFIGURATION)
    print(f"Removed {len(removed)} files under {destdir}")


def install(prefix: str) -> None:
    """Install, register, prove; or leave everything as it was."""
    for sentence in packages.bring(packages.RUN):
        print(f"{sentence}; crashes are recorded without it, and each entry says so")

    host, kernel = Tree(), Kernel()
    with undone(host, kernel, prefix):
        tree.install(host, layout.library(prefix), layout.files(prefix))
        print(f"Installed the handler {crash.HANDLER} and the rest under {prefix}")
        register(kernel)
        _enable(prefix)
        print(*proof.prove(), sep="\n")

    for sentence in registration.overridden():
        print(f"Attention: {sentence}")
    print(
        "Every crash is caught now. Cores of most users are still limited to 0 bytes: only their entries are kept."
    )
    print(
        "`pycoredump-configure apply` raises the limit for logins, `pycoredump-configure check` shows what it would do."
    )


def register(kernel: Kernel) -> None:
    """Save what was, stop the services that would take core_pattern back, and set ours."""
    saved = registration.load()
    rivals = registration.active_rivals()
    registration.save(
        Saved(
            sysctl=registration.before(kernel, saved),
            units=tuple(dict.fromkeys([*(saved.units if saved else ()), *rivals])),
        )
    )
    for unit in rivals:
        print(f"Stopping {unit}: {registration.RIVALS[unit]}. make uninstall starts it again")
        registration.systemctl("disable", "--now", unit)
    for change in registration.register(kernel, registration.wanted(Tree().real(SYSCTL))):
        print(f"Set {change}")


@contextlib.contextmanager
def undone(host: Tree, kernel: Kernel, prefix: str) -> Iterator[None]:
    """If anything fails, or is interrupted: settings, services and files as they were."""
    before, saved, rivals = kernel.values(), registration.load(), registration.active_rivals()
    try:
        yield
    except BaseException:
        print("That did not work: taking everything back", file=sys.stderr)
        # Each step on its own: one that fails must not keep the next from being taken.
        for key, value in reversed(before.items()):
            _attempt(kernel.write, key, value)
        if saved is None:
            _attempt(_disable, prefix)
        _attempt(tree.undo, host, layout.library(prefix))
        _attempt(_reload)
        for unit in rivals:
            _attempt(registration.systemctl, "enable", "--now", unit)
        if saved is None:
            _attempt(registration.forget)
        else:
            _attempt(registration.save, saved)
        raise


def _attempt(step: Callable[..., object], *arguments: object) -> None:
    try:
        step(*arguments)
    except (PycoredumpError, OSError) as e:
        print(f"make install: {e}", file=sys.stderr)


def uninstall(prefix: str) -> None:
    """Take back what install() did; the cores stay."""
    host, kernel = Tree(), Kernel()
    library = layout.library(prefix)
    if not tree.installed(host, library):
        raise PycoredumpError(
            f"Nothing is installed in {library}", hint="name the PREFIX= of the installation"
        )
    if os.path.exists(configured.PATH):
        raise PycoredumpError(
            "pycoredump-configure has changed files of this host, and nothing could take that back afterwards",
            hint="pycoredump-configure revert, then make uninstall",
        )

    saved = registration.load()
    settings = registration.before(kernel, saved)
    for change in registration.restore(kernel, settings):
        print(f"Set {change}")
    _disable(prefix)
    removed = tree.uninstall(host, library, kept=layout.CONFIGURATION)
    print(f"Removed {len(removed)} files, {crash.HANDLER} and {library} among them")
    _reload()
    for unit in saved.units if saved else ():
        print(f"Starting {unit} again")
        registration.systemctl("enable", "--now", unit)
    registration.forget()
    shutil.rmtree(state.DIRECTORY, ignore_errors=True)
    if host.real(layout.CONFIGURATION).exists():
        print(f"{layout.CONFIGURATION} has settings of yours and stays")
    if _has_user():
        print(f"The system's user {USER} stays: userdel {USER} removes it")
    print("The cores in /var/core stay, too: rm -r /var/core removes them")


def _has_user() -> bool:
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True


def _enable(prefix: str) -> None:
    """Start the installed sockets and timers, where systemd runs."""
    _reload()
    if not registration.has_systemd():
        return
    for path in tree.installed(Tree(), layout.library(prefix)):
        if layout.starts_at_boot(path):
            registration.systemctl("enable", "--now", os.path.basename(path))


def _disable(prefix: str) -> None:
    """Stop every unit, also one that the administrator enabled, and have systemd forget when a timer ran."""
    if not registration.has_systemd():
        return
    units = [path for path in tree.installed(Tree(), layout.library(prefix)) if layout.is_unit(path)]
    for path in units:
        registration.systemctl("disable", "--now", os.path.basename(path))
    for path in units:
        if path.endswith(".timer"):
            registration.systemctl("clean", "--what=state", os.path.basename(path))


def _reload() -> None:
    """Tell systemd of new and gone units, users and directories."""
    if not registration.has_systemd():
        return
    for command in (("systemd-sysusers",), ("systemd-tmpfiles", "--create", "pycoredump.conf")):
        if shutil.which(command[0]):
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    registration.systemctl("daemon-reload")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt  # so that an installation that is under way is taken back


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
