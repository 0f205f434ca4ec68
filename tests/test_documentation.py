"""What the manual, the example, the sysctl file and README.md say is what the code does."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from pycoredump import archive, config, crash, metadata, options, zstd
from pycoredump.configure import sysctl
from tools import manual

SOURCE = pathlib.Path(__file__).parents[1]
PAGES = sorted((SOURCE / "man").glob("*.[1-8]"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_repeats_the_tables_of_the_code(page: pathlib.Path) -> None:
    assert manual.filled(page.read_text()) == page.read_text(), "make format writes it anew"


def test_each_table_stands_in_a_page() -> None:
    text = "".join(page.read_text() for page in PAGES)

    assert set(re.findall(r'\.\\" begin (\w+)', text)) == set(manual.PARTS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_no_mistakes(page: pathlib.Path) -> None:
    if not shutil.which("groff"):
        pytest.skip("groff is not installed")
    done = subprocess.run(
        ["groff", "-mdoc", "-ww", "-z", os.fspath(page)], capture_output=True, text=True, check=False
    )

    # A long word that cannot be adjusted is ugly, but no mistake.
    assert [line for line in done.stderr.splitlines() if "cannot adjust line" not in line] == []


def test_the_example_is_made_from_the_options() -> None:
    assert (SOURCE / manual.EXAMPLE).read_text() == manual.example(), "make format writes it anew"


def test_the_example_sets_nothing(tmp_path: pathlib.Path) -> None:
    assert list(config.settings(manual.example(), "example")) == []


def test_the_example_uncommented_is_the_default(tmp_path: pathlib.Path) -> None:
    text = re.sub(r"(?m)^#(?=\w+=)", "", manual.example())
    (tmp_path / "pycoredump.conf").write_text(text)

    loaded, warnings = config.load(etc=os.fspath(tmp_path), lib=os.fspath(tmp_path / "none"))

    assert warnings == []
    assert loaded == config.Config()


def test_the_sysctl_file_has_the_pattern_of_the_code() -> None:
    path = SOURCE / "sysctl.d" / "60-pycoredump.conf"
    settings = {s.key: s.value for s in sysctl.parse(path.read_text(), path.name)}

    assert settings == {
        "kernel.core_pattern": crash.pattern(),
        "kernel.core_pipe_limit": "1024",
        "fs.suid_dumpable": "2",
        "kernel.core_uses_pid": "1",
    }


def test_the_sysctl_file_gives_a_reason_for_each_line() -> None:
    lines = (SOURCE / "sysctl.d" / "60-pycoredump.conf").read_text().splitlines()

    for before, line in itertools.pairwise(lines):
        if line and not line.startswith("#"):
            assert before.startswith("# "), line


def test_the_sysctl_file_makes_suid_dumpable_safe_before_it_sets_it() -> None:
    text = (SOURCE / "sysctl.d" / "60-pycoredump.conf").read_text()

    assert text.index("\nkernel.core_pattern=") < text.index("\nfs.suid_dumpable=")


def stored(path: pathlib.Path) -> bytes:
    """An archive with everything that the format has; the core that it holds."""
    head, rest, zeros = b"\x7fELF" + bytes(60), os.urandom(70_000) + b"memory" * 1000, 300 << 10
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        writer = archive.Writer(fd, limit=1 << 30)
        writer.head(head)
        compress, _ = zstd.compressor(1)
        writer.append((compress or zstd.raw)(memoryview(rest)), len(rest))
        writer.zeros(zeros)
        writer.finish(metadata.frame({"COREDUMP_PID": b"4711", "COREDUMP_COMM": b"ng\xffnx"}))
        rows = [
            *writer.frames,
            (8 + len(metadata.frame({"COREDUMP_PID": b"4711", "COREDUMP_COMM": b"ng\xffnx"})), 0),
        ]
        archive.append_metadata(fd, metadata.frame({"COREDUMP_COMM": b"nginx"}), rows)
    finally:
        os.close(fd)
    return head + rest + bytes(zeros)


def example_reader() -> str:
    page = (SOURCE / "man" / "pycoredump-archive.5").read_text()
    found = re.search(r'(?s)\.\\" The example begins\.\n\.Bd -literal\n(.*)\.Ed\n', page)
    assert found
    return found[1].replace("\\e", "\\")


def test_the_reader_in_the_manual_reads_an_archive(tmp_path: pathlib.Path) -> None:
    core = stored(tmp_path / "core.zst")
    program = example_reader().replace(
        "print(core[:4])", "sys.stdout.flush(); sys.stdout.buffer.write(core)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "core.zst"], capture_output=True, check=True
    )
    fields, _, read = done.stdout.partition(b"\n")

    assert json.loads(fields) == {"COREDUMP_PID": "4711", "COREDUMP_COMM": "nginx"}
    assert read == core


def test_the_head_lies_where_the_manual_says(tmp_path: pathlib.Path) -> None:
    core = stored(tmp_path / "core.zst")

    assert (tmp_path / "core.zst").read_bytes()[:21] == (
        bytes.fromhex("28b52ffd c0 38 4000000000000000 010200") + b"\x7fELF"
    )
    assert core.startswith(b"\x7fELF")


def test_zstd_takes_an_archive(tmp_path: pathlib.Path) -> None:
    if not shutil.which("zstd"):
        pytest.skip("zstd is not installed")
    core = stored(tmp_path / "core.zst")

    done = subprocess.run(["zstd", "-dc", tmp_path / "core.zst"], capture_output=True, check=True)

    assert done.stdout == core


def targets() -> set[str]:
    return set(re.findall(r"(?m)^([a-z]+):", (SOURCE / "Makefile").read_text()))


@pytest.mark.parametrize("name", ["README.md", ".ci/run", *(f"man/{page.name}" for page in PAGES)])
def test_each_make_command_that_is_named_exists(name: str) -> None:
    command = r"(?m)(?:`|^ *|Ql )(?:sudo )?make ([a-z]+)(?: [A-Z]|`|$| [,.])"
    named = set(re.findall(command, (SOURCE / name).read_text()))

    assert named <= targets()


def test_make_help_lists_what_people_type() -> None:
    done = subprocess.run(["make", "-s", "help"], cwd=SOURCE, capture_output=True, text=True, check=True)

    listed = re.findall(r"(?m)^  make ([a-z]+)", done.stdout)
    assert {"help", "install", "uninstall", "demo", "check", "test", "bench"} <= set(listed)


def test_each_option_in_readme_is_one() -> None:
    text = (SOURCE / "README.md").read_text()

    for name in re.findall(r"`([A-Z][A-Za-z]+)=", text):
        assert name in options.BY_NAME
