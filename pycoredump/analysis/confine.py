"""Takes everything away from the calling process: identity, capabilities, network, files, room to grow.

Used in the forked child of sandbox.py, after its imports: nothing can be opened any more when this is done.
"""

from __future__ import annotations

import os
import resource
import struct

from pycoredump import libc
from pycoredump.errors import PycoredumpError
from pycoredump.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

USER = "pycoredump"  # made by systemd/pycoredump.sysusers.conf
NOBODY = 65534

# linux/sched.h
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
# linux/mount.h
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 16384, 1 << 18
MNT_DETACH = 2
# linux/prctl.h, linux/capability.h
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = (
    1,
    4,
    24,
    47,
    4,
)
CAPABILITY_VERSION_3 = 0x20080522
CAPABILITIES = 64

NAMESPACES = (
    (CLONE_NEWNS, "mounts"),
    (CLONE_NEWNET, "network"),
    (CLONE_NEWIPC, "System V IPC"),
    (CLONE_NEWUTS, "host name"),
    (CLONE_NEWCGROUP, "control groups"),
)


class Limits(Record):
    """What the process may use."""

    seconds: int  # of processor time
    memory: int  # bytes of address space
    processes: int = 0


def confine(limits: Limits) -> tuple[str, ...]:
    """Give everything up. What could not be taken away, but is refused by the system call filter, is returned.

    OSError or PycoredumpError if the process would keep privileges: then it must not go on.
    """
    privileged = os.geteuid() == 0
    user, group = account() if privileged else (os.geteuid(), os.getegid())
    missing = []
    if not privileged:
        missing += _tried("user namespace", user_namespace, user, group)
    for flag, name in NAMESPACES:
        missing += _tried(f"{name} namespace", unshare, flag)
    if "mounts namespace" not in missing:
        missing += _tried("empty root", empty_root)
    limit(limits)
    drop(user, group, privileged=privileged)
    verify(user, group)
    return tuple(missing)


def _tried(name: str, act: object, *arguments: int) -> list[str]:
    assert callable(act)
    try:
        act(*arguments)
    except OSError:
        return [name]
    return []


def account(passwd: str = "/etc/passwd") -> tuple[int, int]:
    """User and group id to become: the system user if there is one, else nobody.

    Read from the file: asking the name service might ask a network, for a user that is always local.
    """
    try:
        with open(passwd, encoding="utf-8", errors="replace") as file:
            rows = [line.split(":") for line in file if line.startswith(f"{USER}:")]
        uid, gid = (int(rows[0][2]), int(rows[0][3])) if rows else (NOBODY, NOBODY)
    except (OSError, ValueError, IndexError):
        return NOBODY, NOBODY
    return (uid, gid) if uid > 0 and gid > 0 else (NOBODY, NOBODY)


def unshare(flags: int) -> None:
    libc.call("unshare", flags)


def user_namespace(user: int, group: int) -> None:
    """Root of an own user namespace (user_namespaces(7)), only to be able to leave the others. OSError."""
    unshare(CLONE_NEWUSER)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)


def empty_root() -> None:
    """An empty file system that cannot be written to is all there is. Needs an own mount namespace. OSError."""
    libc.call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    # Over /proc, which is there on every host that has told us of the crash.
    libc.call("mount", b"tmpfs", b"/proc", b"tmpfs", flags, b"size=4k,nr_inodes=2,mode=0555")
    os.chdir("/proc")
    try:
        libc.call("pivot_root", b".", b".")
        libc.call("umount2", b".", MNT_DETACH)
    except (OSError, AttributeError):
        os.chroot(".")  # the root is the boot loader's: it cannot be left (pivot_root(2))
    os.chdir("/")
    libc.call("mount", b"none", b"/", None, 32 | MS_RDONLY | flags, None)  # 32: MS_REMOUNT


def limit(limits: Limits) -> None:
    """setrlimit(2): no files, no processes, no core; memory and time as told."""
    for name, value in (
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_CPU, limits.seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_NPROC, limits.processes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        hard = resource.getrlimit(name)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))


def drop(user: int, group: int, *, privileged: bool) -> None:
    """Become the user for good, without groups and capabilities. OSError."""
    for capability in range(CAPABILITIES):
        _tried("capability", prctl, PR_CAPBSET_DROP, capability)  # unknown to this kernel, or no CAP_SETPCAP
    _tried("ambient capabilities", prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    if privileged:
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    if any(capabilities()):
        header, none = _capability_header(), libc.Buffer(24)
        libc.call("capset", header.address, none.address)
    prctl(PR_SET_DUMPABLE, 0)  # after the change of user, which sets it again (prctl(2))


def verify(user: int, group: int) -> None:
    """PycoredumpError if anything is left: the calls above have been seen to fail without saying so."""
    if user == 0 or os.getresuid() != (user,) * 3 or os.getresgid() != (group,) * 3:
        raise PycoredumpError(f"The analysis would run as user {os.getresuid()}: not run")
    if any(capabilities()):
        raise PycoredumpError("The analysis would run with capabilities: not run")


def capabilities() -> tuple[int, ...]:
    """Effective, permitted and inheritable set of this process, each in two words (capget(2))."""
    header, data = _capability_header(), libc.Buffer(24)
    libc.call("capget", header.address, data.address)
    return tuple(data.view.cast("I"))


def _capability_header() -> libc.Buffer:
    # struct __user_cap_header_struct: version, pid (this process)
    return libc.Buffer(8, struct.pack("II", CAPABILITY_VERSION_3, 0))


def prctl(option: int, *values: int) -> None:
    """prctl(2). OSError."""
    libc.call("prctl", option, *(*values, 0, 0, 0, 0)[:4])


def fork() -> int:
    """fork(2) into an own process namespace where that can be had: the child sees no process but itself. OSError."""
    before = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            unshare(CLONE_NEWPID)
        except OSError:
            return os.fork()
        pid = -1
        try:
            pid = os.fork()
        finally:
            if pid != 0:
                libc.call("setns", before, CLONE_NEWPID)  # our own further children stay where we are
        return pid
    finally:
        os.close(before)


def close_all_but(keep: Iterable[int]) -> None:
    """Close every descriptor that is not in `keep`; 0, 1 and 2 lead nowhere then."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in range(3):
        if fd not in keep:
            os.dup2(null, fd)
    low = 3
    for fd in sorted(set(keep)):
        os.closerange(low, max(fd, low))
        low = max(low, fd + 1)
    os.closerange(low, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
