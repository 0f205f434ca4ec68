"""make install and make uninstall on this very host: files, kernel settings, a real crash, and all of it gone again."""

from __future__ import annotations

import fcntl
import os
import pathlib
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

from pycoredump import crash
from pycoredump.configure.kernel import Kernel
from tools import install, layout, lock, registration

SOURCE = pathlib.Path(__file__).parents[2]
DROP_IN = pathlib.Path("/etc/pycoredump.conf.d/00-test.conf")
PLACES = (
    "/usr/lib/pycoredump",
    "/etc/pycoredump.conf",
    "/var/lib/pycoredump",
    crash.HANDLER,
    install.SYSCTL,
)

pytestmark = [pytest.mark.kernel, pytest.mark.root, pytest.mark.slow]

if os.geteuid() != 0:
    pytest.skip("only root may install", allow_module_level=True)
if any(os.path.exists(place) for place in PLACES):
    pytest.skip("pycoredump is installed on this host, which the test would remove", allow_module_level=True)
if not os.access("/proc/sys/kernel/core_pattern", os.W_OK):
    pytest.skip("core_pattern cannot be written here", allow_module_level=True)


@pytest.fixture
def held() -> Iterator[int]:
    """The lock, from before the first change to after the last."""
    os.makedirs(os.path.dirname(lock.PATH), exist_ok=True)
    fd = os.open(lock.PATH, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        wait(fd)
        with lock.restored(Kernel()):
            yield fd
    finally:
        os.close(fd)


def wait(fd: int) -> None:
    for _ in range(6000):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.1)
    pytest.fail(f"{lock.PATH} is held by another program")


@pytest.fixture
def host(held: int, tmp_path: pathlib.Path) -> Iterator[int]:
    """The host, with cores in a directory of the test; afterwards nothing of ours is left."""
    made = [DROP_IN.parent] if not DROP_IN.parent.exists() else []
    DROP_IN.parent.mkdir(exist_ok=True)
    DROP_IN.write_text(f"[Coredump]\nDirectory={tmp_path}/core\nMaxUse=0\nKeepFree=0\n")
    try:
        yield held
    finally:
        if os.path.exists(PLACES[0]):
            make("uninstall", held)
        DROP_IN.unlink()
        for directory in made:
            directory.rmdir()


def make(verb: str, fd: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "-s", verb],
        cwd=SOURCE,
        env=os.environ | {lock.HELD: str(fd)},
        pass_fds=[fd],
        capture_output=True,
        text=True,
        check=False,
    )


def test_install_proves_itself_and_uninstall_leaves_the_host_as_it_was(
    host: int, tmp_path: pathlib.Path
) -> None:
    before = Kernel().values()

    first = make("install", host)
    assert first.returncode == 0, first.stderr
    assert Kernel().values() == registration.wanted(pathlib.Path(install.SYSCTL))
    assert len(list((tmp_path / "core").glob("core-sleep-*-6-*.zst"))) == 1

    again = make("install", host)
    assert again.returncode == 0, again.stderr
    saved = registration.load()
    assert saved is not None
    assert saved.sysctl == before

    gone = make("uninstall", host)
    assert gone.returncode == 0, gone.stderr
    assert Kernel().values() == before
    assert [place for place in PLACES if os.path.exists(place)] == []
    assert [file.path for file in layout.files("/usr") if os.path.exists(file.path)] == []
    assert len(list((tmp_path / "core").iterdir())) == 2


def test_a_handler_that_does_not_work_is_not_left_behind(host: int) -> None:
    before = Kernel().values()
    DROP_IN.write_text("[Coredump]\nDirectory=/proc/no-cores-here\n")

    done = make("install", host)

    assert done.returncode != 0
    assert "No core of process" in done.stderr
    assert "Cannot use directory /proc/no-cores-here" in done.stderr
    assert Kernel().values() == before
    assert [place for place in PLACES if os.path.exists(place)] == []


def test_uninstall_waits_for_the_configurators_revert(host: int) -> None:
    assert make("install", host).returncode == 0
    record = pathlib.Path("/var/lib/pycoredump/configure.json")
    record.write_text("{}")
    try:
        done = make("uninstall", host)

        assert done.returncode != 0
        assert "pycoredump-configure revert" in done.stderr
        assert os.path.exists(crash.HANDLER)
    finally:
        record.unlink()


def test_uninstalling_what_is_not_there_is_one_line(host: int) -> None:
    done = make("uninstall", host)

    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if not line.startswith("make: ***")] == [
        "make uninstall: Nothing is installed in /usr/lib/pycoredump (name the PREFIX= of the installation)"
    ]


def test_demo_leaves_nothing(held: int) -> None:
    before = Kernel().values()
    places = set(os.listdir("/var/lib"))

    done = make("demo", held)

    assert done.returncode == 0, done.stderr
    assert "died of SIGSEGV" in done.stdout
    assert "$ pycoredumpctl info" in done.stdout
    assert Kernel().values() == before
    assert set(os.listdir("/var/lib")) == places


def test_an_unknown_python_loses_no_crash(host: int, tmp_path: pathlib.Path) -> None:
    """As after an upgrade of Python: no cached modules, no zstandard, no systemd for it."""
    assert make("install", host).returncode == 0
    # A new Python's packages lie elsewhere.
    module = pathlib.Path("/usr/lib/pycoredump/pycoredump/zstd.py")
    module.write_text(module.read_text().replace("/usr/lib/python3/dist-packages", "/nowhere"))
    for cache in pathlib.Path("/usr/lib/pycoredump").rglob("__pycache__"):
        shutil.rmtree(cache)

    with subprocess.Popen(["sh", "-c", "ulimit -c unlimited; kill -ABRT $$"]) as process:
        assert process.wait() == -6

    for _ in range(100):
        stored = list((tmp_path / "core").glob(f"core-sh-{process.pid}-6-*"))
        if stored:
            break
        time.sleep(0.1)
    assert stored[0].read_bytes()[17:21] == b"\x7fELF"
