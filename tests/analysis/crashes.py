"""Programs that die, and the cores that the kernel or gdb makes of them. Needs no registration of a handler.

    crashes.py DIRECTORY [NAME...]

leaves DIRECTORY/NAME/core and DIRECTORY/NAME/exe for each program that can be built and run here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from pycoredump.record import Record

PROGRAMS = pathlib.Path(__file__).parent / "programs"
LOCK = "/run/lock/pycoredump-core-pattern.lock"
LOCK_SECONDS = 60.0
WAYS = [
    "null",
    "abort",
    "raise-in-handler",
    "fault-in-handler",
    "overflow",
    "call-null",
    "call-wild",
    "call-data",
    "callback",
    "dynamic",
    "context",
    "altstack",
    "altstack-overflow",
    "string",
]


class Case(Record):
    """One program and how it is brought to its end."""

    name: str
    argv: tuple[str, ...]  # {dir} is the case's directory
    build: tuple[str, ...] = ()  # {dir}/exe is made by it, {src} is the directory of the sources
    signal: int = 0  # sent after `wait` seconds; 0: it dies by itself
    wait: float = 0.4
    live: bool = False  # the core is taken from the living process by gcore
    environment: dict[str, str] = {}  # noqa: RUF012 - never changed


def cases() -> Iterator[Case]:
    """All programs, those first that need nothing but a compiler."""
    gcc = ("gcc", "-w", "{src}/chain.c", "-pthread", "-o", "{dir}/exe")
    flavours = {
        "O0": ("-O0",),
        "O1": ("-O1",),
        "O2": ("-O2",),
        "O3": ("-O3",),
        "Os": ("-Os",),
        "O2-frame-pointer": ("-O2", "-fno-omit-frame-pointer"),
        "O2-stripped": ("-O2", "-s"),
        "O2-static": ("-O2", "-static"),
        "O2-static-pie": ("-O2", "-static-pie"),
        "O2-cet": ("-O2", "-fcf-protection=full", "-fstack-protector-all"),
        "O2-realign": ("-O2", "-mstackrealign", "-mavx2"),
        "O2-g": ("-O2", "-g"),
        "O0-no-tables": ("-O0", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"),
        "O2-no-tables": (
            "-O2",
            "-fno-asynchronous-unwind-tables",
            "-fno-unwind-tables",
            "-fno-omit-frame-pointer",
        ),
        "O2-debug-frame": ("-O2", "-g", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"),
    }
    for flavour, flags in flavours.items():
        yield Case(name=f"c-{flavour}-null", argv=("{dir}/exe", "null"), build=gcc + flags)
    for way in WAYS:
        yield Case(name=f"c-O2-{way}", argv=("{dir}/exe", way), build=(*gcc, "-O2"))
        yield Case(name=f"c-O1-static-{way}", argv=("{dir}/exe", way), build=(*gcc, "-O1", "-static"))
    clang = ("clang", "-w", "{src}/chain.c", "-pthread", "-o", "{dir}/exe")
    for way in ("null", "dynamic", "raise-in-handler"):
        yield Case(name=f"clang-O2-{way}", argv=("{dir}/exe", way), build=(*clang, "-O2"))
        musl = ("musl-gcc", "-w", "{src}/chain.c", "-pthread", "-O2", "-DNO_CONTEXT", "-o", "{dir}/exe")
        yield Case(name=f"musl-{way}", argv=("{dir}/exe", way), build=musl)
        yield Case(name=f"musl-static-{way}", argv=("{dir}/exe", way), build=(*musl, "-static"))
    cpp = ("g++", "-w", "{src}/throw.cpp", "-pthread", "-o", "{dir}/exe")
    for level in ("-O0", "-O2", "-O3"):
        yield Case(name=f"cpp{level}", argv=("{dir}/exe",), build=(*cpp, level))
    yield Case(name="cpp-O2-g-static", argv=("{dir}/exe",), build=(*cpp, "-O2", "-g", "-static"))
    yield Case(name="clang++-O2", argv=("{dir}/exe",), build=("clang++", *cpp[1:], "-O2"))
    rust = ("rustc", "{src}/panic.rs", "-Cpanic=abort", "-o", "{dir}/exe")
    yield Case(name="rust-debug", argv=("{dir}/exe",), build=(*rust, "-g"))
    yield Case(name="rust-release", argv=("{dir}/exe",), build=(*rust, "-O"))
    yield Case(name="rust-v0", argv=("{dir}/exe",), build=(*rust, "-O", "-Csymbol-mangling-version=v0"))
    go = {"GOTRACEBACK": "crash", "HOME": "/tmp", "GOCACHE": "/tmp/go-cache", "GO111MODULE": "off"}
    yield Case(
        name="go",
        argv=("{dir}/exe",),
        build=("go", "build", "-o", "{dir}/exe", "{src}/crash.go"),
        environment=go,
    )
    yield from _installed()


def _installed() -> Iterator[Case]:
    java = ("java", "-Xmx64m", "-XX:-CreateCoredumpOnCrash", "{src}/Busy.java")
    script = "import threading, time, json\nfor _ in range(3): threading.Thread(target=time.sleep, args=(99,)).start()\n"
    sleeping = "setTimeout(() => {}, 1e6); [3, 1, 2].sort((a, b) => { for (;;); })"
    yield Case(name="python-threads", argv=("/usr/bin/python3", "-c", script), signal=signal.SIGABRT)
    python = "import os, re, json\njson.loads('[1]', object_hook=None, parse_int=lambda text: os.abort())"
    yield Case(name="python-abort", argv=("/usr/bin/python3", "-c", python))
    yield Case(name="node-jit", argv=("node", "-e", sleeping), signal=signal.SIGABRT, wait=1.0)
    yield Case(
        name="node-idle", argv=("node", "-e", "setTimeout(() => {}, 1e6)"), signal=signal.SIGABRT, wait=1.0
    )
    yield Case(name="java", argv=java, signal=signal.SIGABRT, wait=4.0)
    idle = {
        "sleep": "sleep 1000",
        "cat": "cat",
        "bash": "bash --norc -c 'read x; echo'",
        "dash": "dash -c 'read x; echo'",
        "perl": "perl -e 'sub f { sleep 1000 } map { f } 1'",
        "ruby": "ruby -e '[1].each { sleep 1000 }'",
        "php": "php -r 'array_map(function ($x) { sleep(1000); }, [1]);'",
        "lua": "lua5.4 -e 'io.read()'",
        "tail": "tail -f /etc/passwd",
        "sort": "sort",
        "less": "less -F",
        "ssh-keygen": "ssh-keygen -t rsa -b 16384 -N '' -f {dir}/key",
        "nginx": "/usr/sbin/nginx -g 'daemon off; master_process off; pid {dir}/pid; error_log stderr;' -c {src}/nginx.conf",
        "redis": "redis-server --port 40063 --dir {dir}",
        "memcached": "memcached -u root -p 40211 -U 0",
        "haproxy": "haproxy -db -f {src}/haproxy.cfg",
        "zsh": "zsh -f -c 'read x; echo'",
        "guile": "guile -q -c '(sleep 1000)'",
        "tclsh": "tclsh {src}/wait.tcl",
        "vim": "vim.tiny -es",
        "busybox": "busybox sleep 1000",
        "tmux": "tmux -L pycoredump -C -f /dev/null new-session -d ';' wait-for x",
        "sqlite3": "sqlite3 -interactive",
        "gdb": "gdb -nx -q",
        "git": "git hash-object --stdin",
        "openssl": "openssl speed -seconds 100 sha256",
        "grep": "grep x",
        "awk": "awk '{ print }'",
        "sed": "sed p",
        "make": "make -f {src}/Makefile.wait",
        "journald": "/lib/systemd/systemd-journald",
        "dbus": "dbus-daemon --session --nofork",
        "xz": "xz -T2 -9 -c /dev/urandom",
        "find": "find /proc /sys /usr -name x -newer /etc/passwd",
    }
    for name, line in idle.items():
        yield Case(name=name, argv=("sh", "-c", f"exec {line}"), signal=signal.SIGABRT)
    key = "rm -f {dir}/key*; ssh-keygen -q -t ed25519 -N '' -f {dir}/key && mkdir -p /run/sshd"
    sshd = ("/usr/sbin/sshd", "-D", "-p", "40022", "-h", "{dir}/key", "-o", "PidFile=none")
    # It makes itself undumpable: the kernel would write nothing.
    yield Case(name="sshd", argv=sshd, build=("sh", "-c", key), live=True)
    yield Case(name="gcore-bash", argv=("bash", "--norc", "-c", "read x; echo"), live=True)
    yield Case(name="gcore-python", argv=("/usr/bin/python3", "-c", script), live=True)


@contextlib.contextmanager
def plain_core_files() -> Iterator[None]:
    """While kernel.core_pattern is `core`, nobody else changes it. RuntimeError if it is something else."""
    with open(LOCK, "a") as lock:
        _wait_for(lock.fileno())
        pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()
        if pattern != "core":
            raise RuntimeError(f"kernel.core_pattern is {pattern!r}; plain core files need 'core'")
        yield


def _wait_for(lock: int) -> None:
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise RuntimeError(f"{LOCK} is held by somebody else") from None
            time.sleep(0.1)
        else:
            return


def make(case: Case, directory: pathlib.Path) -> str:
    """Build and run the case in `directory`; "" if there is a core now, else why not."""
    problem = _build(case, directory)
    if problem:
        return problem

    with plain_core_files():
        return _run(case, _fill(case.argv, directory), directory, os.environ | case.environment)


def make_by_gdb(case: Case, directory: pathlib.Path) -> str:
    """As make(), but the core is gdb's: needs nothing of the machine's settings. Stops at the first fatal signal."""
    if shutil.which("gdb") is None:
        return "gdb is not installed"
    problem = _build(case, directory)
    if problem:
        return problem

    argv = _fill(case.argv, directory)
    if case.signal or case.live:
        return _run(case.replace(signal=0, live=True), argv, directory, os.environ | case.environment)
    return run_in_gdb(argv, directory)


def run_in_gdb(argv: list[str], directory: pathlib.Path) -> str:
    """Let it run until its first fatal signal, and take its core there; why there is none, "" if there is."""
    script = [
        "set confirm off",
        "handle SIGUSR1 nostop noprint",
        f"set args {shlex.join(argv[1:])} </dev/null >/dev/null 2>&1",
        "run",
        f"gcore {directory}/core",
        "kill",
    ]
    command = ["gdb", "-nx", "-batch", *(word for line in script for word in ("-ex", line)), argv[0]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=directory)
    return "" if (directory / "core").exists() else f"gdb left no core: {done.stderr.strip()[-200:]}"


def _fill(words: tuple[str, ...], directory: pathlib.Path) -> list[str]:
    names = {"{dir}": os.fspath(directory), "{src}": os.fspath(PROGRAMS)}
    filled = []
    for word in words:
        for key, value in names.items():
            word = word.replace(key, value)
        filled.append(word)
    return filled


def _build(case: Case, directory: pathlib.Path) -> str:
    """ "" if the program is there now, else why not."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "core").unlink(missing_ok=True)
    if not case.build:
        return ""
    if shutil.which(case.build[0]) is None:
        return f"{case.build[0]} is not installed"

    built = subprocess.run(
        _fill(case.build, directory),
        env=os.environ | case.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return f"does not build: {built.stderr.strip()[:200]}" if built.returncode else ""


def _run(case: Case, argv: list[str], directory: pathlib.Path, environment: dict[str, str]) -> str:
    if shutil.which(argv[0]) is None:
        return f"{argv[0]} is not installed"

    process = subprocess.Popen(
        argv,
        cwd=directory,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (-1, -1)),
    )
    try:
        if case.signal or case.live:
            time.sleep(case.wait)
            _keep_executable(process.pid, directory)
        if case.live:
            subprocess.run(
                ["gcore", "-o", directory / "core", str(process.pid)], capture_output=True, check=False
            )
            for made in directory.glob("core.*"):
                made.rename(directory / "core")
        elif case.signal:
            process.send_signal(case.signal)
        if not case.live:
            process.wait(20)
    except subprocess.TimeoutExpired:
        return "did not die"
    finally:
        process.kill()
        process.communicate()
    return "" if (directory / "core").exists() else f"ended with {process.returncode} and left no core"


def _keep_executable(pid: int, directory: pathlib.Path) -> None:
    link = directory / "exe"
    if not link.exists():
        with contextlib.suppress(OSError):
            link.symlink_to(os.readlink(f"/proc/{pid}/exe"))


def main() -> int:
    root = pathlib.Path(sys.argv[1]).resolve()
    wanted = sys.argv[2:]
    for case in cases():
        if wanted and case.name not in wanted:
            continue
        problem = make(case, root / case.name)
        if not problem and not (root / case.name / "exe").exists():
            found = shutil.which(case.argv[0])
            if found:
                (root / case.name / "exe").symlink_to(os.path.realpath(found))
        print(f"{case.name}: {problem or 'core'}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
