"""Keeping one core: what of it, where its bytes come from, into which file. Everything that happens before the release.

Runs before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

import os
import time

from pycoredump import (
    admission,
    archive,
    budget,
    choice,
    journal,
    metadata,
    pipeline,
    plan,
    retention,
    state,
    store,
)
from pycoredump.errors import PycoredumpError
from pycoredump.heldcore import HeldCore
from pycoredump.kept import Kept
from pycoredump.kept import fields_of as kept_fields
from pycoredump.values import INFINITY, KIB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pycoredump.admission import Admission
    from pycoredump.config import Config
    from pycoredump.crash import Crash
    from pycoredump.entry import Fields
    from pycoredump.heldcopy import HeldCopy
    from pycoredump.pipeline import Pipeline

    Range = tuple[int, int]
    Copied = Callable[[HeldCopy], None]

ANALYSIS_MAX = 64 << 20  # bytes kept for the analysis alone, where nothing is stored
COMPRESSED = 2  # memory compresses at least so well on the average; mixed contents to a third
STACKS = 1 << 20  # bytes of an archive of stacks alone, and of what is no core that we understand
NOTE_PART = 64  # the part of the file that our note may take, at most 1 / NOTE_PART
METADATA_RATIO = 3  # text of /proc compresses to a sixth; the analysis may add as much again


def store_core(
    core: HeldCore,
    crash: Crash,
    config: Config,
    exe: str,
    facts: Fields,
    copied: Copied = lambda _copy: None,
) -> Kept:
    """Store what may be stored. PycoredumpError or OSError if nothing can be.

    `copied` is called when the process is not needed any more, if that is before the end: a copy has it all.
    """
    try:
        kept = _stored(core, crash, config, exe, facts, copied)
    except (PycoredumpError, OSError):
        _copy_stacks(core, config, copied)
        raise
    if kept.fd < 0:
        _copy_stacks(core, config, copied)
    return kept


def _stored(core: HeldCore, crash: Crash, config: Config, exe: str, facts: Fields, copied: Copied) -> Kept:
    directory = store.open_directory(config.directory)
    try:
        admitted = _admit(core, crash, config, directory, exe)
        if admitted.reason:
            return Kept(reason=admitted.reason)
        content = _content(core, crash, config, exe)
        if not admitted.external:
            content = content if admitted.journal else "stacks"
        return _write(core, crash, config, directory, admitted, content, exe, facts, copied)
    finally:
        os.close(directory)


def _admit(core: HeldCore, crash: Crash, config: Config, directory: int, exe: str) -> Admission:
    free, total = _space(directory)
    possible = admission.admit(crash, config, free=INFINITY, total=total)
    size = core.layout.size if core.layout else INFINITY
    if possible.external and free - possible.floor < min(size, possible.file_max):
        need = _expected(core, config, exe, possible.file_max)
        retention.run(directory, config, now=int(time.time()), need=need)
        free, total = _space(directory)
    return admission.admit(crash, config, free=free, total=total)


def _expected(core: HeldCore, config: Config, exe: str, most: int) -> int:
    """About the bytes that the archive will need, at most `most`: older ones are removed for no more than that.

    Not the size of the core: a process of 20 TiB of untouched address space would take everybody's cores with it.
    """
    if core.layout is None or admission.content_for(config, exe) == "stacks":
        return min(STACKS, most)
    size = core.layout.size
    if core.memory is not None:
        size = core.touched(enough=most * COMPRESSED)
    return min(size // COMPRESSED if config.compress else size, most)


def _space(directory: int) -> tuple[int, int]:
    """Free and all bytes of the file system; some (ramfs, some of FUSE) do not know, and say 0."""
    space = os.fstatvfs(directory)
    if not space.f_blocks:
        return INFINITY, 0
    return space.f_frsize * space.f_bavail, space.f_frsize * space.f_blocks


def _content(core: HeldCore, crash: Crash, config: Config, exe: str) -> str:
    if not config.locked_memory and core.memory is None:
        return "stacks"  # which memory was locked, only the process itself tells
    if config.rate_limit_burst and config.rate_limit_interval:
        now = int(time.time())
        stamps = state.stamps(exe or crash.comm, now, keep=config.rate_limit_burst)
        if not admission.within_rate(stamps, now, config):
            return "stacks"
    return admission.content_for(config, exe)


def _write(
    core: HeldCore,
    crash: Crash,
    config: Config,
    directory: int,
    admitted: Admission,
    content: str,
    exe: str,
    facts: Fields,
    copied: Copied,
) -> Kept:
    unnamed = store.Unnamed(directory)
    try:
        writer, kept = _fill(core, config, admitted, content, unnamed.fd, facts, copied)
        if not admitted.external:
            return (
                kept if admitted.journal else Kept(fd=kept.fd, reason="Storage=none", problems=kept.problems)
            )
        problems = _permit(core, crash, exe, unnamed.fd)
        name = unnamed.link(store.file_name(crash, compressed=writer.compressed))
        return kept.replace(file=f"{config.directory}/{name}", problems=kept.problems + problems)
    finally:
        unnamed.discard()


def _fill(
    core: HeldCore,
    config: Config,
    admitted: Admission,
    content: str,
    fd: int,
    facts: Fields,
    copied: Copied,
) -> tuple[archive.Writer, Kept]:
    limit = _file_max(config, admitted, content)
    reserve = sum(len(value) for value in facts.values()) // METADATA_RATIO + 8 * KIB
    kept, writer, planned = _attempt(core, config, admitted, content, fd, limit, reserve, copied)
    if writer.full and not planned.shrunk and core.memory and core.memory.is_there():
        # The disk had less room than it said. What was cut off is the end, the first stack: once more, by worth.
        os.ftruncate(fd, 0)
        limit = min(limit, writer.written + reserve)
        again = _attempt(core, config, admitted, content, fd, limit, reserve, copied, whole=False)
        kept, writer, planned = again[0].replace(reason=again[0].reason or kept.reason), *again[1:]
    kept = kept.replace(content=content, fd=fd, plain=not writer.compressed)
    if admitted.journal:
        writer.settle()
        return writer, kept.replace(size=writer.core_size, journal=True)

    before = writer.core_size
    size = writer.finish(metadata.frame(facts | kept_fields(kept)))
    if size < before and core.layout:
        # The disk had no room even for the metadata, and gave frames for it.
        writer.rehead(plan.cut(planned.head, core.layout, size))
        kept = kept.replace(truncated=True)
    return writer, kept.replace(size=size, frames=tuple(writer.frames), stored=os.fstat(fd).st_size)


def _attempt(
    core: HeldCore,
    config: Config,
    admitted: Admission,
    content: str,
    fd: int,
    limit: int,
    reserve: int,
    copied: Copied,
    *,
    whole: bool = True,
) -> tuple[Kept, archive.Writer, plan.Plan]:
    writer: archive.Writer
    if admitted.journal:
        writer = archive.PlainWriter(fd, limit=limit, floor=admitted.floor, base=journal.CORE_AT)
    else:
        kind = archive.Writer if config.compress else archive.PlainWriter
        writer = kind(fd, limit=limit, reserve=reserve, floor=admitted.floor)
    planned = choice.choose(core, config, content, room=writer.limit, exact=admitted.journal, whole=whole)
    planned = _copy(core, planned, copied)
    done = pipeline.store(
        planned,
        core.source,
        writer,
        level=config.compression_level,
        workers=workers(),
        frame=choice.frame(limit, planned),
    )
    return _finish(core, planned, writer, done), writer, planned


def _copy(core: HeldCore, planned: plan.Plan, copied: Copied) -> plan.Plan:
    """Copy what is planned if that is little, and say so. The plan, which must not ask the process any more then."""
    try:
        copy = core.copy(planned)
    except OSError:
        return planned  # no memory for it: then the process waits
    if copy is None:
        return planned
    copied(copy)
    return planned.replace(runs=lambda: iter(copy.runs))


def _copy_stacks(core: HeldCore, config: Config, copied: Copied) -> None:
    """For the analysis alone: why it crashed is to be known also where no core can be kept."""
    _copy(core, choice.choose(core, config, "stacks", room=ANALYSIS_MAX), copied)


def workers() -> int:
    """One more than processors: while one writes to the disk, the others compress."""
    return (os.cpu_count() or 1) + 1


def _file_max(config: Config, admitted: Admission, content: str) -> int:
    """Bytes that the file may have. RLIMIT_CORE, too, is about the file (setrlimit(2)), and this is the file."""
    if not admitted.external:
        return min(admitted.memory_max, ANALYSIS_MAX if not admitted.journal else INFINITY)
    limit = min(admitted.file_max, admitted.memory_max)
    return min(limit, config.budget) if content == "budget" else limit


def _finish(core: HeldCore, planned: plan.Plan, writer: archive.Writer, done: Pipeline) -> Kept:
    """Make what was written a core that says what it lacks."""
    writer.settle()  # zeros at the end of the core wait for their frame until now: without it, they do not count
    reason = done.stopped
    if not reason and writer.core_size < planned.size:
        reason = "The file system, or the limit, has no room for the end of the core"
    dying = not core.is_whole()
    if dying:
        reason = reason or "The process was killed while its memory was read"
    kept = Kept(
        unreadable=core.unreadable(),
        reason=reason,
        truncated=bool(reason),
        from_memory=core.memory is not None,
        problems=(done.problem,) if done.problem else (),
    )
    layout = core.layout
    if layout is None or not (planned.shrunk or reason):
        return kept

    size = writer.core_size
    head = plan.cut(planned.head, layout, size)
    missing = core.missing(head)
    note = budget.note(layout, missing, room=writer.limit // NOTE_PART)
    if writer.add_note(note):
        head = plan.cut(planned.head, layout, size, note=(size, len(note)))
    writer.rehead(head)
    return kept.replace(dropped=tuple(missing), truncated=dying or bool(missing))


def _permit(core: HeldCore, crash: Crash, exe: str, fd: int) -> tuple[str, ...]:
    store.set_attributes(fd, store.attributes(crash, exe))
    if core.layout and crash.uid is not None and admission.may_read(crash, core.layout.auxv):
        try:
            store.allow_reading(fd, crash.uid)
        except OSError as e:
            return (f"User {crash.uid} cannot be given read access to the core: {e.strerror}",)
    return ()
