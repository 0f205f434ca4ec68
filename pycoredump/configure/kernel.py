"""The running kernel's settings, read and set under /proc/sys."""

from __future__ import annotations

from pycoredump.configure import sysctl
from pycoredump.errors import PycoredumpError

PROC_SYS = "/proc/sys"


class Kernel:
    """The settings of the kernel that runs now."""

    def __init__(self, directory: str = PROC_SYS) -> None:
        self.directory = directory

    def read(self, key: str) -> str | None:
        """The value, None if the kernel has no such setting."""
        try:
            with open(self._path(key), encoding="utf-8", errors="surrogateescape") as file:
                return file.read().rstrip("\n")
        except OSError:
            return None

    def values(self) -> dict[str, str]:
        """All settings of ours that the kernel has."""
        found = {key: self.read(key) for key in sysctl.ORDER}
        return {key: value for key, value in found.items() if value is not None}

    def write(self, key: str, value: str) -> None:
        """Set a value. PycoredumpError if the kernel refuses it or takes another."""
        try:
            with open(self._path(key), "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(f"{value}\n")
        except OSError as e:
            raise PycoredumpError(
                f"Cannot set {key}={value}: {e.strerror}", hint="root of the host may, a container's may not"
            ) from e

        now = self.read(key)
        if now != value:
            raise PycoredumpError(f"The kernel took {key}={now} in the place of {value!r}")

    def _path(self, key: str) -> str:
        return f"{self.directory}/{key.replace('.', '/')}"

    def pending(self, wanted: dict[str, str]) -> dict[str, tuple[str, str]]:
        """What would have to be set, in the order of setting: key -> (value now, value wanted)."""
        now = self.values()
        return {
            key: (now[key], wanted[key])
            for key in sysctl.ORDER
            if key in wanted and key in now and not sysctl.accepts(key, now[key], wanted[key])
        }

    def restore(self, before: dict[str, tuple[str, str]]) -> list[str]:
        """Put back what was there, in the reverse order, where the value is still the one we set."""
        restored = []
        for key in reversed(sysctl.ORDER):
            if key in before and self.read(key) == before[key][1]:
                self.write(key, before[key][0])
                restored.append(f"{key} = {before[key][0]}")
        return restored
