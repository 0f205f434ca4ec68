"""One crash on its way through the handler: the facts as they come, and what went wrong.

Runs before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

import os

from pycoredump import admission, cgroup, config, entry, journal, procfs, state
from pycoredump.kept import Kept, fields_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycoredump.config import Config
    from pycoredump.corefile import Layout
    from pycoredump.crash import Crash
    from pycoredump.entry import Fields
    from pycoredump.explain import Analysis
    from pycoredump.modules import OpenModule
    from pycoredump.procfs import Process
    from pycoredump.watcher import Watcher


class Way:
    """One crash on its way through the handler: the facts as they come, and what went wrong."""

    def __init__(self, crash: Crash) -> None:
        self.crash = crash
        self.problems: list[str] = list(crash.problems)
        self.journald = True  # whether journald may be spoken to: not if it is what crashed
        self.config: Config = config.Config()
        self.process: Process = procfs.Process()
        self.directory: procfs.ProcessDirectory | None = None
        self.layout: Layout | None = None
        self.kept = Kept()
        self.modules: list[OpenModule] = []
        self.found: Fields = {}  # what the analysis adds to the entry
        self.message = ""  # its second part
        self.copy = -1  # a core in our own memory, for the analysis; -1 if there is none
        self.analysis_slots = state.Slots(max(1, (os.cpu_count() or 1) // 2), name="analysis")
        self.analysis: Analysis | None = None  # the analysis that is under way
        self.released = False  # whether the kernel has been let go on with the process
        self.unread = 0  # bytes of the stream that were left in it
        self.watcher: Watcher | None = None  # who tells of the crash if we cannot

    def log(self, priority: int, text: str) -> None:
        journal.log(priority, text, journald=self.journald)

    @property
    def exe(self) -> str:
        """The executable's path as text; "" if it is not known."""
        return entry.exe(self.process.exe).decode("utf-8", "surrogateescape")

    @property
    def reader(self) -> int | None:
        """The user who may read the entry besides root: its environment and arguments are worth as much as the core."""
        if self.layout is None or not admission.may_read(self.crash, self.layout.auxv):
            return None
        return self.crash.uid

    @property
    def is_journald(self) -> bool:
        """Whether journald crashed. By unit or by executable: comm is the process's own to choose."""
        unit = cgroup.placement(self.process.cgroup).unit
        return unit.startswith("systemd-journald") or entry.exe(self.process.exe).endswith(
            b"/systemd-journald"
        )

    @property
    def is_manager(self) -> bool:
        """Whether PID 1 crashed: it starts no unit any more."""
        return self.crash.pid == 1 or cgroup.placement(self.process.cgroup).unit == "init.scope"

    def facts(self) -> Fields:
        """Everything known about the crash so far, as journal fields."""
        fields = entry.from_crash(self.crash, self.process, boot_id=_boot_id())
        if self.layout:
            fields |= entry.from_layout(self.layout)
        fields |= entry.from_process(self.process, self.config)
        if self.unread:
            fields["COREDUMP_STREAM_CLOSED"] = b"1"
        if self.problems:
            fields["COREDUMP_PROBLEMS"] = entry.text("\n".join(self.problems))
        return fields

    def entry(self) -> Fields:
        """The whole entry."""
        fields = self.facts() | fields_of(self.kept) | self.found
        first = entry.summary(fields, dumped=bool(self.kept.file) or self.kept.journal)
        fields["MESSAGE"] = entry.text(f"{first}\n\n{self.message}" if self.message else first)
        return fields


def _boot_id() -> str:
    try:
        fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 64).decode("ascii", "replace").strip().replace("-", "")
    finally:
        os.close(fd)
