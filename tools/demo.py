"""make demo: a real crash on this machine, caught by the real kernel and handler; afterwards all is as it was."""

from __future__ import annotations

import contextlib
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from types import FrameType

from pycoredump import crash
from pycoredump.configure import sysctl
from pycoredump.configure.kernel import Kernel
from pycoredump.errors import PycoredumpError
from tools import layout, lock, packages, registration

PLACE = "/var/lib"  # not /tmp or /run: those may be mounted noexec
PROGRAM = pathlib.Path(__file__).with_name("demo.c")
NAME = "demo-server"
# Where there is no compiler: the same fault from Python, by its own module for such tests.
WITHOUT_COMPILER = """\
import _thread, faulthandler, time
for i in range(2):
    _thread.start_new_thread(time.sleep, (60,))
time.sleep(0.1)
faulthandler._sigsegv()
"""
ENVIRONMENT = {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin", "API_TOKEN": "shall not be shown"}
WAIT = 15  # seconds for the archive; on an idle machine it is there at once


def main() -> int:
    """0 if the crash was caught."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        if os.geteuid() != 0:
            return without_root()
        for sentence in packages.bring((*packages.RUN, *packages.BUILD)):
            print(sentence)
        with lock.held(), directory() as place, registered(place):
            return show(place, crashed(place))
    except PycoredumpError as e:
        print(f"make demo: {e}" + (f" ({e.hint})" if e.hint else ""), file=sys.stderr)
    except KeyboardInterrupt:
        print("make demo: interrupted", file=sys.stderr)
    except OSError as e:
        print(f"make demo: {e.filename or 'the system'}: {e.strerror}", file=sys.stderr)
    return 1


def without_root() -> int:
    """What can be shown: that nothing is changed, and what would be."""
    print("Only root may tell the kernel where crashes go, so nothing is crashed here: sudo make demo")
    print("It would set, and set back at the end:")
    for key, value in settings(crash.HANDLER).items():
        print(f"  {key} = {value}    (now: {Kernel().read(key)})")
    print("These packages are missing:" if missing() else "All packages it needs are here.")
    for name in missing():
        print(f"  {name}")
    return 0


def missing() -> list[str]:
    by = packages.manager()
    return packages.missing((*packages.RUN, *packages.BUILD), by) if by else []


def settings(handler: str) -> dict[str, str]:
    """The shipped settings, for a handler in another place."""
    shipped = registration.wanted(layout.SOURCE / "sysctl.d" / sysctl.NAME)
    return shipped | {sysctl.CORE_PATTERN: crash.pattern(handler)}


@contextlib.contextmanager
def directory() -> Iterator[pathlib.Path]:
    """A copy of the handler that root owns, with a configuration and a directory of cores of its own."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="pycoredump-demo-", dir=PLACE))
    try:
        place.chmod(0o755)
        shutil.copytree(
            layout.SOURCE / "pycoredump",
            place / "pycoredump",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        (place / "etc").mkdir()
        (place / "etc/pycoredump.conf").write_text(f"[Coredump]\nDirectory={place}/core\n")
        handler = place / "handler"
        main_call = f"main(sys.argv, etc='{place}/etc', lib='{place}/none')"
        handler.write_text(layout.handler(os.fspath(place)).replace("main(sys.argv)", main_call))
        handler.chmod(0o755)
        yield place
    finally:
        shutil.rmtree(place)


@contextlib.contextmanager
def registered(place: pathlib.Path) -> Iterator[None]:
    """The kernel sends crashes to the copy; at the end it does what it did before."""
    kernel = Kernel()
    with lock.restored(kernel) as before:
        print(f"This machine's core_pattern is {before[sysctl.CORE_PATTERN]!r}; for the demo it becomes:")
        for change in registration.register(kernel, settings(f"{place}/handler")):
            print(f"  {change}")
        yield
    print(
        f"\ncore_pattern is {kernel.read(sysctl.CORE_PATTERN)!r} again, and the copy is gone.\n`make install` is what catches crashes from now on."
    )


def crashed(place: pathlib.Path) -> int:
    """Let a program die. Its PID."""
    command = built(place) or [sys.executable, "-c", WITHOUT_COMPILER]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, cwd="/", env=ENVIRONMENT, preexec_fn=_dump_all
    ) as process:
        status = process.wait()
    print(f"\nA server with several threads ran as process {process.pid} and {_ended(status)}.")
    if status >= 0:
        raise PycoredumpError("The program did not crash")
    return process.pid


def _dump_all() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _ended(status: int) -> str:
    return f"died of {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def built(place: pathlib.Path) -> list[str]:
    """The compiled program; [] if nothing here compiles."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        return []
    program = place / NAME
    command = [
        compiler,
        "-g",
        "-O1",
        "-fno-inline",
        "-pthread",
        "-o",
        os.fspath(program),
        os.fspath(PROGRAM),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [os.fspath(program)] if done.returncode == 0 else []


def show(place: pathlib.Path, pid: int) -> int:
    """What the tool says of it."""
    archive = _archive(place, pid)
    if archive is None:
        raise PycoredumpError(f"No core of process {pid} appeared", hint="dmesg may say why")
    for verb in ("list", "info"):
        print(f"\n$ pycoredumpctl {verb}", flush=True)
        command = [sys.executable, "-B", "-m", "pycoredump.cli.main", verb, "--no-pager", os.fspath(archive)]
        done = subprocess.run(command, cwd=layout.SOURCE, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            return 1
    return 0


def _archive(place: pathlib.Path, pid: int) -> pathlib.Path | None:
    """The whole archive: the analysis appends to it after the process was released."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        found = next((place / "core").glob(f"core-*-{pid}-*"), None) if (place / "core").is_dir() else None
        if found is not None and not _handlers(place):
            return found
        time.sleep(0.1)
    return found


def _handlers(place: pathlib.Path) -> list[int]:
    """Handlers that are still at work."""
    running = []
    for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if os.fsencode(place / "handler") in entry.read_bytes().split(b"\0"):
                running.append(int(entry.parent.name))
    return running


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt  # so that everything is put back


if __name__ == "__main__":
    sys.exit(main())
