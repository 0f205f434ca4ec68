"""The way of one crash, from the kernel to the journal, in the order of the design. The kernel starts main().

Runs once per crash on a machine in trouble; tests/test_hot_path.py lists what may be imported before the release.
"""

from __future__ import annotations

import os
import sys
import time

from pycoredump import (
    admission,
    archive,
    config,
    corefile,
    entry,
    guard,
    journal,
    memory,
    metadata,
    pipeline,
    plan,
    procfs,
    retention,
    state,
    store,
)
from pycoredump import crash as crashes
from pycoredump.errors import PycoredumpError
from pycoredump.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycoredump.admission import Admission
    from pycoredump.config import Config
    from pycoredump.corefile import Layout
    from pycoredump.crash import Crash
    from pycoredump.entry import Fields
    from pycoredump.procfs import Process

STDIN = 0
EARLY_ID = "a9c5bd2d6f5d4c0b8f3c63a2fd6ee8a3"  # MESSAGE_ID of the line that says a crash is being processed


class Kept(Record):
    """What became of the core."""

    file: str = ""  # absolute path of the archive, "" if there is none
    fd: int = -1  # of the archive, still open
    size: int = 0  # bytes of the core that are kept
    stored: int = 0  # bytes of the archive
    frames: tuple[tuple[int, int], ...] = ()
    truncated: bool = False
    dropped: tuple[tuple[int, int], ...] = ()  # (address, bytes) that are not there
    reason: str = ""  # why nothing, or not all, is kept


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
        self.closed_early = False

    def log(self, priority: int, text: str) -> None:
        journal.log(priority, text, journald=self.journald)


def main(argv: list[str], *, etc: str = "/etc", lib: str = "/usr/lib") -> int:
    """Handle the crash that the kernel describes in `argv`, core on stdin. 0 if it was recorded."""
    try:
        problems = guard.secure(lambda text: journal.kernel_log(journal.LOG_WARNING, text))
        crash = crashes.parse(argv[1:])
    except Exception as e:
        journal.log(journal.LOG_ERR, f"A crash was not handled: {_sentence(e)} (arguments: {argv[1:]!r})")
        return 1

    way = Way(crash)
    way.problems += problems
    try:
        return handle(way, etc=etc, lib=lib)
    except BaseException as e:
        # The last line of defence: whatever it was, the crash is in the log.
        journal.kernel_log(journal.LOG_ERR, f"{entry.processing(crash)}: failed: {_sentence(e)}")
        way.problems.append(_sentence(e))
        return 0 if record(way) else 1


def handle(way: Way, *, etc: str, lib: str) -> int:
    """The steps of the design, in its order."""
    configure(way, etc=etc, lib=lib)
    gather(way)
    announce(way)
    slots = state.Slots(os.cpu_count() or 1)
    slots.acquire(way.crash.pid)
    try:
        keep(way)
    finally:
        release(way)
        slots.release()
    recorded = record(way)
    tidy(way)
    return 0 if recorded else 1


def configure(way: Way, *, etc: str, lib: str) -> None:
    way.config, warnings = config.load(etc=etc, lib=lib)
    way.problems += warnings


def gather(way: Way) -> None:
    """Facts from /proc. A process that is gone costs the facts, not the crash."""
    try:
        way.directory = procfs.ProcessDirectory(way.crash.pid)
    except OSError as e:
        way.problems.append(f"Cannot read /proc/{way.crash.pid}: {e.strerror}")
        return
    way.process = procfs.gather(way.directory, way.crash)
    way.problems += way.process.problems


def announce(way: Way) -> None:
    """Say that it crashed, before anything can go wrong. journald's own crash goes to the kernel log."""
    way.journald = not _is_journald(way)
    way.log(journal.LOG_INFO, entry.processing(way.crash))
    for problem in way.problems:
        way.log(journal.LOG_WARNING, problem)


def _is_journald(way: Way) -> bool:
    # By unit or by executable: comm is the process's own to choose.
    return b"systemd-journald" in way.process.cgroup or way.process.exe.endswith(b"/systemd-journald")


def keep(way: Way) -> None:
    """Store the core. Any failure costs the core at most, and is named."""
    try:
        layout, head = _scan()
        way.layout = layout
        way.kept = _store(way, layout, head)
    except PycoredumpError as e:
        _lost(way, f"{e}. {e.hint}".removesuffix(" "))
    except OSError as e:
        _lost(way, f"Cannot store the core: {e.strerror or e}")


def _lost(way: Way, reason: str) -> None:
    way.kept = Kept(reason=reason)
    way.log(journal.LOG_ERR, f"No core of process {way.crash.pid} is kept: {reason}")


def _scan() -> tuple[Layout | None, bytes]:
    """The layout, or None and what was read if the stream is no ELF core that we understand."""
    try:
        layout = corefile.scan(corefile.reader(lambda size: os.read(STDIN, size)))
    except corefile.TruncatedCore as e:
        return None, e.head
    return layout, layout.head


def _store(way: Way, layout: Layout | None, head: bytes) -> Kept:
    directory = store.open_directory(way.config.directory)
    try:
        admitted = _admit(way, directory, layout)
        if admitted.reason:
            way.log(journal.LOG_INFO, f"No core of process {way.crash.pid} is kept: {admitted.reason}")
        if not admitted.external:
            return Kept(reason=admitted.reason or f"Storage={way.config.storage}")
        return _write(way, directory, layout, head, admitted)
    finally:
        os.close(directory)


def _admit(way: Way, directory: int, layout: Layout | None) -> Admission:
    free, total = _space(directory)
    size = layout.size if layout else 0
    if way.config.storage == "external" and free - admission.keep_free(way.config, total) < size:
        retention.run(directory, way.config, now=int(time.time()), need=size)
        free, total = _space(directory)
    return admission.admit(way.crash, way.config, free=free, total=total)


def _space(directory: int) -> tuple[int, int]:
    space = os.fstatvfs(directory)
    return space.f_frsize * space.f_bavail, space.f_frsize * space.f_blocks


def _write(way: Way, directory: int, layout: Layout | None, head: bytes, admitted: Admission) -> Kept:
    unnamed = store.Unnamed(directory)
    try:
        return _fill(way, unnamed, layout, head, admitted)
    finally:
        unnamed.discard()


def _fill(way: Way, unnamed: store.Unnamed, layout: Layout | None, head: bytes, admitted: Admission) -> Kept:
    kind = archive.Writer if way.config.compress else archive.PlainWriter
    writer = kind(unnamed.fd, limit=min(admitted.file_max, admitted.memory_max))
    planned, source = _source(way, layout, head)
    done = pipeline.store(
        planned, source, writer, level=way.config.compression_level, workers=os.cpu_count() or 1
    )
    if done.problem:
        way.problems.append(f"The core is not compressed: {done.problem}")
    kept = Kept(size=writer.core_size, truncated=bool(done.stopped), reason=done.stopped)
    fields = facts(way) | entry_of(kept)
    size = writer.finish(metadata.frame(fields))
    kept = kept.replace(size=size, frames=tuple(writer.frames), stored=os.fstat(unnamed.fd).st_size)
    _permit(way, unnamed.fd)
    name = unnamed.link(store.file_name(way.crash, compressed=writer.compressed))
    return kept.replace(file=f"{way.config.directory}/{name}", fd=unnamed.fd)


def _source(
    way: Way, layout: Layout | None, head: bytes
) -> tuple[plan.Plan, pipeline.StreamSource | pipeline.MemorySource]:
    stream = pipeline.StreamSource(STDIN, len(head))
    if layout is None:
        return plan.foreign(head), stream
    opened = memory.open_memory(way.directory, layout) if way.directory else None
    if opened is None or way.directory is None:
        return plan.stream(layout), stream
    return plan.whole(layout, memory.open_pages(way.directory)), pipeline.MemorySource(opened)


def _permit(way: Way, fd: int) -> None:
    exe = entry.exe(way.process.exe).decode("utf-8", "surrogateescape")
    store.set_attributes(fd, store.attributes(way.crash, exe))
    if way.layout and way.crash.uid is not None and admission.may_read(way.crash, way.layout.auxv):
        try:
            store.allow_reading(fd, way.crash.uid)
        except OSError as e:
            way.problems.append(
                f"User {way.crash.uid} cannot be given read access to the core: {e.strerror}"
            )


def release(way: Way) -> None:
    """Let the process go: its parent's wait() returns, its service may be restarted."""
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, STDIN)
    os.close(null)


def record(way: Way) -> bool:
    """The entry, with everything. Whether it, or at least the archive or the kernel log, holds the crash."""
    fields = facts(way) | entry_of(way.kept)
    fields["MESSAGE"] = entry.text(entry.summary(fields, dumped=bool(way.kept.file)))
    try:
        problem = journal.send_as(
            fields, user=way.crash.uid if admission.is_regular_user(way.crash.uid) else None
        )
    except OSError as e:
        where = f", core in {way.kept.file}" if way.kept.file else ""
        text = fields["MESSAGE"].decode("utf-8", "backslashreplace")
        journal.kernel_log(journal.LOG_CRIT, f"{text}{where} (no journald: {e.strerror})")
        return True
    if problem:
        way.log(journal.LOG_WARNING, problem)
    return True


def tidy(way: Way) -> None:
    """Remove what is too much; never the file just written."""
    if way.kept.fd < 0:
        return
    inode = os.fstat(way.kept.fd).st_ino
    try:
        directory = store.open_directory(way.config.directory)
        for file in retention.run(directory, way.config, now=int(time.time()), keep=inode):
            way.log(journal.LOG_INFO, f"Removed old core {way.config.directory}/{file.name}")
    except (PycoredumpError, OSError) as e:
        way.log(journal.LOG_WARNING, f"Old cores in {way.config.directory} are not removed: {_sentence(e)}")


def facts(way: Way) -> Fields:
    """Everything known about the crash, as journal fields."""
    fields = entry.from_crash(way.crash, boot_id=_boot_id())
    if way.layout:
        fields |= entry.from_layout(way.layout)
    fields |= entry.from_process(way.process, way.config)
    if way.problems:
        fields["COREDUMP_PROBLEMS"] = entry.text("\n".join(way.problems))
    return fields


def entry_of(kept: Kept) -> Fields:
    """What became of the core, as journal fields."""
    fields = {
        "COREDUMP_FILENAME": kept.file,
        "COREDUMP_TRUNCATED": "1" if kept.truncated else "",
        "COREDUMP_KEPT_SIZE": str(kept.size) if kept.size else "",
        "COREDUMP_STORED_SIZE": str(kept.stored) if kept.stored else "",
        "COREDUMP_REASON": kept.reason,
    }
    return {name: entry.text(value) for name, value in fields.items() if value}


def _boot_id() -> str:
    try:
        fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 64).decode("ascii", "replace").strip().replace("-", "")
    finally:
        os.close(fd)


def _sentence(e: BaseException) -> str:
    if isinstance(e, PycoredumpError):
        return str(e)
    if isinstance(e, OSError) and e.strerror:
        return f"{e.filename}: {e.strerror}" if e.filename else e.strerror
    return f"{type(e).__name__}: {e}"


if __name__ == "__main__":
    sys.exit(main(sys.argv))
