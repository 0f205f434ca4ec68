"""The facts of a crash as journal fields and as the archive's metadata: quoting, redaction, names.

Runs before the release for the archive's first metadata frame: tests/test_hot_path.py lists what this
module may import.
"""

from __future__ import annotations

from pycoredump import admission, cgroup, elfnote, procfs, siginfo
from pycoredump.crash import SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pycoredump.config import Config
    from pycoredump.corefile import Layout
    from pycoredump.crash import Crash
    from pycoredump.procfs import Process

ARCHITECTURES = {
    (elfnote.EM_X86_64, 8): "x86-64",
    (elfnote.EM_X86_64, 4): "x32",
    (elfnote.EM_AARCH64, 8): "arm64",
    (elfnote.EM_386, 4): "x86",
    (elfnote.EM_ARM, 4): "arm",
    (243, 8): "riscv64",
    (22, 8): "s390x",
    (21, 8): "ppc64",
}
NOBODY = "65534"  # stands for a user that nobody told us
REDACTED = b"[redacted]"
HOSTNAME_MAX = 256
COMM_MAX = 128

Fields = dict[str, bytes]


def text(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def from_crash(crash: Crash, process: Process, *, boot_id: str) -> Fields:
    """What the kernel's arguments tell. UID and GID are mandatory for coredumpctl before release 257."""
    uid, gid = procfs.user_and_group(process)
    fields = {
        "COREDUMP_PID": str(crash.pid),
        "COREDUMP_UID": str(crash.uid) if crash.uid is not None else uid or NOBODY,
        "COREDUMP_GID": str(crash.gid) if crash.gid is not None else gid or NOBODY,
        "COREDUMP_SIGNAL": str(crash.signal),
        "COREDUMP_SIGNAL_NAME": crash.signal_name,
        "COREDUMP_TIMESTAMP": str(crash.timestamp * 1_000_000),
        "COREDUMP_COMM": printable(text(crash.comm), COMM_MAX),
    }
    optional = {
        "COREDUMP_RLIMIT": crash.rlimit,
        "COREDUMP_DUMPABLE": crash.dumpable,
        "COREDUMP_TID": crash.tid,
        "COREDUMP_BY_PIDFD": 1 if crash.pidfd is not None else None,
        "COREDUMP_HOSTNAME": printable(text(crash.hostname), HOSTNAME_MAX) or None,
        "COREDUMP_BOOT_ID": boot_id or None,
    }
    fields |= {name: str(value) for name, value in optional.items() if value is not None}
    return {name: text(value) for name, value in fields.items()}


def from_process(process: Process, config: Config) -> Fields:
    """What /proc told, in the formats of systemd-coredump; what is empty is left out."""
    place = cgroup.placement(process.cgroup)
    fields = {
        "COREDUMP_COMM": text(printable(process.comm, COMM_MAX)),
        "COREDUMP_THREAD_NAME": text(printable(process.thread_name, COMM_MAX)),
        "COREDUMP_EXE": harmless(exe(process.exe)),
        "COREDUMP_UNIT": harmless(text(place.unit)),
        "COREDUMP_USER_UNIT": harmless(text(place.user_unit)),
        "COREDUMP_SESSION": harmless(text(place.session)),
        "COREDUMP_OWNER_UID": text(place.owner_uid),
        "COREDUMP_SLICE": harmless(text(place.slice)),
        "COREDUMP_CGROUP": harmless(text(place.path)),
        "COREDUMP_PROC_CGROUP": process.cgroup.rstrip(b"\n"),
        "COREDUMP_CMDLINE": text(quote(process.cmdline)),
        "COREDUMP_OPEN_FDS": process.open_fds,
        "COREDUMP_PROC_STATUS": process.status,
        "COREDUMP_PROC_MAPS": process.maps,
        "COREDUMP_PROC_LIMITS": process.limits,
        "COREDUMP_PROC_MOUNTINFO": process.mountinfo,
        "COREDUMP_PROC_AUXV": process.auxv,
        "COREDUMP_CWD": process.cwd,
        "COREDUMP_ROOT": process.root,
        "COREDUMP_ENVIRON": environ(process.environ, config.redact_environment),
        "COREDUMP_CONTAINER_CMDLINE": text(quote(process.container_cmdline)),
    }
    return {name: value for name, value in fields.items() if value}


def from_layout(layout: Layout) -> Fields:
    """What the core's own headers and notes told."""
    abi = layout.abi
    fields = {
        "COREDUMP_THREADS": str(len(layout.threads)),
        "COREDUMP_ARCHITECTURE": ARCHITECTURES.get((abi.machine, abi.word), f"e_machine {abi.machine}"),
        "COREDUMP_CORE_SIZE": str(layout.size),
    }
    info = layout.signal
    if info is not None:
        fields["COREDUMP_CODE"] = str(info.code)
        fields["COREDUMP_CODE_NAME"] = siginfo.code_name(info.signal, info.code)
        if siginfo.has_address(info.signal, info.code):
            fields["COREDUMP_FAULT_ADDRESS"] = f"{info.address:#x}"
        if siginfo.has_sender(info.code):
            fields |= {"COREDUMP_SENDER_PID": str(info.pid), "COREDUMP_SENDER_UID": str(info.uid)}
        if siginfo.has_syscall(info.signal, info.code):
            fields["COREDUMP_SYSCALL"] = str(info.syscall)
    result = {name: text(value) for name, value in fields.items() if value}
    if layout.process is not None:
        result["COREDUMP_COMM"] = text(printable(layout.process.comm, COMM_MAX))
    return result


def exe(link: bytes) -> bytes:
    """The executable as systemd-coredump names it: without the " (deleted)" that the kernel appends."""
    return link.removesuffix(b" (deleted)")


def harmless(value: bytes) -> bytes:
    """A name as coredumpctl can show it: one that is not UTF-8 ends its whole list, and it obeys escape sequences."""
    return text(printable(value, len(value) * 4))


def printable(value: bytes, limit: int) -> str:
    """The text with everything that is not printable ASCII or valid UTF-8 as \\xHH, cut to `limit` characters."""
    decoded = value.decode("utf-8", "surrogateescape")
    shown = "".join(
        c if c.isprintable() else "".join(f"\\x{b:02x}" for b in c.encode("utf-8", "surrogateescape"))
        for c in decoded
    )
    return shown[:limit]


PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=+,@%")
ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\", "'": "\\'", "\x1b": "\\e"}


def quote(cmdline: bytes) -> str:
    """The arguments so that a shell would read them back (PROCESS_CMDLINE_QUOTE_POSIX of systemd)."""
    arguments = cmdline.removesuffix(b"\0").split(b"\0") if cmdline else []
    return " ".join(_quoted(argument.decode("utf-8", "surrogateescape")) for argument in arguments)


def _quoted(argument: str) -> str:
    if argument and PLAIN.issuperset(argument):
        return argument
    if argument.isprintable() and "'" not in argument and "\\" not in argument:
        return f"'{argument}'" if any(c in argument for c in '"$`!') else f'"{argument}"'

    def escaped(c: str) -> str:
        if c in ESCAPES:
            return ESCAPES[c]
        if c.isprintable():
            return c
        return "".join(f"\\x{b:02x}" for b in c.encode("utf-8", "surrogateescape"))

    return "$'" + "".join(escaped(c) for c in argument) + "'"


def environ(block: bytes, patterns: tuple[str, ...]) -> bytes:
    """One variable in a line; the values of those whose names match a pattern (any case) are taken out."""
    lines = []
    for variable in block.rstrip(b"\0").split(b"\0") if block else []:
        name, equals, value = variable.partition(b"=")
        upper = name.decode("utf-8", "surrogateescape").upper()
        if equals and any(admission.matches(pattern.upper(), upper) for pattern in patterns):
            value = REDACTED
        lines.append((name + equals + value).replace(b"\\", b"\\\\").replace(b"\n", b"\\n"))
    return b"\n".join(lines)


def summary(fields: Mapping[str, bytes], *, dumped: bool) -> str:
    """The first line of MESSAGE, in the words of systemd-coredump."""
    pid, comm, uid = (_shown(fields, name) for name in ("COREDUMP_PID", "COREDUMP_COMM", "COREDUMP_UID"))
    what = "dumped core." if dumped else "terminated abnormally without generating a coredump."
    return f"Process {pid} ({comm}) of user {uid} {what}"


def processing(crash: Crash, process: Process | None = None) -> str:
    """The line that goes out before anything can go wrong."""
    name = SIGNALS.get(crash.signal, f"signal {crash.signal}")
    comm = printable(text(crash.comm), COMM_MAX)
    told = procfs.user_and_group(process)[0] if process else ""
    user = str(crash.uid) if crash.uid is not None else told or "unknown"
    return f"Process {crash.pid} ({comm}) of user {user} crashed with {name}, processing"


def _shown(fields: Mapping[str, bytes], name: str) -> str:
    return fields.get(name, b"?").decode("utf-8", "backslashreplace")
