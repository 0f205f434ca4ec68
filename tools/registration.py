"""The kernel's settings on this host: what they were before us, ours, and back. Other owners of core_pattern."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess

from pycoredump import crash
from pycoredump.configure import sysctl, sysctl_plan
from pycoredump.configure.kernel import Kernel
from pycoredump.configure.tree import Tree
from pycoredump.errors import PycoredumpError
from pycoredump.record import Record

STATE = "/var/lib/pycoredump/install.json"
DEFAULT = {  # the kernel's own, for a host where our pattern was set before anything was saved
    sysctl.CORE_PATTERN: "core",
    sysctl.CORE_PIPE_LIMIT: "0",
    sysctl.CORE_USES_PID: "0",
    sysctl.SUID_DUMPABLE: "0",
}

# Services that put their own core_pattern in the place of ours when they start; why they must stop.
RIVALS = {
    "systemd-coredumpd.service": "since release 262 it hands the kernel a socket in core_pattern, after all sysctl files",
    "apport.service": "it sets core_pattern at each boot, after all sysctl files",
    "abrt-ccpp.service": "it sets core_pattern at each boot, after all sysctl files",
}


class Saved(Record):
    """The host before us."""

    sysctl: dict[str, str]
    units: tuple[str, ...] = ()  # services that we stopped


def ours(pattern: str) -> bool:
    return sysctl.handler(pattern) == crash.HANDLER


def wanted(path: pathlib.Path) -> dict[str, str]:
    """The settings of the sysctl file that is installed, in the order of setting."""
    found = {setting.key: setting.value for setting in sysctl.parse(path.read_text(), os.fspath(path))}
    return {key: found[key] for key in sysctl.ORDER}


def before(kernel: Kernel, saved: Saved | None) -> dict[str, str]:
    """What to go back to. Our own values never count as what was there before."""
    now = kernel.values()
    pattern = now.get(sysctl.CORE_PATTERN, "")
    # Somebody put the old pattern back by hand: the others are still ours.
    if saved is not None and pattern == saved.sysctl.get(sysctl.CORE_PATTERN):
        return saved.sysctl
    if not ours(pattern):
        return now
    return saved.sysctl if saved is not None else {key: DEFAULT[key] for key in now}


def load(path: str = STATE) -> Saved | None:
    """None if nothing was saved. PycoredumpError if it cannot be read."""
    try:
        data = json.loads(pathlib.Path(path).read_text())
        return Saved(sysctl=dict(data["sysctl"]), units=tuple(data["units"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise PycoredumpError(
            f"{path} cannot be read: {e}",
            hint=f"move it away; the settings then go back to the kernel's own: {DEFAULT}",
        ) from None


def save(saved: Saved, path: str = STATE) -> None:
    """On the disk before anything is changed, so that also an interrupted installation can be taken back."""
    state = pathlib.Path(path)
    state.parent.mkdir(parents=True, exist_ok=True)
    new = state.with_name(f".{state.name}.new")
    with new.open("w") as file:
        json.dump({"sysctl": saved.sysctl, "units": list(saved.units)}, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(state)


def forget(path: str = STATE) -> None:
    state = pathlib.Path(path)
    state.unlink(missing_ok=True)
    if state.parent.is_dir() and not any(state.parent.iterdir()):
        state.parent.rmdir()


def register(kernel: Kernel, settings: dict[str, str]) -> list[str]:
    """Set them, pattern first: suid_dumpable=2 is safe only under it. What was set."""
    changed = []
    for key in sysctl.ORDER:
        # Not Kernel.pending(): it is content with the core_pipe_limit=16 of systemd-coredump, which loses crashes.
        if kernel.read(key) != settings[key]:
            kernel.write(key, settings[key])
            changed.append(f"{key} = {settings[key]}")
    return changed


def restore(kernel: Kernel, settings: dict[str, str]) -> list[str]:
    """Put back what was, in the reverse order. A pattern of somebody else stays: it came after us."""
    pattern = kernel.read(sysctl.CORE_PATTERN) or ""
    if not ours(pattern) and pattern != settings.get(sysctl.CORE_PATTERN):
        return []
    changed = []
    for key in reversed(sysctl.ORDER):
        if key in settings and kernel.read(key) != settings[key]:
            kernel.write(key, settings[key])
            changed.append(f"{key} = {settings[key]}")
    return changed


def overridden(root: str = "/") -> list[str]:
    """Files that will win over ours at the next boot, one sentence each."""
    tree = Tree(root)
    losing = sysctl_plan.losing(tree, sysctl.wanted(tree, "pipe"))
    return [
        f"{winner.file}:{winner.line} sets {key}={winner.value}: at the next boot that wins"
        for key, winners in losing.items()
        for winner in winners
    ]


def has_systemd() -> bool:
    """Whether systemd is PID 1 (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system") and shutil.which("systemctl") is not None


def systemctl(*arguments: str) -> str:
    """What it prints; "" if it fails. PycoredumpError never: units are not worth the handler."""
    done = subprocess.run(
        ["systemctl", "--quiet", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 and done.stderr.strip():
        print(f"systemctl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout if done.returncode == 0 else ""


def active_rivals() -> list[str]:
    """The rivals that are enabled or running here."""
    if not has_systemd():
        return []
    return [unit for unit in RIVALS if _is("is-enabled", unit) or _is("is-active", unit)]


def _is(question: str, unit: str) -> bool:
    command = ["systemctl", "--quiet", question, unit]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
