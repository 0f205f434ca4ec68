"""The way of a crash without the kernel: a core on standard input, in an interpreter of its own, with a journal of its own."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import struct
import subprocess
from collections.abc import Iterator

import elfcore
import pytest

from pycoredump.reader import Archive

ROOT = pathlib.Path(__file__).parents[1]
GONE = str(2**22 - 1)  # no process has this number
UNLIMITED = str(2**64 - 1)

# journal.SOCKET and /dev/kmsg are those of the machine: the test has its own.
RUN = """
import sys
sys.path.insert(0, {root!r})
from pycoredump import guard, handler, journal, state
{change}
for function in (journal.post, journal.send_natively, journal.send_file):
    function.__kwdefaults__["path"] = {socket!r}
journal.listens.__defaults__ = ({socket!r},)
journal.SOCKET = {socket!r}
journal.kernel_log.__kwdefaults__["path"] = {kmsg!r}
sys.modules["systemd"] = None
state.DIRECTORY = {run!r}
sys.exit(handler.main(["handler", *{arguments!r}], etc={etc!r}, lib={etc!r}))
"""


class Bench:
    """A handler with a directory, a journal and a kernel log of its own."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(os.fspath(directory / "socket"))
        self.sock.setblocking(False)
        (directory / "kmsg").touch()
        self.configure("KeepFree=0", "MaxUse=0", "Analysis=no")

    def configure(self, *lines: str) -> None:
        text = "\n".join(["[Coredump]", f"Directory={self.directory}/core", *lines, ""])
        (self.directory / "pycoredump.conf").write_text(text)

    def run(self, arguments: list[str], core: bytes, *, change: str = "") -> int:
        code = RUN.format(
            root=os.fspath(ROOT),
            change=change,
            socket=os.fspath(self.directory / "socket"),
            kmsg=os.fspath(self.directory / "kmsg"),
            run=os.fspath(self.directory / "run"),
            etc=os.fspath(self.directory),
            arguments=arguments,
        )
        return subprocess.run(["/usr/bin/python3", "-ISc", code], input=core, check=False).returncode

    def told(self) -> Iterator[dict[str, bytes]]:
        """Everything that came into the journal so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                data, descriptors, _, _ = socket.recv_fds(self.sock, 1 << 20, 1)
                for fd in descriptors:
                    data = os.pread(fd, os.fstat(fd).st_size, 0)
                    os.close(fd)
                yield parsed(data)

    def entry(self) -> dict[str, bytes]:
        (found,) = [fields for fields in self.told() if "MESSAGE_ID" in fields]
        return found

    def kmsg(self) -> str:
        return (self.directory / "kmsg").read_text()

    def stored(self) -> list[pathlib.Path]:
        return sorted(self.directory.glob("core/*"))


def parsed(data: bytes) -> dict[str, bytes]:
    fields = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack_from("<Q", data)
            value, data = data[8 : 8 + size], data[9 + size :]
        fields[name.decode()] = value
    return fields


@pytest.fixture
def bench(tmp_path: pathlib.Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.sock.close()


CORE = elfcore.linux_process().core()
CARD = [GONE, "11", "1700000000", "prog"]
WHOLE = [*CARD, "0", "0", UNLIMITED, "1", "", GONE, "web"]


@pytest.mark.parametrize("arguments", [CARD, WHOLE, [*CARD, *[""] * 7]], ids=["first-four", "all", "empty"])
def test_a_crash_is_stored_and_told(arguments: list[str], bench: Bench) -> None:
    assert bench.run(arguments, CORE) == 0
    (stored,) = bench.stored()
    assert stored.name == f"core-prog-{GONE}-11-1700000000.zst"
    with stored.open("rb") as file:
        archive = Archive(file.fileno())
        assert archive.read(0, 1 << 30) == CORE
        assert archive.fields["COREDUMP_PID"] == GONE
    entry = bench.entry()
    assert entry["COREDUMP_FILENAME"] == os.fsencode(stored)
    assert entry["COREDUMP_THREADS"] == b"2"
    assert entry["COREDUMP_FAULT_ADDRESS"] == b"0x422010"


def test_that_it_crashed_is_told_before_anything_else(bench: Bench) -> None:
    bench.run(WHOLE, CORE)
    first = next(bench.told())
    assert first["MESSAGE"] == f"Process {GONE} (prog) of user 0 crashed with SIGSEGV, processing".encode()


@pytest.mark.parametrize(
    "core",
    [b"", b"no core", b"\x7fELF", CORE[:100], CORE[: len(CORE) // 2], CORE + b"more"],
    ids=["nothing", "text", "magic", "header", "half", "more"],
)
def test_whatever_comes_there_is_an_entry_and_no_half_file(core: bytes, bench: Bench) -> None:
    assert bench.run(WHOLE, core) == 0
    entry = bench.entry()
    assert entry["COREDUMP_PID"] == GONE.encode()
    for stored in bench.stored():
        done = subprocess.run(["zstd", "-dcq", stored], capture_output=True, check=True)
        assert len(done.stdout) <= len(core) + 4096  # a note says what is missing
    if core:
        assert len(bench.stored()) == 1


@pytest.mark.parametrize("arguments", [[], ["1"], ["x", "11", "1", "prog"], ["1", "11", "", "prog"]])
def test_arguments_that_say_nothing_are_a_line_in_the_log(arguments: list[str], bench: Bench) -> None:
    assert bench.run(arguments, CORE) == 1
    (said,) = bench.told()
    assert said["MESSAGE"].startswith(b"A crash was not handled: ")


@pytest.mark.parametrize(
    "step", ["secure", "configure", "gather", "announce", "keep_core", "release", "explain", "tidy"]
)
@pytest.mark.parametrize(
    "error", ["OSError(5, 'Input/output error')", "ValueError('a bug')", "MemoryError()"]
)
def test_whatever_fails_the_crash_is_told(step: str, error: str, bench: Bench) -> None:
    """A step that raises what nobody thought of."""
    change = f"def fail(*_, **__): raise {error}\nhandler.{step} = fail"
    status = bench.run(WHOLE, CORE, change=change)
    assert status == 0
    told = list(bench.told())
    assert [fields for fields in told if fields.get("COREDUMP_PID") == GONE.encode()]


def test_without_a_journal_the_kernel_log_has_a_line_and_the_archive_the_rest(bench: Bench) -> None:
    os.unlink(bench.directory / "socket")
    assert bench.run(WHOLE, CORE) == 0
    (stored,) = bench.stored()
    last = bench.kmsg().splitlines()[-1]
    assert f"Process {GONE} (prog) of user 0 dumped core. Core: {stored}. (Not in the journal: " in last
    with stored.open("rb") as file:
        assert Archive(file.fileno()).fields["COREDUMP_SIGNAL_NAME"] == "SIGSEGV"


def test_a_limit_of_the_process_below_a_page_leaves_the_entry(bench: Bench) -> None:
    assert bench.run([*CARD, "0", "0", "0", "1"], CORE) == 0
    assert bench.stored() == []
    assert bench.entry()["COREDUMP_REASON"] == b"RLIMIT_CORE of the process is 0 bytes"


def test_a_core_for_the_journal_comes_in_the_entry(bench: Bench) -> None:
    bench.configure("Storage=journal", "Analysis=no")
    assert bench.run(WHOLE, CORE) == 0
    assert bench.entry()["COREDUMP"] == CORE
    assert bench.stored() == []


def test_a_core_that_journald_does_not_take_costs_no_entry(bench: Bench) -> None:
    bench.configure("Storage=journal", "Analysis=no")
    change = (
        "def refuse(*_, **__): raise OSError(90, 'Message too long')\n"
        "refuse.__kwdefaults__ = {}\njournal.send_file = refuse"
    )
    assert bench.run(WHOLE, CORE, change=change) == 0
    entry = bench.entry()
    assert entry["COREDUMP_REASON"] == b"journald does not take it: Message too long"
    assert "COREDUMP" not in entry


def test_what_is_too_much_is_removed_and_the_new_core_stays(bench: Bench) -> None:
    bench.configure("KeepPerProgram=1", "KeepFree=0", "Analysis=no")
    for second in ("1700000000", "1700000001", "1700000002"):
        assert bench.run([GONE, "11", second, *WHOLE[3:]], CORE) == 0
    (stored,) = bench.stored()
    assert stored.name.endswith("-1700000002.zst")
