"""Installing into a directory: what comes where, and that it goes again. The host's own is tests/kernel/test_install_host.py."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys

import pytest

from pycoredump import crash
from pycoredump.configure.kernel import Kernel
from pycoredump.errors import PycoredumpError
from tools import install, layout, registration, tree
from tools.layout import File
from tools.registration import Saved
from tools.tree import Tree

SOURCE = pathlib.Path(__file__).parents[1]
LIBRARY = "/usr/lib/pycoredump"


def make(verb: str, destdir: pathlib.Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "-s", verb, f"DESTDIR={destdir}", *more],
        cwd=SOURCE,
        capture_output=True,
        text=True,
        check=False,
    )


def paths(root: pathlib.Path) -> set[str]:
    return {f"/{path.relative_to(root)}" for path in root.rglob("*") if not path.is_dir()}


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    destdir = tmp_path_factory.mktemp("stage")
    done = make("install", destdir)
    assert done.returncode == 0, done.stderr
    return destdir


def test_each_module_is_installed(staged: pathlib.Path) -> None:
    modules = {f"{LIBRARY}/{path.relative_to(SOURCE)}" for path in (SOURCE / "pycoredump").rglob("*.py")}

    assert modules <= paths(staged)


def test_nothing_in_the_package_needs_more_than_its_modules() -> None:
    others = [
        path
        for path in (SOURCE / "pycoredump").rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    ]

    assert others == []


def test_the_fixed_files_are_installed(staged: pathlib.Path) -> None:
    assert {
        "/etc/pycoredump.conf",
        "/usr/bin/pycoredumpctl",
        "/usr/lib/sysctl.d/60-pycoredump.conf",
        "/usr/lib/systemd/system/pycoredump-retention.service",
        "/usr/lib/systemd/system/pycoredump-retention.timer",
        "/usr/lib/tmpfiles.d/pycoredump.conf",
        "/usr/libexec/pycoredump",
        "/usr/sbin/pycoredump-configure",
        "/usr/share/man/man5/pycoredump-archive.5",
        "/usr/share/man/man5/pycoredump.conf.5",
        "/usr/share/man/man8/pycoredump.8",
    } <= paths(staged)


def test_each_file_that_is_no_code_has_a_place() -> None:
    sources = [
        *(SOURCE / "systemd").iterdir(),
        *(SOURCE / "man").iterdir(),
        *(SOURCE / "sysctl.d").iterdir(),
    ]
    contents = {file.data for file in layout.files("/usr")}

    assert [path.name for path in sources if path.read_bytes() not in contents] == []


def test_nothing_knows_of_destdir(staged: pathlib.Path) -> None:
    needle = os.fsencode(staged)

    assert [path for path in sorted(paths(staged)) if needle in (staged / path[1:]).read_bytes()] == []


def test_each_module_is_compiled_and_its_time_does_not_count(staged: pathlib.Path) -> None:
    tag = sys.implementation.cache_tag
    for path in (staged / LIBRARY[1:]).rglob("*.py"):
        compiled = path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc"
        assert compiled.read_bytes()[4:8] == b"\x01\0\0\0", path  # PEP 552: by hash, unchecked


def test_modes_do_not_depend_on_the_umask(tmp_path: pathlib.Path) -> None:
    before = os.umask(0o077)
    try:
        assert make("install", tmp_path / "root").returncode == 0
    finally:
        os.umask(before)

    programs = {"/usr/libexec/pycoredump", "/usr/bin/pycoredumpctl", "/usr/sbin/pycoredump-configure"}
    for path in (tmp_path / "root").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        name = f"/{path.relative_to(tmp_path / 'root')}"
        assert mode == (0o755 if path.is_dir() or name in programs else 0o644), name


def test_installing_twice_equals_once(staged: pathlib.Path, tmp_path: pathlib.Path) -> None:
    for _ in range(2):
        assert make("install", tmp_path / "root").returncode == 0

    assert paths(tmp_path / "root") == paths(staged)


def test_an_upgrade_removes_what_the_new_version_has_not(tmp_path: pathlib.Path) -> None:
    root = Tree(os.fspath(tmp_path))
    tree.install(root, LIBRARY, [*layout.files("/usr"), File(path=f"{LIBRARY}/pycoredump/old.py", data=b"")])

    tree.install(root, LIBRARY, layout.files("/usr"))

    assert not (tmp_path / f"{LIBRARY}/pycoredump/old.py"[1:]).exists()
    assert [path for path in paths(tmp_path) if "/old." in path] == []


def test_uninstall_leaves_no_file(tmp_path: pathlib.Path) -> None:
    make("install", tmp_path)

    assert make("uninstall", tmp_path).returncode == 0

    assert paths(tmp_path) == set()
    assert not (tmp_path / LIBRARY[1:]).exists()


def test_settings_of_the_administrator_survive(tmp_path: pathlib.Path) -> None:
    make("install", tmp_path)
    (tmp_path / "etc/pycoredump.conf").write_text("[Coredump]\nMaxUse=1G\n")

    make("install", tmp_path)
    make("uninstall", tmp_path)

    assert paths(tmp_path) == {"/etc/pycoredump.conf"}
    assert (tmp_path / "etc/pycoredump.conf").read_text() == "[Coredump]\nMaxUse=1G\n"


def test_undo_restores_every_byte(tmp_path: pathlib.Path) -> None:
    (tmp_path / "usr/libexec").mkdir(parents=True)
    (tmp_path / "usr/libexec/pycoredump").write_text("another program")
    (tmp_path / "usr/libexec/pycoredump").chmod(0o700)
    root = Tree(os.fspath(tmp_path))
    tree.install(root, LIBRARY, layout.files("/usr"))

    tree.undo(root, LIBRARY)

    assert paths(tmp_path) == {"/usr/libexec/pycoredump"}
    assert (tmp_path / "usr/libexec/pycoredump").read_text() == "another program"
    assert (tmp_path / "usr/libexec/pycoredump").stat().st_mode & 0o7777 == 0o700
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_dir()) == ["libexec", "usr"]


def test_undo_of_an_upgrade_restores_the_old_version(tmp_path: pathlib.Path) -> None:
    old = [file for file in layout.files("/usr") if not file.path.endswith("/crash.py")]
    tree.install(Tree(os.fspath(tmp_path)), LIBRARY, old)
    before = {path: (tmp_path / path[1:]).read_bytes() for path in paths(tmp_path)}
    upgrade = Tree(os.fspath(tmp_path))
    tree.install(upgrade, LIBRARY, layout.files("/usr"))

    tree.undo(upgrade, LIBRARY)

    assert {path: (tmp_path / path[1:]).read_bytes() for path in paths(tmp_path)} == before


def test_the_kernel_finds_the_handler_at_its_path_for_any_prefix(tmp_path: pathlib.Path) -> None:
    assert make("install", tmp_path, "PREFIX=/opt/crashes").returncode == 0

    assert (tmp_path / crash.HANDLER[1:]).exists()
    assert "'/opt/crashes/lib/pycoredump'" in (tmp_path / crash.HANDLER[1:]).read_text()
    assert {"/opt/crashes/bin/pycoredumpctl", "/opt/crashes/sbin/pycoredump-configure"} <= paths(tmp_path)


def test_units_name_programs_by_their_prefix() -> None:
    unit = "ExecStart=/usr/bin/pycoredumpctl vacuum\nEnvironment=PYTHONPATH=/usr/lib/pycoredump\n#/usr/lib/pycoredump.conf"

    assert layout.relocated(unit, "/opt") == (
        "ExecStart=/opt/bin/pycoredumpctl vacuum\nEnvironment=PYTHONPATH=/opt/lib/pycoredump\n#/usr/lib/pycoredump.conf"
    )
    assert layout.relocated(unit, "/usr") == unit


@pytest.mark.parametrize("option", ["PREFIX=usr", "PREFIX=/a b"], ids=["relative", "blank"])
def test_a_prefix_that_cannot_be_is_refused_in_one_line(tmp_path: pathlib.Path, option: str) -> None:
    done = make("install", tmp_path, option)

    assert done.returncode != 0
    assert done.stderr.startswith("make install: PREFIX=")
    assert paths(tmp_path) == set()


def test_units_and_snippets_are_understood_by_systemd(staged: pathlib.Path, tmp_path: pathlib.Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    prefix = os.fspath(tmp_path)
    root = Tree()
    units = []
    for file in layout.files(prefix):
        if file.path.startswith(layout.UNITS):
            units.append(tmp_path / os.path.basename(file.path))
            units[-1].write_bytes(file.data)
        elif file.path.startswith((f"{prefix}/bin", f"{prefix}/sbin", f"{prefix}/lib")):
            root.put(file)

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(os.fspath, units)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert [line for line in done.stderr.splitlines() if prefix in line or "pycoredump" in line] == []


def test_tmpfiles_are_made_with_the_handlers_own_modes(staged: pathlib.Path, tmp_path: pathlib.Path) -> None:
    if not shutil.which("systemd-tmpfiles") or os.geteuid() != 0:
        pytest.skip("needs systemd-tmpfiles and root")
    shutil.copytree(staged / "usr", tmp_path / "usr")

    command = ["systemd-tmpfiles", f"--root={tmp_path}", "--create", "pycoredump.conf"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.stderr == ""
    assert stat.S_IMODE((tmp_path / "var/core").stat().st_mode) == 0o711
    assert stat.S_IMODE((tmp_path / "run/pycoredump").stat().st_mode) == 0o700


def run(path: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [path, *arguments], env={}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


@pytest.fixture
def programs(tmp_path: pathlib.Path) -> pathlib.Path:
    """The programs as they are installed, with a prefix of this test."""
    root = Tree()
    for file in layout.files(os.fspath(tmp_path)):
        if file.path.startswith(os.fspath(tmp_path)):
            root.put(file)
    return tmp_path


@pytest.mark.parametrize("name", ["bin/pycoredumpctl", "sbin/pycoredump-configure"])
def test_an_installed_program_starts_without_any_environment(programs: pathlib.Path, name: str) -> None:
    done = run(programs / name, "--help")

    assert done.stderr == ""
    assert done.returncode == 0
    assert name.partition("/")[2] in done.stdout


def test_a_foreign_environment_brings_no_foreign_code(tmp_path: pathlib.Path) -> None:
    (tmp_path / "pycoredump").mkdir()
    (tmp_path / "pycoredump/handler.py").write_text(f"open({os.fspath(tmp_path / 'ran')!r}, 'w')")
    handler = tmp_path / "handler"
    handler.write_text(layout.handler("/nowhere"))
    handler.chmod(0o755)

    subprocess.run(
        [handler, "1", "11", "0", "test"], env={"PYTHONPATH": os.fspath(tmp_path)}, cwd=tmp_path, check=False
    )

    assert not (tmp_path / "ran").exists()


def test_a_handler_without_its_modules_fails_quietly(tmp_path: pathlib.Path) -> None:
    handler = tmp_path / "handler"
    handler.write_text(layout.handler("/nowhere"))
    handler.chmod(0o755)

    done = run(handler, "1", "11", "0", "test-of-pycoredump")

    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.fixture
def kernel(tmp_path: pathlib.Path) -> Kernel:
    """The settings of a kernel, in files of ours."""
    for key, value in registration.DEFAULT.items():
        path = tmp_path / "sys" / key.replace(".", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return Kernel(os.fspath(tmp_path / "sys"))


def shipped() -> dict[str, str]:
    return registration.wanted(SOURCE / "sysctl.d/60-pycoredump.conf")


def test_registering_sets_what_the_shipped_file_says(kernel: Kernel) -> None:
    kernel.write("kernel.core_pipe_limit", "16")  # systemd-coredump's, which loses most of a storm
    registration.register(kernel, shipped())

    assert kernel.values() == {
        "kernel.core_pattern": crash.pattern(),
        "kernel.core_pipe_limit": "1024",
        "kernel.core_uses_pid": "1",
        "fs.suid_dumpable": "2",
    }


def test_restoring_after_registering_changes_nothing(kernel: Kernel) -> None:
    before = kernel.values()
    registration.register(kernel, shipped())

    registration.restore(kernel, before)

    assert kernel.values() == before


def test_a_pattern_that_somebody_set_after_us_stays(kernel: Kernel) -> None:
    before = kernel.values()
    registration.register(kernel, shipped())
    kernel.write("kernel.core_pattern", "|/usr/lib/other")

    assert registration.restore(kernel, before) == []
    assert kernel.read("kernel.core_pattern") == "|/usr/lib/other"


def test_our_own_settings_never_count_as_the_time_before(kernel: Kernel) -> None:
    saved = Saved(sysctl={"kernel.core_pattern": "|/usr/lib/other"})
    registration.register(kernel, shipped())

    assert registration.before(kernel, saved) == saved.sysctl
    assert registration.before(kernel, None) == registration.DEFAULT


def test_a_pattern_put_back_by_hand_leaves_our_settings_no_part_of_the_time_before(kernel: Kernel) -> None:
    before = kernel.values()
    registration.register(kernel, shipped())
    kernel.write("kernel.core_pattern", before["kernel.core_pattern"])

    assert registration.before(kernel, Saved(sysctl=before)) == before
    registration.restore(kernel, before)
    assert kernel.values() == before


def test_a_unit_that_the_administrator_may_have_enabled_is_stopped_by_uninstall() -> None:
    units = [file.path for file in layout.files("/usr") if layout.is_unit(file.path)]

    assert f"{layout.UNITS}/pycoredump-watch.service" in units
    assert f"{layout.UNITS}/pycoredump-analysis.socket" in units
    assert f"{layout.UNITS}/pycoredump-analysis@.service" not in units


def test_what_is_saved_is_read_back(tmp_path: pathlib.Path) -> None:
    path = os.fspath(tmp_path / "lib/install.json")
    saved = Saved(sysctl={"kernel.core_pattern": "|/x %P"}, units=("apport.service",))
    registration.save(saved, path)

    assert registration.load(path) == saved

    registration.forget(path)
    assert registration.load(path) is None
    assert not (tmp_path / "lib").exists()


def test_a_damaged_record_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "install.json").write_text("{")

    with pytest.raises(PycoredumpError, match=re.escape(os.fspath(tmp_path / "install.json"))):
        registration.load(os.fspath(tmp_path / "install.json"))


def test_without_root_install_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    if os.geteuid() == 0:
        pytest.skip("is root")

    assert install.main(["install"]) == 1
    assert "sudo make install" in capsys.readouterr().err
