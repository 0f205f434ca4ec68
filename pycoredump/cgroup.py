"""Unit, session, slice and owner from a control group path, as systemd names them (systemd.journal-fields(7)).

Runs before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

from pycoredump.record import Record

UNIT_SUFFIXES = (
    ".service",
    ".scope",
    ".socket",
    ".mount",
    ".swap",
    ".target",
    ".device",
    ".automount",
    ".timer",
    ".path",
)


class Placement(Record):
    """Where systemd had the process; "" where it did not."""

    path: str = ""
    unit: str = ""
    user_unit: str = ""
    session: str = ""
    slice: str = ""
    user_slice: str = ""
    owner_uid: str = ""


def path(cgroup: bytes) -> str:
    """The path from /proc/PID/cgroup: of the unified hierarchy, else of systemd's own."""
    found = ""
    for line in cgroup.decode("utf-8", "surrogateescape").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if number == "0" and not controllers and name:
            found = name if name != "/" or not found else found
        elif controllers == "name=systemd":
            found = name
    return found


def placement(cgroup: bytes) -> Placement:
    """The parts of the path that systemd gives a meaning."""
    whole = path(cgroup)
    parts = [unescape(part) for part in whole.split("/") if part]
    slices = [part for part in parts if part.endswith(".slice")]
    unit_at = next((i for i, part in enumerate(parts) if is_unit(part)), None)
    unit = parts[unit_at] if unit_at is not None else ""
    below = parts[unit_at + 1 :] if unit_at is not None else []
    is_manager = unit.startswith("user@") and unit.endswith(".service")
    user_unit = next((part for part in below if is_unit(part)), "") if is_manager else ""
    outer = [part for part in (parts[:unit_at] if unit_at is not None else parts) if part.endswith(".slice")]
    session = unit.removeprefix("session-").removesuffix(".scope") if _is_session(unit) else ""
    owner = next((_owner(part) for part in slices if _owner(part)), "")
    return Placement(
        path=whole,
        unit=unit,
        user_unit=user_unit,
        session=session,
        slice=outer[-1] if outer else ("-.slice" if whole else ""),
        user_slice=next((part for part in reversed(below) if part.endswith(".slice")), "")
        if is_manager
        else "",
        owner_uid=owner,
    )


def is_unit(name: str) -> bool:
    return name.endswith(UNIT_SUFFIXES) and not name.startswith(".")


def unescape(name: str) -> str:
    """A leading underscore protects names that would collide with the kernel's (cg_unescape in systemd)."""
    return name[1:] if name.startswith("_") else name


def _is_session(unit: str) -> bool:
    return unit.startswith("session-") and unit.endswith(".scope")


def _owner(part: str) -> str:
    uid = part.removeprefix("user-").removesuffix(".slice")
    return uid if part.startswith("user-") and part.endswith(".slice") and uid.isdigit() else ""
