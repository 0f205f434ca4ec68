"""The options of pycoredump.conf: names, defaults, documentation. The manual and the example are made from this table.

Runs before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

from pycoredump import values
from pycoredump.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Option(Record):
    """One option of the [Coredump] section."""

    name: str
    field: str  # of Config
    parse: Callable[[str], object]
    default: str  # as one would write it
    text: str  # for the manual and the example file


OPTIONS = (
    Option(
        name="Storage",
        field="storage",
        parse=values.storage,
        default="external",
        text="Where a core is kept: external (a file in Directory=), journal (in the journal entry itself, up to "
        "JournalSizeMax=) or none (only the entry; its backtrace is still made). A core for a journal that is not there becomes a file.",
    ),
    Option(
        name="Compress",
        field="compress",
        parse=values.boolean,
        default="yes",
        text="Compress cores. With no, the archive is still a .zst file, but its frames hold the bytes as they are "
        "(runs of zeros excepted): every tool can read it, and nothing is spent on compression.",
    ),
    Option(
        name="CompressionLevel",
        field="compression_level",
        parse=values.level,
        default="1",
        text="Level of zstd. 1 needs up to 3 % more space than the 3 of others on mixed memory, at 1.5 to 1.8 times the speed.",
    ),
    Option(
        name="Directory",
        field="directory",
        parse=values.absolute,
        default="/var/core",
        text="Where archives are kept. It is made, owned by root with mode 0711, if it does not exist.",
    ),
    Option(
        name="ProcessSizeMax",
        field="process_size_max",
        parse=values.size_or_infinity,
        default="32G",
        text="Most bytes of memory that are kept for the backtraces where the core itself is not (Storage=none). What is more "
        "is left out by worth, not by position: large processes have backtraces, too. 0: no backtraces, and with Storage=none "
        "nothing but the entry.",
    ),
    Option(
        name="ExternalSizeMax",
        field="external_size_max",
        parse=values.size_or_infinity,
        default="32G",
        text="Most bytes of an archive, as it lies on the disk. A core that would need more is made smaller by "
        "leaving out what is worth least; its backtraces stay whole.",
    ),
    Option(
        name="JournalSizeMax",
        field="journal_size_max",
        parse=values.journal_size,
        default="767M",
        text="The same for Storage=journal, on the core as it goes into the entry (uncompressed). At most 767M: journald refuses more.",
    ),
    Option(
        name="MaxUse",
        field="max_use",
        parse=values.share,
        default="",
        text="Most bytes that all archives together may use; older ones are removed, those of the user with the most "
        "bytes first. Empty: a tenth of the file system, from 1M to 4G. 0: no limit.",
    ),
    Option(
        name="KeepFree",
        field="keep_free",
        parse=values.share,
        default="",
        text="Bytes of the file system that stay free, also for the core being written, which is made smaller to fit. "
        "Empty: 15 % of the file system, at most 4G. 0: no limit.",
    ),
    Option(
        name="Content",
        field="content",
        parse=values.contents,
        default="full",
        text="What is kept: full (all that the kernel would write), budget (at most Budget=, by worth) or stacks (only what a "
        "backtrace of all threads needs). Several PATTERN:KIND may stand before, matched against the "
        "executable's path or its last part: Content=/usr/lib/jvm/*:budget qemu-*:stacks full",
    ),
    Option(
        name="Budget",
        field="budget",
        parse=values.size,
        default="64M",
        text="Most bytes of an archive of Content=budget.",
    ),
    Option(
        name="StackSizeMax",
        field="stack_size_max",
        parse=values.size,
        default="256K",
        text="Bytes kept of each thread's stack, from its stack pointer up, where a budget does not allow all.",
    ),
    Option(
        name="LockedMemory",
        field="locked_memory",
        parse=values.boolean,
        default="yes",
        text="With no, memory that the process had locked (mlock(2)), as programs do with keys, is left out. "
        "MADV_DONTDUMP memory is never in a core.",
    ),
    Option(
        name="CloseThreshold",
        field="close_threshold",
        parse=values.size_or_infinity,
        default="0",
        text="When this much or more of the kernel's stream is unread after the memory is safe, the stream is closed instead of "
        "read to the end, and the process is released at once. 0: always close.",
    ),
    Option(
        name="RateLimitIntervalSec",
        field="rate_limit_interval",
        parse=values.seconds,
        default="10min",
        text="Within this time, at most RateLimitBurst= cores of one program are kept as Content= says; of further ones only "
        "the stacks are, so that a crash loop does not push the first cores off the disk.",
    ),
    Option(
        name="RateLimitBurst",
        field="rate_limit_burst",
        parse=values.number,
        default="500",
        text="See RateLimitIntervalSec=. 0: no limit.",
    ),
    Option(
        name="KeepPerProgram",
        field="keep_per_program",
        parse=values.number,
        default="0",
        text="At most this many archives of one program (by comm) are kept. 0: no limit.",
    ),
    Option(
        name="MaxAgeSec",
        field="max_age",
        parse=values.seconds,
        default="2w",
        text="Archives older than this are removed. infinity: never.",
    ),
    Option(
        name="RedactEnvironment",
        field="redact_environment",
        parse=values.words,
        default="*PASSWORD* *PASSWD* *SECRET* *TOKEN* *API_KEY* *PRIVATE_KEY*",
        text="Names of environment variables (patterns, any case) whose values are not written to the journal and the metadata. "
        "They are still in the core's memory. Empty: none.",
    ),
    Option(
        name="Analysis",
        field="analysis",
        parse=values.boolean,
        default="yes",
        text="Make backtraces, the fault in words and the signature, in a sandbox, after the process was released.",
    ),
    Option(
        name="AnalysisTimeoutSec",
        field="analysis_seconds",
        parse=values.seconds,
        default="20s",
        text="Wall-clock time that the analysis may take; then the entry is written without it.",
    ),
)
BY_NAME = {option.name: option for option in OPTIONS}
