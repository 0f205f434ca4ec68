"""The lines of `info`: what coredumpctl shows, in its order and words, and what we know beyond."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pycoredump.cli import screen, times, words
from pycoredump.cli.incident import BACKTRACE_ID, Incident, Known, Presence, is_true

LABEL = 14  # characters, as in coredumpctl
UNLIMITED = 1 << 62  # bytes: RLIM_INFINITY, and what Debian's systemd-coredump writes in its place
SHOWN_MAX = 8  # modules and variables, unless all are asked for
LINE_MAX = 200  # characters of one of these

Line = tuple[str, str]  # label, text: not yet made harmless


# Their values have lines; in others a line feed is foul play.
LINES = {"Message", "Explanation", "Modules", "Environment", "Script Trace", "Problems"}


def lines(
    one: Incident, there: Presence, *, now: int, threads: tuple[int, ...] = (), known: Known | None = None
) -> Iterator[Line]:
    """The facts of a crash."""
    yield from _process(one)
    yield from _signal(one)
    yield from _signature(one, known or Known(), now)
    yield from _origin(one, now)
    yield from _core(one, there, threads)
    yield from _build(one)
    yield from _surroundings(one)
    if one.get("MESSAGE"):
        yield "Message", one.get("MESSAGE").rstrip("\n")


def _process(one: Incident) -> Iterator[Line]:
    if is_claimed(one):
        yield "Not Trusted", f"user {one.get('_UID')} wrote this entry about a process of another user"
    pid, comm = one.get("COREDUMP_PID"), one.get("COREDUMP_COMM")
    if pid:
        yield "PID", f"{pid} ({comm})" if comm else pid
    tid = one.get("COREDUMP_TID")
    if tid and (tid != pid or one.get("COREDUMP_THREAD_NAME") not in ("", comm)):
        name = one.get("COREDUMP_THREAD_NAME")
        yield "TID", f"{tid} ({name})" if name else tid
    for label in ("UID", "GID"):
        if number := one.get(f"COREDUMP_{label}"):
            yield label, account(label, number)


def is_claimed(one: Incident) -> bool:
    """Whether somebody wrote this entry who cannot know: any process may write any field without an underscore."""
    import pwd

    sender = one.get("_UID")
    if sender in ("", "0", one.get("COREDUMP_UID")):
        return False
    try:
        return pwd.getpwuid(int(sender)).pw_name != "systemd-coredump"
    except (KeyError, ValueError, OverflowError):
        return True


def account(label: str, number: str) -> str:
    import grp
    import pwd

    try:
        name = pwd.getpwuid(int(number)).pw_name if label == "UID" else grp.getgrgid(int(number)).gr_name
    except (KeyError, ValueError, OverflowError):
        name = number
    return f"{number} ({name})"


def _signal(one: Incident) -> Iterator[Line]:
    text = one.get("COREDUMP_SIGNAL")
    if one.get("MESSAGE_ID") == BACKTRACE_ID:
        yield "Reason", text
        return
    if text:
        yield (
            "Signal",
            f"{text} ({one.signal.removeprefix('SIG')})" if one.number("COREDUMP_SIGNAL") else text,
        )
    if explanation := words.signal(one.signal):
        yield "Meaning", explanation
    if name := one.get("COREDUMP_CODE_NAME") or one.get("COREDUMP_CODE"):
        yield "Code", f"{name}: {words.code(name)}" if words.code(name) else name
    if address := one.get("COREDUMP_FAULT_ADDRESS"):
        yield "Fault Address", address
    if sender := one.get("COREDUMP_SENDER_PID"):
        itself = " (itself)" if sender == one.get("COREDUMP_PID") else ""
        yield "Sent By", f"process {sender}{itself} of user {one.get('COREDUMP_SENDER_UID') or 'unknown'}"
    if syscall := one.get("COREDUMP_SYSCALL"):
        yield "System Call", syscall
    if title := one.get("COREDUMP_TITLE"):
        yield "Title", title
    if explanation := one.get("COREDUMP_EXPLANATION"):
        # The message has all of it; its first line is the most telling.
        yield "Explanation", explanation.split("\n")[0] if explanation in one.get("MESSAGE") else explanation


def _signature(one: Incident, known: Known, now: int) -> Iterator[Line]:
    signature = one.get("COREDUMP_SIGNATURE")
    if not signature:
        return
    if known.crashes > 1:
        since = f"{times.stamp(known.first)}, {times.ago(known.first, now=now)}"
        yield "Signature", f"{signature} ({known.crashes} crashes like this, the first {since})"
    else:
        yield "Signature", f"{signature} (no other crash like this is known)" if known.crashes else signature


def _origin(one: Incident, now: int) -> Iterator[Line]:
    crashed = one.number("COREDUMP_TIMESTAMP")
    if crashed is not None:
        yield "Timestamp", f"{times.stamp(crashed)} ({times.ago(crashed, now=now)})"
    for label, name in (
        ("Command Line", "CMDLINE"), ("Script", "SCRIPT"), ("Executable", "EXE"), ("Control Group", "CGROUP"),
        ("Unit", "UNIT"), ("User Unit", "USER_UNIT"), ("Slice", "SLICE"), ("Session", "SESSION"),
    ):  # fmt: skip
        if value := one.get(f"COREDUMP_{name}"):
            yield label, value
    if owner := one.get("COREDUMP_OWNER_UID"):
        yield "Owner UID", account("UID", owner)
    if boot := one.get("_BOOT_ID") or one.get("COREDUMP_BOOT_ID"):
        yield "Boot ID", boot
    if machine := one.get("_MACHINE_ID"):
        yield "Machine ID", machine
    if host := one.get("COREDUMP_HOSTNAME"):
        yield "Hostname", host
    if container := one.get("COREDUMP_CONTAINER_CMDLINE"):
        yield "Container", container


def _core(one: Incident, there: Presence, threads: tuple[int, ...]) -> Iterator[Line]:
    if one.file:
        yield "Storage", f"{one.file} ({there.word})"
        if there.size is not None:
            yield "Size on Disk", screen.size(there.size)
    else:
        yield "Storage", "journal" if there.word in ("journal", "truncated") else "none"
    whole, kept = one.number("COREDUMP_CORE_SIZE"), one.number("COREDUMP_KEPT_SIZE")
    if whole:
        yield "Core", _kept(one, whole, kept)
    if reason := one.get("COREDUMP_REASON"):
        yield "Not Kept", reason
    limit = one.number("COREDUMP_RLIMIT")
    if limit is not None:
        yield (
            "Core Limit",
            "unlimited" if limit >= UNLIMITED else f"{screen.size(limit)} (RLIMIT_CORE)",
        )
    if threads or one.get("COREDUMP_THREADS"):
        yield "Threads", _threads(one, threads)


def _kept(one: Incident, whole: int, kept: int | None) -> str:
    content = one.get("COREDUMP_CONTENT")
    parts = [screen.size(whole)]
    if kept == whole:
        parts.append("kept whole")
    elif kept is not None or not one.file:
        by = f" by Content={content}" if content in ("budget", "stacks") else ""
        parts.append(f"{screen.size(kept)} kept{by}" if kept else "nothing kept")
    dropped = one.get("COREDUMP_DROPPED").split("\n") if one.get("COREDUMP_DROPPED") else []
    if dropped:
        # The rest of the difference was never touched: the kernel would have written zeros.
        parts.append(f"{screen.size(sum(map(_length, dropped)))} of used memory left out")
    elif is_true(one.get("COREDUMP_TRUNCATED")):
        parts.append("truncated")
    return ", ".join(parts)


def _length(stretch: str) -> int:
    start, _, end = stretch.partition("-")
    try:
        return max(0, int(end, 16) - int(start, 16))
    except ValueError:
        return 0


def _threads(one: Incident, threads: tuple[int, ...]) -> str:
    if not threads:
        return one.get("COREDUMP_THREADS")
    some = " ".join(str(tid) for tid in threads[:SHOWN_MAX])
    more = f" and {len(threads) - SHOWN_MAX} more" if len(threads) > SHOWN_MAX else ""
    return f"{len(threads)} (the crashing one first: {some}{more})" if len(threads) > 1 else f"1 ({some})"


def _build(one: Incident) -> Iterator[Line]:
    name, version = one.get("COREDUMP_PACKAGE_NAME"), one.get("COREDUMP_PACKAGE_VERSION")
    if name and version:
        yield "Package", f"{name}/{version}"
    if build_id := _build_id(one):
        yield "build-id", build_id
    modules = one.get("COREDUMP_MODULES").split("\n") if one.get("COREDUMP_MODULES") else []
    if modules:
        yield "Modules", _some(modules)


def _build_id(one: Incident) -> str:
    # coredumpctl prints the executable's own.
    try:
        packages = json.loads(one.get("COREDUMP_PACKAGE_JSON") or "{}")
        module = packages.get(one.get("COREDUMP_EXE").rpartition("/")[2], {})
        return str(module.get("buildId", ""))
    except (ValueError, AttributeError, RecursionError):
        return ""


def _surroundings(one: Incident) -> Iterator[Line]:
    for label, name in (("Directory", "CWD"), ("Root", "ROOT")):
        value = one.get(f"COREDUMP_{name}")
        if value and not (name == "ROOT" and value == "/"):
            yield label, value
    if environment := one.get("COREDUMP_ENVIRON"):
        yield "Environment", _some(environment.split("\n"))
    if trace := one.get("COREDUMP_SCRIPT_TRACE"):
        yield "Script Trace", trace
    if problems := one.get("COREDUMP_PROBLEMS"):
        yield "Problems", problems


def _some(values: list[str]) -> str:
    shown = [value if len(value) <= LINE_MAX else f"{value[:LINE_MAX]}…" for value in values[:SHOWN_MAX]]
    if len(values) > SHOWN_MAX:
        shown.append(f"… and {len(values) - SHOWN_MAX} more (--all-fields)")
    return "\n".join(shown)


def text(label: str, value: str) -> str:
    """One fact as coredumpctl lays it out, made harmless."""
    body = screen.shown(value, lines=label in LINES).replace("\n", "\n" + " " * (LABEL + 2))
    return f"{label:>{LABEL}}: {body}"
