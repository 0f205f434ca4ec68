"""What short-lived processes cost, as the kernel counts it when they end. They themselves spend nothing on it.

taskstats (Documentation/accounting/taskstats.rst) tells CPU time and peak memory of each ended thread, the
process event connector (linux/cn_proc.h) who started whom. Both need root.
"""

from __future__ import annotations

import dataclasses
import os
import select
import socket
import struct
import time
from collections.abc import Iterator

NETLINK_CONNECTOR, NETLINK_GENERIC = 11, 16
NLMSG_ERROR, NLMSG_DONE = 2, 3
SO_RCVBUFFORCE = 33
RECEIVE_BUFFER = 32 << 20  # bytes; a storm of crashes comes faster than we look

# linux/genetlink.h, linux/taskstats.h
GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 16, 3, 1, 2
TASKSTATS_CMD_GET, ATTR_PID, ATTR_REGISTER_CPUMASK = 1, 1, 3
TYPE_PID, TYPE_STATS, TYPE_AGGR_PID = 1, 3, 4
# Places in struct taskstats, from ac_comm on: fields have been put in before it (Linux v6.14).
RUN_TIME, UTIME, STIME, HIWATER_RSS = -8, 72, 80, 120

# linux/connector.h, linux/cn_proc.h
CN_IDX_PROC, CN_VAL_PROC, PROC_CN_MCAST_LISTEN = 1, 1, 1
EVENT_FORK, EVENT_EXEC = 1, 2
KTHREADD = 2  # the parent of every program that the kernel starts (kernel/umh.c)


class NoMeter(Exception):
    """The kernel does not count for us, or lost counts; says why."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one process and its descendants spent until they ended."""

    pid: int
    cpu: float  # seconds, of all threads of all processes
    peak: int  # bytes of memory (RSS) of the largest process
    peaks: int  # the same, summed over the processes: no more can have been in use at once
    processes: int


@dataclasses.dataclass(frozen=True)
class Task:
    """One ended thread."""

    cpu: float
    peak: int  # bytes, of its process so far


class Meter:
    """Counts from start() on. NoMeter if the kernel cannot."""

    def __init__(self) -> None:
        try:
            self._stats = open_netlink(NETLINK_GENERIC, 0)
            self._events = open_netlink(NETLINK_CONNECTOR, CN_IDX_PROC)
            self._family = family(self._stats, b"TASKSTATS")
            self._comm = self._place_of_comm()
            cpus = b"0-%d\0" % ((os.cpu_count() or 1) - 1)
            self._stats.send(
                message(self._family, TASKSTATS_CMD_GET, attribute(ATTR_REGISTER_CPUMASK, cpus))
            )
            self._events.send(listen())
        except (OSError, KeyError, ValueError) as e:
            raise NoMeter(f"the kernel has no taskstats or process events for us: {e}") from None
        self.start()

    def close(self) -> None:
        self._stats.close()
        self._events.close()

    def start(self) -> None:
        """Forget everything so far."""
        self._parents: dict[int, int] = {}  # process -> who started it
        self._processes: dict[int, int] = {}  # thread -> process
        self._programs: set[int] = set()  # processes that have started a program
        self._ended: dict[int, Task] = {}  # by thread
        self._drain()
        for known in (self._parents, self._processes, self._programs, self._ended):
            known.clear()

    def costs(self, parent: int, *, least: int = 1, seconds: float = 60.0) -> list[Cost]:
        """What the programs started by `parent` cost, when at least so many have begun and all have ended."""
        end = time.monotonic() + seconds
        while True:
            self._drain()
            roots = [pid for pid, by in self._parents.items() if by == parent and pid in self._programs]
            if len(roots) >= least and all(
                self._has_ended(pid) for root in roots for pid in self._tree(root)
            ):
                return [self._cost(root) for root in roots]
            if time.monotonic() > end:
                raise NoMeter(
                    f"{len(roots)} programs of process {parent} after {seconds:.0f} s, some not ended"
                )
            select.select([self._stats, self._events], [], [], 0.05)

    def _cost(self, root: int) -> Cost:
        members = list(self._tree(root))
        tasks = {pid: [self._ended[thread] for thread in self._threads(pid)] for pid in members}
        peaks = [max(task.peak for task in owned) for owned in tasks.values()]
        cpu = sum(task.cpu for owned in tasks.values() for task in owned)
        return Cost(pid=root, cpu=cpu, peak=max(peaks), peaks=sum(peaks), processes=len(members))

    def _tree(self, root: int) -> Iterator[int]:
        yield root
        for pid, by in list(self._parents.items()):
            if by == root:
                yield from self._tree(pid)

    def _threads(self, pid: int) -> list[int]:
        return [thread for thread, process in self._processes.items() if process == pid]

    def _has_ended(self, pid: int) -> bool:
        return all(thread in self._ended for thread in self._threads(pid))

    def _drain(self) -> None:
        for data in packets(self._events):
            self._event(data)
        for data in packets(self._stats):
            if struct.unpack_from("H", data, 4)[0] == NLMSG_ERROR:
                raise NoMeter(f"taskstats refuses: {os.strerror(-struct.unpack_from('i', data, 16)[0])}")
            self._task(data)

    def _event(self, data: bytes) -> None:
        # nlmsghdr, cn_msg, then struct proc_event: what, cpu, time stamp, numbers
        (what,) = struct.unpack_from("I", data, 36)
        if what == EVENT_FORK:
            _, parent, thread, process = struct.unpack_from("IIII", data, 52)
            self._processes[thread] = process
            if thread == process:
                self._parents[process] = parent
        elif what == EVENT_EXEC:
            self._programs.add(struct.unpack_from("II", data, 52)[1])

    def _task(self, data: bytes) -> None:
        for kind, value in attributes(data[20:]):
            if kind == TYPE_AGGR_PID:
                inner = dict(attributes(value))
                self._ended[struct.unpack("I", inner[TYPE_PID])[0]] = self._read(inner[TYPE_STATS])

    def _read(self, stats: bytes) -> Task:
        run, user, system, peak = (
            struct.unpack_from("Q", stats, self._comm + place)[0]
            for place in (RUN_TIME, UTIME, STIME, HIWATER_RSS)
        )
        # The scheduler's clock, in ns; the others count ticks.
        return Task(cpu=run / 1e9 if run else (user + system) / 1e6, peak=peak << 10)

    def _place_of_comm(self) -> int:
        with open("/proc/self/comm", "rb") as file:
            comm = file.read().rstrip(b"\n")
        self._stats.send(
            message(self._family, TASKSTATS_CMD_GET, attribute(ATTR_PID, struct.pack("I", os.getpid())))
        )
        answer = dict(attributes(self._stats.recv(1 << 16)[20:]))
        return dict(attributes(answer[TYPE_AGGR_PID]))[TYPE_STATS].index(comm + b"\0")


def open_netlink(protocol: int, groups: int) -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    sock.bind((0, groups))
    return sock


def packets(sock: socket.socket) -> Iterator[bytes]:
    """What has come so far. NoMeter if something was lost."""
    while True:
        try:
            yield sock.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as e:
            raise NoMeter(f"counts were lost: {e.strerror}") from None


def family(sock: socket.socket, name: bytes) -> int:
    sock.send(message(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, attribute(CTRL_ATTR_FAMILY_NAME, name + b"\0")))
    number: int = struct.unpack("H", dict(attributes(sock.recv(1 << 16)[20:]))[CTRL_ATTR_FAMILY_ID])[0]
    return number


def message(kind: int, command: int, body: bytes) -> bytes:
    payload = struct.pack("BBH", command, 1, 0) + body
    return struct.pack("IHHII", 16 + len(payload), kind, 1, 0, 0) + payload


def listen() -> bytes:
    body = struct.pack("IIIIHHI", CN_IDX_PROC, CN_VAL_PROC, 0, 0, 4, 0, PROC_CN_MCAST_LISTEN)
    return struct.pack("IHHII", 16 + len(body), NLMSG_DONE, 0, 0, os.getpid()) + body


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("HH", data, at)
        if length < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += length + 3 & ~3
