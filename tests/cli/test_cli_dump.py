"""dump and debug: the bytes of a core, whole or in part, and into the debugger."""

from __future__ import annotations

import contextlib
import os
import pathlib
import pty
import shutil
import signal
import subprocess
import sys
import time

import pytest
from cli_system import PROGRAM, SP, STACK, System, clean_environment, contents, core, fields

T = 1_795_400_000
ZEROS = 64 << 20


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    made = System(tmp_path_factory.mktemp("dump") / "root")
    made.archive(fields(1, time=T + 1))
    made.archive(fields(2, time=T + 2), plain=True)
    made.archive(fields(3, time=T + 3), stored=core(zeros=ZEROS))
    made.archive(fields(4, time=T - 20), stored=core(32 << 8))
    made.archive(fields(5, time=T - 10, exe="/usr/bin/true", modules=f"{'0' * 40} /usr/bin/true"))
    exe = made.root / "usr/bin/prog"
    exe.parent.mkdir(parents=True)
    exe.write_text("")
    shutil.copy("/usr/bin/true", exe.parent)
    return made


@pytest.mark.parametrize("pid", [1, 2])
def test_a_core_comes_out_byte_for_byte(system: System, pid: int, tmp_path: pathlib.Path) -> None:
    assert system.run("dump", str(pid)).stdout == core()
    target = tmp_path / "core"
    assert system.run("dump", str(pid), "-o", os.fspath(target)).returncode == 0
    assert target.read_bytes() == core()
    assert target.stat().st_mode & 0o777 == 0o600


def test_zeros_become_holes_in_a_file_and_bytes_in_a_pipe(system: System, tmp_path: pathlib.Path) -> None:
    target = tmp_path / "core"
    system.run("dump", "3", "-o", os.fspath(target))
    assert target.stat().st_size == len(core()) + ZEROS
    assert target.stat().st_blocks * 512 < 1 << 20
    with open(tmp_path / "redirected", "wb") as file:
        subprocess.run(
            [sys.executable, "-c", PROGRAM, "--root", system.root, "dump", "3"], stdout=file, check=True,
            stderr=subprocess.DEVNULL, env=clean_environment(),
        )  # fmt: skip
    assert (tmp_path / "redirected").stat().st_blocks * 512 < 1 << 20
    assert (tmp_path / "redirected").read_bytes() == target.read_bytes()
    assert len(system.run("dump", "3").stdout) == len(core()) + ZEROS


def test_an_appended_core_keeps_what_was_there(system: System, tmp_path: pathlib.Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"before")
    with open(target, "ab") as file:
        subprocess.run(
            [sys.executable, "-c", PROGRAM, "--root", system.root, "dump", "3"], stdout=file, check=True,
            stderr=subprocess.DEVNULL, env=clean_environment(),
        )  # fmt: skip
    assert target.read_bytes()[:10] == b"before\x7fELF"
    assert target.stat().st_size == 6 + len(core()) + ZEROS


def test_a_core_is_not_written_to_a_terminal(system: System) -> None:
    control, side = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--root", system.root, "dump", "1"], stdout=side, stderr=subprocess.PIPE,
        check=False, env=clean_environment(),
    )  # fmt: skip
    os.close(side)
    os.close(control)
    assert done.returncode == 1
    assert b"Refusing to dump a core to a terminal" in done.stderr


@pytest.mark.parametrize("pid", [1, 2])
def test_a_range_is_the_memory_at_these_addresses(system: System, pid: int) -> None:
    memory = contents(8 * 4096)
    assert system.run("dump", str(pid), "--range=0x10800-0x12004").stdout == memory[0x800:0x2004]
    assert system.run("dump", str(pid), "--range", "0x10000+16").stdout == memory[:16]


@pytest.mark.parametrize("pid", [1, 2])
def test_a_stack_begins_below_its_pointer_and_ends_with_its_mapping(system: System, pid: int) -> None:
    stack = contents(0x4000, seed=7)
    assert system.run("dump", str(pid), "--thread", "4711").stdout == stack[SP - STACK - 128 :]
    assert system.run("dump", str(pid), "--thread", "4712").stdout == stack[SP - STACK + 0x1000 - 128 :]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--range=0x10000-0x90000",), b"The memory at 0x18000 is not in the core"),
        (("--range=0x20-0x10",), b"is empty"),
        (("--range=nonsense",), b"is no range"),
        (("--thread=1",), b"There are 4711, 4712."),
    ],
)
def test_a_part_that_is_not_there_is_told_before_the_first_byte(
    system: System, arguments: tuple[str, ...], message: bytes
) -> None:
    done = system.run("dump", "1", *arguments)
    assert (done.returncode, done.stdout) == (1, b"")
    assert message in done.stderr


def test_a_smaller_core_has_the_stacks(system: System, tmp_path: pathlib.Path) -> None:
    small = system.run("dump", "4", "--budget=4K").stdout
    assert small[:4] == b"\x7fELF"
    path = tmp_path / "small"
    path.write_bytes(small)
    stack = contents(0x4000, seed=7)
    thread = system.run("dump", os.fspath(path), "--thread", "4711", root=False).stdout
    assert thread == stack[SP - STACK - 128 :]
    lost = system.run("dump", os.fspath(path), "--range=0x10000+700000", root=False)
    assert b"is not in the core" in lost.stderr


def test_a_smaller_core_under_the_name_of_an_archive_is_one(system: System, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "small.zst"
    assert system.run("dump", "4", "-q", "--budget=16K", f"--output={path}").returncode == 0
    assert path.stat().st_size <= 16 << 10
    told = system.run("info", os.fspath(path)).stdout.decode()
    assert system.run("info", "4").stdout.decode().splitlines()[0] in told
    assert system.run("dump", os.fspath(path)).stdout == system.run("dump", "4", "--budget=16K").stdout


def test_parts_exclude_each_other(system: System) -> None:
    done = system.run("dump", "1", "--budget=1M", "--thread=4711")
    assert b"--range, --thread and --budget exclude each other" in done.stderr


def test_a_file_that_cannot_be_written_whole_is_removed(system: System, tmp_path: pathlib.Path) -> None:
    target = tmp_path / "core"
    command = f'ulimit -f 16; exec {sys.executable} -c "$P" --root {system.root} dump 1 -q -o {target}'
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, check=False, env=clean_environment(P=PROGRAM)
    )
    assert done.returncode == 1
    assert b"File too large" in done.stderr
    assert not target.exists()


def test_a_damaged_archive_is_told(system: System, tmp_path: pathlib.Path) -> None:
    whole = next(system.cores.glob("core-prog-1-*")).read_bytes()
    broken = tmp_path / "core-prog-1-11-1.zst"
    broken.write_bytes(whole[:600] + b"xxxxxxxx" + whole[608:])
    done = system.run("dump", os.fspath(broken), root=False)
    assert done.returncode == 1
    assert b"is damaged" in done.stderr


def fake(tmp_path: pathlib.Path, text: str) -> str:
    path = tmp_path / "debugger"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return os.fspath(path)


def test_the_debugger_gets_executable_and_core(system: System, tmp_path: pathlib.Path) -> None:
    debugger = fake(
        tmp_path, 'printf "%s\\n" "$@"; cmp "$5" "$5" && cp "$5" "$OUT"; echo "$5" >"$OUT.name"; exit 3'
    )
    out = tmp_path / "seen"
    done = system.run("debug", "1", "-q", f"--debugger={debugger}", "-A", "-batch 'a b'", OUT=os.fspath(out))
    assert done.returncode == 3
    words = done.stdout.decode().splitlines()
    assert words[:4] == ["-batch", "a b", f"{system.root}/usr/bin/prog", "-c"]
    assert out.read_bytes() == core()
    assert not os.path.exists((tmp_path / "seen.name").read_text().strip())


def temporary_core(child: subprocess.Popen[bytes]) -> str:
    """The file into which the core is just being decompressed."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for fd in pathlib.Path(f"/proc/{child.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if (name := os.readlink(fd)).startswith("/var/tmp/coredump-"):
                    return name
    raise AssertionError("no temporary core appeared")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_no_temporary_core_outlives_an_interrupt(system: System, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "--root", system.root, "debug", "4", "-q", "--debugger=/bin/true"],
        stderr=subprocess.PIPE, env=clean_environment(),
    ) as child:  # fmt: skip
        name = temporary_core(child)
        child.send_signal(number)
        assert child.stderr is not None
        assert b"Traceback" not in child.stderr.read()
    assert child.returncode == 128 + number
    assert not os.path.exists(name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_debugger_ends_with_us(system: System, tmp_path: pathlib.Path, number: signal.Signals) -> None:
    debugger = fake(tmp_path, f'echo "$3" >{tmp_path}/name; echo $$; exec sleep 60')
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "--root", system.root, "debug", "1", "-q", f"--debugger={debugger}"],
        stdout=subprocess.PIPE, env=clean_environment(),
    ) as child:  # fmt: skip
        assert child.stdout is not None
        pid = int(child.stdout.readline())
        child.send_signal(number)
    assert not os.path.exists((tmp_path / "name").read_text().strip())
    assert not os.path.exists(f"/proc/{pid}")


def test_an_interrupt_is_the_debuggers(system: System, tmp_path: pathlib.Path) -> None:
    debugger = fake(tmp_path, "trap 'exit 7' INT; echo ready; sleep 60 & wait; exit 1")
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "--root", system.root, "debug", "1", "-q", f"--debugger={debugger}"],
        stdout=subprocess.PIPE, env=clean_environment(), start_new_session=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        child.stdout.readline()
        os.killpg(child.pid, signal.SIGINT)
    assert child.returncode == 7


def test_a_program_that_was_replaced_since_is_told(system: System, tmp_path: pathlib.Path) -> None:
    known = system.run("debug", "5", "-q", "--debugger=/bin/true")
    assert b"was replaced since the crash" in known.stderr
    unknown = system.run("debug", "1", "-q", "--debugger=/bin/true")
    assert unknown.stderr == b""


def test_a_plain_core_is_opened_where_it_is(system: System, tmp_path: pathlib.Path) -> None:
    done = system.run("debug", "2", "-q", f"--debugger={fake(tmp_path, 'echo $3')}")
    assert done.stdout.decode().strip() == os.fspath(next(system.cores.glob("core-prog-2-*")))


def test_gdb_is_told_the_root_directory_and_may_use_debuginfod(
    system: System, tmp_path: pathlib.Path
) -> None:
    gdb = pathlib.Path(fake(tmp_path, 'printf "%s\\n" "$@"')).rename(tmp_path / "gdb")
    done = system.run("debug", "2", "-q", f"--debugger={gdb}", DEBUGINFOD_URLS="https://debuginfod.example")
    assert done.stdout.decode().splitlines()[:4] == [
        "-iex", f"set sysroot {system.root}", "-iex", "set debuginfod enabled on",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--debugger=/no/such",), b"No debugger '/no/such'"),
        (("-A", "'open"), b"cannot be split into words"),
    ],
)
def test_what_cannot_be_started_is_told(system: System, arguments: tuple[str, ...], message: bytes) -> None:
    done = system.run("debug", "1", "-q", *arguments)
    assert done.returncode == 1
    assert message in done.stderr


def test_the_variable_names_the_debugger(system: System, tmp_path: pathlib.Path) -> None:
    done = system.run("gdb", "2", "-q", SYSTEMD_DEBUGGER=fake(tmp_path, "echo started"))
    assert done.stdout == b"started\n"
