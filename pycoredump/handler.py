"""The way of one crash, from the kernel to the journal, in the order of the design. The kernel starts main().

Runs once per crash on a machine in trouble; tests/test_hot_path.py lists what may be imported before the release.
"""

from __future__ import annotations

import os
import sys
import time

from pycoredump import (
    admission,
    config,
    entry,
    guard,
    journal,
    keep,
    modules,
    procfs,
    retention,
    state,
    store,
)
from pycoredump import crash as crashes
from pycoredump.errors import PycoredumpError
from pycoredump.heldcore import HeldCore
from pycoredump.kept import Kept
from pycoredump.watcher import Watcher
from pycoredump.way import Way
from pycoredump.zstd import PACKAGES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycoredump.config import Config
    from pycoredump.entry import Fields
    from pycoredump.explain import Analysis
    from pycoredump.heldcopy import HeldCopy

STDIN = 0


def main(argv: list[str], *, etc: str = "/etc", lib: str = "/usr/lib") -> int:
    """Handle the crash that the kernel describes in `argv`, core on stdin. 0 if it was recorded."""
    try:
        crash = crashes.parse(argv[1:])
    except PycoredumpError as e:
        journal.log(journal.LOG_ERR, f"A crash was not handled: {e} (arguments: {argv[1:]!r})")
        return 1

    way = Way(crash)
    try:
        secure(way)
        watch(way, etc, lib, *argv)
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
        keep_core(way)
    finally:
        release(way)
        slots.release()
    explain(way)
    recorded = record(way)
    tidy(way)
    return 0 if recorded else 1


def secure(way: Way) -> None:
    """The handler's own safety. A precaution that cannot be taken is named; it does not cost the crash."""
    try:
        way.problems += guard.secure(lambda text: journal.kernel_log(journal.LOG_WARNING, text))
    except OSError as e:
        way.problems.append(f"The handler runs without its precautions: {_sentence(e)}")


def watch(way: Way, *arguments: str) -> None:
    """Have somebody at hand who tells of the crash if we are killed. It can be done without."""
    try:
        way.watcher = Watcher(*arguments)
    except OSError as e:
        way.problems.append(f"Nobody watches the handler: {_sentence(e)}")


def configure(way: Way, *, etc: str, lib: str) -> None:
    way.config, warnings = config.load(etc=etc, lib=lib)
    way.problems += warnings


def gather(way: Way) -> None:
    """Facts from /proc. A process that is gone costs the facts, not the crash."""
    try:
        way.directory = procfs.ProcessDirectory(way.crash.pid, tid=way.crash.tid)
    except OSError as e:
        way.problems.append(f"Cannot read /proc/{way.crash.pid}: {e.strerror}")
        return
    way.process = procfs.gather(way.directory, way.crash)
    way.problems += way.process.problems
    if way.config.analysis:
        way.modules = modules.open_modules(way.directory, way.process)
    if way.crash.rlimit is None:
        way.crash = way.crash.replace(rlimit=procfs.core_limit(way.process))


def announce(way: Way) -> None:
    """Say that it crashed, before anything can go wrong. journald's own crash goes to the kernel log."""
    way.journald = not way.is_journald
    way.log(journal.LOG_INFO, entry.processing(way.crash, way.process))
    for problem in way.problems:
        way.log(journal.LOG_WARNING, problem)


def keep_core(way: Way) -> None:
    """Store the core. Any failure costs the core at most, and is named."""
    try:
        core = HeldCore(STDIN, way.directory)
        way.layout = core.layout
        way.kept = keep.store_core(
            core, way.crash, storable(way), way.exe, way.facts(), lambda copy: copied(way, core, copy)
        )
    except PycoredumpError as e:
        _lost(way, f"{e}. {e.hint}".removesuffix(" "))
    except OSError as e:
        _lost(way, f"Cannot store the core: {e.strerror or e}")
    else:
        way.problems += way.kept.problems
        if way.kept.from_memory and not way.released:
            way.unread = core.unread
        if way.kept.reason and not way.kept.file:
            way.log(journal.LOG_INFO, f"No core of process {way.crash.pid} is stored: {way.kept.reason}")


def storable(way: Way) -> Config:
    """The configuration; but a core for a journal that is not there goes into a file."""
    if way.config.storage == "journal" and not (way.journald and journal.listens()):
        return way.config.replace(storage="external")
    return way.config


def _lost(way: Way, reason: str) -> None:
    way.kept = Kept(reason=reason)
    way.log(journal.LOG_ERR, f"No core of process {way.crash.pid} is stored: {reason}")


def copied(way: Way, core: HeldCore, copy: HeldCopy) -> None:
    """A small core is in our memory: nobody waits for its compression and the disk, and the analysis may begin."""
    way.copy = copy.fd
    way.unread = core.unread
    release(way)
    if way.analysis_slots.try_acquire(way.crash.pid):
        begin(way)


def release(way: Way) -> None:
    """Let the process go: its parent's wait() returns, its service may be restarted.

    The kernel has set the "core dumped" bit by then, whether the stream is read or not (has_dumped is set
    before the first byte is written, fs/binfmt_elf.c); CloseThreshold= has the rest read for those who want it.
    """
    if way.released:
        return
    way.released = True
    try:
        if 0 < way.unread < way.config.close_threshold:
            _drain()
            way.unread = 0
    finally:
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, STDIN)
        os.close(null)


def _drain() -> None:
    while os.read(STDIN, 1 << 20):
        pass


def begin(way: Way) -> None:
    """Start the analysis, in a sandbox; it goes on beside us."""
    if not way.config.analysis or way.config.process_size_max < admission.PAGE:
        return
    try:
        if PACKAGES not in sys.path:
            sys.path.append(PACKAGES)
        from pycoredump import explain as analysis

        copied = way.copy >= 0
        way.analysis = analysis.Analysis(
            way.copy if copied else way.kept.fd,
            way.crash,
            way.process,
            way.modules,
            seconds=way.config.analysis_seconds,
            unit=way.journald and not way.is_manager,
            base=journal.CORE_AT if way.kept.journal and not copied else 0,
        )
    except Exception as e:
        # The world after the release is wide: libraries that do not load, a kernel that refuses, hostile input.
        way.problems.append(f"No analysis: {_sentence(e)}")


def explain(way: Way) -> None:
    """What the analysis found; a failure or time-out costs the backtrace, never the entry."""
    if way.copy < 0 and way.kept.fd < 0:
        return
    try:
        if not way.analysis_slots.held:
            way.analysis_slots.acquire(way.crash.pid)
            begin(way)
        if way.analysis is not None:
            _explain(way, way.analysis)
    except Exception as e:
        way.problems.append(f"No analysis: {_sentence(e)}")
    finally:
        way.analysis_slots.release()
        modules.close(way.modules)


def _explain(way: Way, begun: Analysis) -> None:
    from pycoredump import explain as analysis

    found = begun.finish()
    way.found = analysis.fields(found, way.exe)
    way.message = analysis.message(found)
    way.problems += found.problems
    if way.kept.file:
        analysis.store(way.kept, way.found | {"MESSAGE": entry.text(way.message)})


def record(way: Way) -> bool:
    """The entry, with everything; without journald the archive's metadata is the record. False if neither is."""
    fields = way.entry()
    try:
        problem = _send(way, fields)
    except OSError as e:
        first = fields["MESSAGE"].split(b"\n", 1)[0].decode("utf-8", "backslashreplace")
        where = f" Core: {way.kept.file}." if way.kept.file else ""
        journal.kernel_log(journal.LOG_CRIT, f"{first}{where} (Not in the journal: {e.strerror})")
        problem = ""
    if problem:
        way.log(journal.LOG_WARNING, problem)
    if way.watcher:
        way.watcher.done()
    return True


def _send(way: Way, fields: Fields) -> str:
    if way.kept.journal:
        try:
            journal.send_file(way.kept.fd, way.kept.size, fields)
        except OSError as e:
            _lost(way, f"journald does not take it: {e.strerror}")
            fields = way.entry()
        else:
            return ""
    return journal.send_as(fields, user=way.reader, wait=way.journald)


def tidy(way: Way) -> None:
    """Remove what is too much; never the file just written."""
    if not way.kept.file:
        return
    inode = os.fstat(way.kept.fd).st_ino
    try:
        directory = store.open_directory(way.config.directory)
        for file in retention.run(directory, way.config, now=int(time.time()), keep=inode):
            way.log(journal.LOG_INFO, f"Removed old core {way.config.directory}/{file.name}")
    except (PycoredumpError, OSError) as e:
        way.log(journal.LOG_WARNING, f"Old cores in {way.config.directory} are not removed: {_sentence(e)}")


def _sentence(e: BaseException) -> str:
    if isinstance(e, PycoredumpError):
        return str(e)
    if isinstance(e, OSError) and e.strerror:
        return f"{e.filename}: {e.strerror}" if e.filename else e.strerror
    return f"{type(e).__name__}: {e}"


if __name__ == "__main__":
    sys.exit(main(sys.argv))
