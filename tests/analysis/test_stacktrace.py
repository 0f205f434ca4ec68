"""The backtrace's lines, character by character as systemd-coredump has them."""

from __future__ import annotations

from pycoredump.analysis import stacktrace
from pycoredump.analysis.model import Frame, Module, Report, ThreadTrace

PROGRAM = Module(
    path="/usr/bin/bash",
    start=0x556902F12000,
    end=0x556903100000,
    bias=0x556902F12000,
    build_id="aa",
    main=True,
)
LIBRARY = Module(
    path="/usr/lib/libc.so.6",
    start=0x7F2055C37000,
    end=0x7F2055E00000,
    bias=0x7F2055C37000,
    build_id="bb",
    package={"type": "deb", "name": "glibc", "version": "2.36-9", "architecture": "amd64"},
)
OLD = Module(path="/opt/old.so", start=0x1000, end=0x2000, bias=0)


def frame(pc: int, symbol: str, module: Module | None, **more: object) -> Frame:
    if module is None:
        return Frame(pc=pc, symbol=symbol)
    known = Frame(pc=pc, symbol=symbol, module=module.path.rsplit("/", 1)[1], module_path=module.path)
    return known.replace(**more)


def test_lines_of_systemd_coredump() -> None:
    report = Report(
        modules=(PROGRAM, LIBRARY, OLD),
        threads=(
            ThreadTrace(
                tid=18720,
                frames=(
                    frame(0x7F2055D2F2AD, "read", LIBRARY),
                    frame(0x556902FCED88, "zread", PROGRAM),
                    frame(0x1010, "", OLD),
                    frame(0, "", None),
                ),
            ),
            ThreadTrace(tid=18721, frames=(frame(0x7F2055D2F2AD, "read", LIBRARY),)),
        ),
    )
    assert list(stacktrace.lines(report, "AMD x86-64")) == [
        "Module libc.so.6 from deb glibc-2.36-9.amd64",
        "Module old.so without build-id.",
        "Stack trace of thread 18720:",
        "#0  0x00007f2055d2f2ad read (libc.so.6 + 0xf82ad)",
        "#1  0x0000556902fced88 zread (/usr/bin/bash + 0xbcd88)",
        "#2  0x0000000000001010 n/a (old.so + 0x10)",
        "#3  0x0000000000000000 n/a (n/a + 0x0)",
        "",
        "Stack trace of thread 18721:",
        "#0  0x00007f2055d2f2ad read (libc.so.6 + 0xf82ad)",
        "ELF object binary architecture: AMD x86-64",
    ]


def test_extras_stand_behind() -> None:
    frames = (
        frame(0x7F2055D2F2AD, "read", LIBRARY, file="read.c", line=26),
        frame(0x7F2055D2F2AE, "", LIBRARY, signal_frame=True),
        frame(0x556902FCED88, "zread", PROGRAM, guess=True),
    )
    trace = ThreadTrace(tid=1, frames=frames, end="the stack turns back on itself", same_as=(2, 3))
    assert list(
        stacktrace.lines(Report(modules=(PROGRAM, LIBRARY.replace(package=None)), threads=(trace,)))
    ) == [
        "Stack trace of thread 1:",
        "#0  0x00007f2055d2f2ad read (libc.so.6 + 0xf82ad) at read.c:26",
        "#1  0x00007f2055d2f2ae n/a (libc.so.6 + 0xf82ae) <signal handler called>",
        "#2  0x0000556902fced88 zread (/usr/bin/bash + 0xbcd88) (guessed)",
        "(no further frames: the stack turns back on itself)",
        "(same stack: 2 threads, 2, 3)",
    ]


def test_a_package_without_version_shows_the_build_id() -> None:
    module = LIBRARY.replace(package={"type": "rpm", "name": "zlib"})
    assert list(stacktrace.lines(Report(modules=(module,)))) == [
        "Module libc.so.6 from rpm zlib, build-id=bb"
    ]


def test_long_names_and_many_threads_are_cut() -> None:
    trace = ThreadTrace(tid=1, frames=(frame(1, "x" * 10_000, None),), same_as=tuple(range(1000)))
    lines = list(stacktrace.lines(Report(threads=(trace,))))
    assert max(map(len, lines)) < 700
    assert lines[-1].endswith("18, 19 and 980 more)")
