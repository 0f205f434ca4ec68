"""Programs that run programs: the script by the command line, and CPython's stacks in cores of real CPythons."""

from __future__ import annotations

import glob
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import types
from collections.abc import Iterator

import pytest

from pycoredump.analysis import debugfiles, report, stored
from pycoredump.analysis.interpreters import cpython, node, perl, php, ruby, runtimes, shell
from pycoredump.analysis.model import Facts, Report

SCRIPT = """\
import threading, time

class Shop:
    def sell(self, n):
        if n:
            return self.sell(n - 1)
        print("ready", flush=True)
        time.sleep(
            1000
        )

def wäit(): time.sleep(1000)

threading.Thread(target=wäit, daemon=True).start()
time.sleep(0.2)
Shop().sell(2)
"""
FOUND = sorted({os.path.realpath(path) for path in (
    "/usr/bin/python3", sys.executable, *glob.glob(os.path.expanduser("~/.pyenv/versions/3.1[1-9]*/bin/python3")),
)})  # fmt: skip


def analysed(pid: int, argv: tuple[str, ...], directory: pathlib.Path) -> Report:
    """The report on a core that gdb takes of a living process."""
    core = directory / "core"
    command = ["gdb", "-nx", "-batch", "-p", str(pid), "-ex", f"gcore {core}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if not core.exists():
        pytest.skip(f"gdb takes no core: {done.stderr.strip()[-200:]}")
    fd = os.open(core, os.O_RDONLY)
    modules = debugfiles.open_modules(stored.layout(stored.source(fd)))
    try:
        return report.analyse(fd, list(modules.items()), Facts(exe=argv[0], arguments=argv))
    finally:
        for one in (fd, *modules.values()):
            os.close(one)


@pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed")
@pytest.mark.parametrize("python", FOUND)
def test_cpythons_stacks_are_read(python: str, tmp_path: pathlib.Path) -> None:
    script = tmp_path / "shop.py"
    script.write_text(SCRIPT)
    argv = (python, os.fspath(script))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(0.2)
            found = analysed(process.pid, argv, tmp_path)
        finally:
            process.kill()
    assert found.script == os.fspath(script)
    assert found.problems == ()
    main = next(trace for trace in found.scripts if trace.tid == process.pid)
    told = [(frame.function, os.path.basename(frame.file), frame.line) for frame in main.frames]
    sells = [("Shop.sell", "shop.py", 8), ("Shop.sell", "shop.py", 6), ("Shop.sell", "shop.py", 6)]
    assert told == [*sells, ("<module>", "shop.py", 16)]
    (other,) = [trace for trace in found.scripts if trace.tid != process.pid]
    assert (other.frames[0].function, other.frames[0].line) == ("wäit", 12)
    assert other.frames[-1].function == "Thread._bootstrap"


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="older tables have another form")
@pytest.mark.parametrize("module", ["argparse", "ast", "subprocess", "typing", "tarfile"])
def test_lines_are_those_that_python_itself_tells(module: str) -> None:
    source = pathlib.Path(os.path.dirname(os.__file__), f"{module}.py").read_text()
    for code in codes(compile(source, module, "exec")):
        for start, end, line in code.co_lines():
            for offset in range(start, end, 2):
                assert cpython.line_at(code.co_linetable, code.co_firstlineno, offset) == (line or 0)


@pytest.mark.parametrize("table", [b"", b"\xff", b"\x80", b"\xe8" + b"\x7f" * 100, bytes(1000)])
def test_damaged_line_tables_have_an_end(table: bytes) -> None:
    assert isinstance(cpython.line_at(table, 1, 1 << 40), int)


SCRIPTS = [
    (cpython.CPython(), "python3 -u shop.py --now", "shop.py"),
    (cpython.CPython(), "python3 -W ignore -X dev shop.py", "shop.py"),
    (cpython.CPython(), "python3 -m http.server 80", "-m http.server"),
    (cpython.CPython(), "python3 -Bm http.server", "-m http.server"),
    (cpython.CPython(), "python3 -c print(1)", "-c print(1)"),
    (cpython.CPython(), "python3 -Ic print(1)", "-c print(1)"),
    (cpython.CPython(), "python3", ""),
    (cpython.CPython(), "python3 -", ""),
    (perl.Perl(), "perl -w -I lib shop.pl", "shop.pl"),
    (perl.Perl(), "perl -e print", "-e print"),
    (ruby.Ruby(), "ruby -r json -I lib shop.rb -v", "shop.rb"),
    (node.Node(), "node --inspect shop.js --port 80", "shop.js"),
    (node.Node(), "node -e 1", "-e 1"),
    (shell.Shell(), "sh -eu shop.sh", "shop.sh"),
    (shell.Shell(), "bash -c ls", "-c ls"),
    (shell.Shell(), "bash -o pipefail shop.sh", "shop.sh"),
    (shell.Shell(), "-bash", ""),
    (php.Php(), "php -d a=b shop.php", "shop.php"),
    (php.Php(), "php -f shop.php", "shop.php"),
]  # fmt: skip


@pytest.mark.parametrize(("runtime", "line", "script"), SCRIPTS, ids=[row[1] for row in SCRIPTS])
def test_the_script_is_found_in_the_command_line(runtime: object, line: str, script: str) -> None:
    assert runtime.script(tuple(line.split())) == script  # type: ignore[attr-defined] # any of the runtimes


PROGRAMS = {
    "python3.11": "Python", "python3": "Python", "pypy3": "Python", "perl5.36-x86_64": "Perl", "perl": "Perl",
    "ruby3.1": "Ruby", "node": "Node.js", "nodejs": "Node.js", "dash": "shell", "bash": "shell", "php8.2": "PHP",
    "nginx": "", "pythonize": "", "shout": "", "redis-server": "",
}  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_runtime_is_known_by_its_programs_name(program: str) -> None:
    names = [runtime.name for runtime in runtimes() if re.fullmatch(runtime.program, program)]
    assert names == ([PROGRAMS[program]] if PROGRAMS[program] else [])
