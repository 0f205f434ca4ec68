"""Writes files below a root, and takes all of it back."""

from __future__ import annotations

import compileall
import contextlib
import pathlib
import py_compile
import shutil

from tools.layout import MANIFEST, File


class Tree:
    """A root directory, "" for the host's own, and what was there before we changed it."""

    def __init__(self, root: str = "") -> None:
        self.root = root.rstrip("/")
        self._before: dict[str, tuple[bytes, int] | None] = {}  # path -> contents and mode; None: nothing
        self._made: list[pathlib.Path] = []  # directories, parents first

    def real(self, path: str) -> pathlib.Path:
        return pathlib.Path(self.root + path)

    def put(self, file: File) -> None:
        """Write a file by rename: nobody ever sees half of it, not even a handler that starts just now."""
        self._remember(file.path)
        path = self.real(file.path)
        self._make(path.parent)
        new = path.with_name(f".{path.name}.new")
        new.write_bytes(file.data)
        new.chmod(file.mode)
        new.replace(path)

    def remove(self, path: str) -> bool:
        """Whether there was such a file."""
        self._remember(path)
        try:
            self.real(path).unlink()
        except FileNotFoundError:
            return False
        return True

    def undo(self) -> None:
        """Put back everything that put() and remove() changed, the latest first."""
        before, self._before = self._before, {}
        for path, was in reversed(before.items()):
            if was is None:
                self.real(path).unlink(missing_ok=True)
            else:
                self.put(File(path=path, data=was[0], mode=was[1]))
        self._before = {}
        for directory in reversed(self._made):
            with contextlib.suppress(OSError):  # somebody else uses it by now
                directory.rmdir()
        self._made = []

    def _make(self, directory: pathlib.Path) -> None:
        # mkdir()'s mode is subject to the umask, and makes parents with another one.
        if directory.is_dir():
            return
        self._make(directory.parent)
        directory.mkdir()
        directory.chmod(0o755)
        self._made.append(directory)

    def _remember(self, path: str) -> None:
        if path in self._before:
            return
        real = self.real(path)
        self._before[path] = (real.read_bytes(), real.stat().st_mode & 0o7777) if real.is_file() else None


def install(tree: Tree, library: str, files: list[File]) -> None:
    """Write the files, remove those of an older version, and compile the package."""
    old = set(installed(tree, library))
    for file in files:
        if not (file.kept and sets_something(tree, file.path)):
            tree.put(file)
    for path in sorted(old - {file.path for file in files}):
        tree.remove(path)
    listing = "".join(f"{file.path}\n" for file in files)
    tree.put(File(path=f"{library}/{MANIFEST}", data=listing.encode()))
    compile_package(tree, library)


def installed(tree: Tree, library: str) -> list[str]:
    """The files of the installed version; [] if there is none."""
    try:
        return tree.real(f"{library}/{MANIFEST}").read_text().splitlines()
    except FileNotFoundError:
        return []


def undo(tree: Tree, library: str) -> None:
    """Make what was there before install() whole again."""
    drop_caches(tree, library)
    tree.undo()
    if installed(tree, library):
        compile_package(tree, library)


def drop_caches(tree: Tree, library: str) -> None:
    for cache in tree.real(library).rglob("__pycache__"):
        shutil.rmtree(cache)


def compile_package(tree: Tree, library: str) -> None:
    """Make the .pyc files. They count whatever the time stamps of their sources say, which packaging may change.

    After an upgrade of Python they have the wrong name: the handler then compiles afresh, and as root keeps that.
    """
    drop_caches(tree, library)
    compileall.compile_dir(
        tree.real(library),
        quiet=1,
        stripdir=tree.root or None,
        prependdir="/" if tree.root else None,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    for cache in tree.real(library).rglob("__pycache__"):
        _readable(cache)


def _readable(cache: pathlib.Path) -> None:
    cache.chmod(0o755)
    for path in cache.iterdir():
        path.chmod(0o644)


def uninstall(tree: Tree, library: str, *, kept: str) -> list[str]:
    """Remove what is installed; `kept` stays if the administrator set something there. What was removed."""
    removed = [
        path
        for path in installed(tree, library)
        if not (path == kept and sets_something(tree, path)) and tree.remove(path)
    ]
    # The directory is ours alone; by now it has caches, perhaps also those of a newer Python.
    shutil.rmtree(tree.real(library), ignore_errors=True)
    return removed


def sets_something(tree: Tree, path: str) -> bool:
    """Whether a configuration file holds more than comments and section names."""
    try:
        lines = tree.real(path).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return False
    return any(line.strip() and line.strip()[0] not in "#;[" for line in lines)
