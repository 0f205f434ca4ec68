"""The terminal: text of others made harmless, colours, width, the pager. Formatting only, but for the pager."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

RESET, BOLD, UNDERLINE = "\x1b[0m", "\x1b[1m", "\x1b[4m"
RED, GREEN, YELLOW, GREY = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[38;5;245m"

# What journalctl and coredumpctl give less(1): quit if it fits, colours, no clearing, long lines chopped.
LESS = "FRSXMK"


def shown(text: str, *, lines: bool = False) -> str:
    """The text with everything that a terminal might obey, or that is not UTF-8, as \\xHH or \\uHHHH.

    Line feeds and tabs stay with `lines`. Format characters (bidirectional overrides) count as orders, too.
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(c if c.isprintable() or c in kept else _escaped(c) for c in text)


def _escaped(c: str) -> str:
    if c in "\n\t\r":
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}[c]
    code = ord(c)
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def size(value: int) -> str:
    """Bytes as coredumpctl writes them: 23.5K, 1001.9K, 15.8M, 12B."""
    for shift, suffix in ((60, "E"), (50, "P"), (40, "T"), (30, "G"), (20, "M"), (10, "K")):
        if value >= 1 << shift:
            tenths = (value * 10 >> shift) % 10
            return f"{value >> shift}.{tenths}{suffix}"
    return f"{value}B"


def counted(number: int, noun: str) -> str:
    """1 crash, 2 crashes."""
    return f"{number} {noun}{'' if number == 1 else 'es' if noun.endswith('sh') else 's'}"


def json_text(value: object, form: str) -> str:
    """As --json=pretty or short asks for it."""
    import json

    return json.dumps(value, indent="\t") if form == "pretty" else json.dumps(value, separators=(",", ":"))


class Style:
    """Colours, or nothing where they are not wanted."""

    def __init__(self, *, colour: bool) -> None:
        self.colour = colour

    def paint(self, text: str, *codes: str) -> str:
        return f"{''.join(codes)}{text}{RESET}" if self.colour and codes and text else text


def wants_colour(*, tty: bool) -> bool:
    """As systemd's tools decide: $SYSTEMD_COLORS, $NO_COLOR, a terminal that is not dumb."""
    wish = os.environ.get("SYSTEMD_COLORS", "")
    if wish:
        return wish.lower() not in ("0", "no", "false", "off", "n", "f")
    return tty and "NO_COLOR" not in os.environ and os.environ.get("TERM", "dumb") != "dumb"


def columns() -> int:
    """Width of the terminal; 0 where lines are not to be cut."""
    return shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else 0


def pager() -> list[str]:
    """The command of the pager, [] for none.

    A pager from the environment is started without a shell. Where privileges came by sudo or the like, the
    environment is somebody else's, and only less in its secure mode is started, which runs no commands
    (less(1), LESSSECURE); $SYSTEMD_PAGERSECURE says otherwise as for systemd's tools.
    """
    import shlex

    secure = is_secure()
    wish = next((os.environ[name] for name in ("SYSTEMD_PAGER", "PAGER") if name in os.environ), "less")
    if wish in ("", "cat"):
        return []
    try:
        command = shlex.split(wish)
    except ValueError:
        return []
    if secure and os.path.basename(command[0]) != "less":
        command = ["less"]
    return command if shutil.which(command[0]) else []


def is_secure() -> bool:
    """Whether the pager must not be able to run commands: asked for, or we have privileges that the user has not."""
    wish = os.environ.get("SYSTEMD_PAGERSECURE", "")
    if wish:
        return wish.lower() not in ("0", "no", "false", "off", "n", "f")
    return os.geteuid() == 0 and ("SUDO_UID" in os.environ or "PKEXEC_UID" in os.environ or _other_owner())


def _other_owner() -> bool:
    # su, doas and others leave no variable: the session's own user does.
    try:
        with open("/proc/self/loginuid", encoding="ascii") as file:
            return file.read().strip() not in ("0", str(2**32 - 1), "")
    except OSError:
        return False


@contextmanager
def paged(*, wanted: bool) -> Iterator[None]:
    """Standard output goes through the pager while this is open, if it is a terminal and there is one."""
    command = pager() if wanted and sys.stdout.isatty() else []
    if not command:
        yield
        return

    import signal
    import subprocess

    environment = {**os.environ, "LESS": os.environ.get("SYSTEMD_LESS", LESS), "LESSCHARSET": "utf-8"}
    if is_secure():
        environment["LESSSECURE"] = "1"
        for name in ("LESSOPEN", "LESSCLOSE", "LESSEDIT"):
            environment.pop(name, None)
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as child:
        terminal = os.dup(1)
        assert child.stdin is not None  # PIPE was asked for
        os.dup2(child.stdin.fileno(), 1)
        child.stdin.close()
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the pager's while it runs
        try:
            yield
        finally:
            try:
                sys.stdout.flush()
            except BrokenPipeError:
                pass  # the reader has seen enough
            finally:
                os.dup2(terminal, 1)
                os.close(terminal)
                child.wait()
                signal.signal(signal.SIGINT, before)
