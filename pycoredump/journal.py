"""The journal: names of the fields we write, and how a message gets there, or to the kernel log if it cannot.

The one source for the field names (systemd.journal-fields(7) and systemd-coredump's own).
Runs before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

import _signal
import errno
import fcntl
import os
import struct
import sys

from pycoredump import guard
from pycoredump.zstd import PACKAGES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

MSG_DONTWAIT, MSG_NOSIGNAL = 0x40, 0x4000  # linux/socket.h
NOBODY = 65534
SEND_SECONDS = 30
SENT, NOT_SENT, SENT_NATIVELY = range(3)  # exit status of the child that sends as the crashed user
SOCKET = "/run/systemd/journal/socket"
KMSG = "/dev/kmsg"
KMSG_MAX = 900  # bytes of a line; the kernel takes about a KiB (kernel/printk LOG_LINE_MAX)
IDENTIFIER = "pycoredump"
COREDUMP_ID = "fc2e22bc6ee647b6b90729ab34a250b1"  # SD_MESSAGE_COREDUMP: what coredumpctl looks for

# syslog(3)
LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_CRIT = 3, 4, 5, 6, 2

# Fields of systemd-coredump, with the same meaning.
STANDARD_FIELDS = (
    "COREDUMP_PID", "COREDUMP_UID", "COREDUMP_GID", "COREDUMP_SIGNAL", "COREDUMP_SIGNAL_NAME", "COREDUMP_CODE",
    "COREDUMP_TIMESTAMP", "COREDUMP_RLIMIT", "COREDUMP_HOSTNAME", "COREDUMP_DUMPABLE", "COREDUMP_COMM",
    "COREDUMP_TID", "COREDUMP_THREAD_NAME", "COREDUMP_EXE", "COREDUMP_UNIT", "COREDUMP_USER_UNIT",
    "COREDUMP_SESSION", "COREDUMP_OWNER_UID", "COREDUMP_SLICE", "COREDUMP_CMDLINE", "COREDUMP_CGROUP",
    "COREDUMP_PROC_CGROUP", "COREDUMP_OPEN_FDS", "COREDUMP_PROC_STATUS", "COREDUMP_PROC_MAPS",
    "COREDUMP_PROC_LIMITS", "COREDUMP_PROC_MOUNTINFO", "COREDUMP_PROC_AUXV", "COREDUMP_CWD", "COREDUMP_ROOT",
    "COREDUMP_ENVIRON", "COREDUMP_CONTAINER_CMDLINE", "COREDUMP_BY_PIDFD", "COREDUMP_FILENAME",
    "COREDUMP_TRUNCATED", "COREDUMP_PACKAGE_JSON", "COREDUMP_PACKAGE_NAME", "COREDUMP_PACKAGE_VERSION", "COREDUMP",
)  # fmt: skip

# Fields of ours, with what they hold.
OWN_FIELDS = {
    "COREDUMP_FAULT_ADDRESS": "si_addr of the signal, 0x and hexadecimal digits; only where the signal has one",
    "COREDUMP_CODE_NAME": "si_code by name, as SEGV_MAPERR",
    "COREDUMP_SENDER_PID": "who sent the signal, for kill(2) and the like",
    "COREDUMP_SENDER_UID": "the sender's user",
    "COREDUMP_SYSCALL": "number of the system call that a seccomp filter refused",
    "COREDUMP_THREADS": "number of threads in the core",
    "COREDUMP_BOOT_ID": "the boot in which it crashed",
    "COREDUMP_ARCHITECTURE": "of the core, as x86-64",
    "COREDUMP_CORE_SIZE": "bytes that the kernel would have written",
    "COREDUMP_KEPT_SIZE": "bytes of the core that are kept, before compression",
    "COREDUMP_STORED_SIZE": "bytes of the archive",
    "COREDUMP_DROPPED": "stretches of memory left out: 0xSTART-0xEND, one in a line",
    "COREDUMP_UNREADABLE": "stretches that could not be read and are zeros in the core: 0xSTART-0xEND, one in a line",
    "COREDUMP_CONTENT": "budget or stacks, where not everything was to be kept",
    "COREDUMP_REASON": "why no core, or not all of it, is kept",
    "COREDUMP_STREAM_CLOSED": "1 if the kernel's stream was not read to its end",
    "COREDUMP_PROBLEMS": "what went wrong in catching this crash, one sentence in a line",
    "COREDUMP_SIGNATURE": "id of the crash: the same bug has the same, 16 hexadecimal digits",
    "COREDUMP_TITLE": "the crash in one line, as SIGSEGV in parse_header (nginx)",
    "COREDUMP_EXPLANATION": "the fault in words",
    "COREDUMP_SCRIPT": "the script that an interpreter was running",
    "COREDUMP_SCRIPT_TRACE": "the interpreter's own stack of each thread",
    "COREDUMP_MODULES": "build id and path of each mapped file, one in a line",
}

# Bytes of one entry (without a core): from users other than root journald takes 32 MiB, and drops what is more
# without a word.
ENTRY_MAX = 24 << 20
CUT = b"..."  # ends what had to be cut, as in systemd-coredump's entries


def listens(path: str = SOCKET) -> bool:
    """Whether somebody takes entries. A socket that only lies there is what a journald leaves that has ended."""
    import _socket

    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        sock.connect(path)
    except OSError:
        return False
    finally:
        sock.close()
    return True


def serialize(fields: Mapping[str, bytes]) -> bytes:
    """The native protocol: NAME=value, or with a length in front if the value has a newline."""
    parts = []
    for name, value in fields.items():
        if b"\n" in value:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n")
        else:
            parts.append(name.encode() + b"=" + value + b"\n")
    return b"".join(parts)


def fitted(fields: Mapping[str, bytes], most: int = ENTRY_MAX) -> dict[str, bytes]:
    """The fields in `most` bytes: the largest ones are cut. A process may fill its arguments with anything."""
    limit = most
    while sum(min(len(value), limit) for value in fields.values()) > most:
        limit //= 2
    return {name: value if len(value) <= limit else value[:limit] + CUT for name, value in fields.items()}


def message(priority: int, text: str, **fields: str) -> dict[str, bytes]:
    """The fields of a plain message of the handler."""
    values = {"MESSAGE": text, "PRIORITY": str(priority), "SYSLOG_IDENTIFIER": IDENTIFIER, **fields}
    return {name: value.encode("utf-8", "surrogateescape") for name, value in values.items()}


def post(fields: Mapping[str, bytes], *, path: str = SOCKET) -> None:
    """Hand a small message to journald without ever waiting for it. OSError if it cannot be had at once.

    Used while the crashed process waits for us: sd_journal_sendv(3) would block on a journald that hangs.
    """
    _datagram(serialize(fields), -1, MSG_DONTWAIT, path)


def send(fields: Mapping[str, bytes], *, wait: bool = True) -> str:
    """Send an entry through systemd-python. "" or the reason why its C part was not used. OSError.

    sd_journal_sendv(3) says nothing when the socket is missing, so that is looked at first. It blocks while
    journald does not read: without `wait` (journald itself crashed) the message goes as far as there is room.
    """
    os.stat(SOCKET)
    if not wait:
        send_natively(fields, flags=MSG_DONTWAIT)
        return ""
    try:
        sendv = _sendv()
    except Exception as e:
        send_natively(fields)
        return f"python3-systemd cannot be used ({type(e).__name__}: {e})"

    sendv(*(name.encode() + b"=" + value for name, value in fields.items()))
    return ""


def _sendv() -> Callable[..., None]:
    if PACKAGES not in sys.path:
        sys.path.append(PACKAGES)
    import systemd._journal as library

    sendv: Any = library.sendv
    return sendv  # type: ignore[no-any-return]  # the C module has no types


def send_natively(fields: Mapping[str, bytes], *, flags: int = 0, path: str = SOCKET) -> None:
    """Send an entry in the native protocol (systemd.io NATIVE_JOURNAL_PROTOCOL); large ones as a sealed memfd."""
    data = serialize(fields)
    try:
        _datagram(data, -1, flags, path)
        return
    except OSError as e:
        if e.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
            raise

    fd = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        _datagram(b"", fd, flags, path)
    finally:
        os.close(fd)


CORE_AT = len(b"COREDUMP\n") + 8  # where a core begins in a file that send_file() is to take


def send_file(fd: int, size: int, fields: Mapping[str, bytes], *, path: str = SOCKET) -> None:
    """Send an entry with a core of `size` bytes that stands in a file behind CORE_AT. OSError.

    The core is not held in memory: its file becomes the entry. Only root may do so, the file is not sealed.
    """
    os.pwrite(fd, b"COREDUMP\n" + struct.pack("<Q", size), 0)
    view = memoryview(b"\n" + serialize(fitted(entry(fields))))
    at = CORE_AT + size
    while view:
        count = os.pwrite(fd, view, at)
        view, at = view[count:], at + count
    with guard.TimeLimit(SEND_SECONDS):
        _datagram(b"", fd, 0, path)


def _datagram(data: bytes, fd: int, flags: int, path: str) -> None:
    import _socket

    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", fd))] if fd >= 0 else []
    try:
        sock.sendmsg([data] if data else [], rights, flags | MSG_NOSIGNAL, path)
    finally:
        sock.close()


def send_as(fields: Mapping[str, bytes], *, user: int | None, wait: bool = True) -> str:
    """Send the entry as `user` (so that journald files it where they may read it), as root for None.

    A child of ours becomes the user: nobody but the kernel tells journald who sent it. Should that fail, root
    sends it. "" or what was wrong with systemd-python. OSError if journald does not take it in time.
    """
    whole = fitted(entry(fields))
    if user is not None:
        code = _send_as(whole, user, wait)
        if code in (SENT, SENT_NATIVELY):
            return "" if code == SENT else "python3-systemd cannot be used"
    with guard.TimeLimit(SEND_SECONDS):
        return send(whole, wait=wait)


def _send_as(fields: Mapping[str, bytes], user: int, wait: bool) -> int:
    try:
        os.stat(SOCKET)
        pid = os.fork()
    except OSError:
        return NOT_SENT  # no room for another process, as in a fork bomb: that costs the user's view, not the entry
    if pid == 0:
        os._exit(_send_in_child(fields, user, wait))
    try:
        with guard.TimeLimit(2 * SEND_SECONDS):
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except TimeoutError:
        # Its own time limit did not help: the user may have stopped it, whose process it is.
        os.kill(pid, _signal.SIGKILL)
        os.waitpid(pid, 0)
        return NOT_SENT


def entry(fields: Mapping[str, bytes]) -> dict[str, bytes]:
    """The fields with those that every entry of a crash begins with."""
    first = {"MESSAGE_ID": COREDUMP_ID, "PRIORITY": str(LOG_CRIT), "SYSLOG_IDENTIFIER": IDENTIFIER}
    return {name: value.encode() for name, value in first.items()} | dict(fields)


def _send_in_child(fields: Mapping[str, bytes], user: int, wait: bool) -> int:
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(user, user, user)
        with guard.TimeLimit(SEND_SECONDS):
            return SENT_NATIVELY if send(fields, wait=wait) else SENT
    except BaseException:
        return NOT_SENT  # root tries next, and says what is wrong


def kernel_log(priority: int, text: str, *, path: str = KMSG) -> None:
    """One line in the kernel log; never raises: there is nowhere left to tell it."""
    clean = "".join(c if c.isprintable() else "?" for c in text)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return
    try:
        line = f"<{priority}>{IDENTIFIER}[{os.getpid()}]: {clean}".encode("utf-8", "backslashreplace")
        # Without the newline the kernel waits for more of the line, and shows it when somebody writes the next.
        os.write(fd, line[:KMSG_MAX] + b"\n")
    except OSError:
        pass
    finally:
        os.close(fd)


def log(priority: int, text: str, *, journald: bool = True, **fields: str) -> None:
    """One line in the journal, or in the kernel log if journald cannot take it at once (or is what crashed)."""
    if journald:
        try:
            post(message(priority, text, **fields))
            return
        except OSError:
            pass
    kernel_log(priority, text)
