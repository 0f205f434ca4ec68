"""pycoredumpctl selftest: crash small programs by every signal, and check what is recorded of each."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
import time

from pycoredump.cli import archives, crashers, matches, options, screen, search, trials
from pycoredump.cli.incident import Incident, presence
from pycoredump.cli.incidents import Incidents
from pycoredump.cli.screen import Style
from pycoredump.cli.table import Table
from pycoredump.cli.trials import Trial
from pycoredump.crash import HANDLER
from pycoredump.errors import PycoredumpError
from pycoredump.record import Record

PATTERN = "/proc/sys/kernel/core_pattern"
ENTRY_SECONDS = 30  # until an entry must be there
END_SECONDS = 20  # until a crasher must be dead
USER = 60123  # of the trial of access where the host has no regular user; needs no account
PASSED, FAILED, SKIPPED = "passed", "FAILED", "skipped"
COLOURS = {PASSED: screen.GREEN, FAILED: screen.RED, SKIPPED: screen.GREY}


class Outcome(Record):
    """What came of one trial."""

    trial: str
    way: str
    state: str
    pid: int = 0
    seconds: float = 0.0  # from the crash to its entry
    core: str = ""  # the word of its presence
    file: str = ""
    detail: str = ""


def run(command: options.Command) -> int:
    """1 if a trial failed. PycoredumpError if no crash can arrive at all."""
    _note_pattern()
    found = search.incidents(command)
    outcomes = [_once(trial, found) for trial in _all()]
    outcomes.append(_missing_system_call())
    outcomes.append(_emt())
    if not command.has("keep"):
        _tidy(outcomes, found.place.cores)
    if command.get("json", "off") != "off":
        rows = [{name: getattr(one, name) for name in Outcome._fields} for one in outcomes]
        print(screen.json_text(rows, command.get("json")))
    else:
        _print(command, outcomes)
    return 1 if any(one.state == FAILED for one in outcomes) else 0


def _note_pattern() -> None:
    with open(PATTERN, encoding="utf-8", errors="backslashreplace") as file:
        pattern = file.read().strip()
    if not pattern.startswith("|"):
        raise PycoredumpError(
            f"kernel.core_pattern is {pattern!r}: crashes are handed to no program",
            hint="pycoredump-configure apply registers the handler.",
        )
    if not pattern.startswith(f"|{HANDLER} "):
        print(
            f"Hint: kernel.core_pattern starts {screen.shown(pattern[1:])}, not {HANDLER}", file=sys.stderr
        )


def _all() -> list[Trial]:
    return [*trials.TRIALS, trials.of_user(_regular_user())]


def _regular_user() -> int:
    import pwd

    from pycoredump import admission

    if os.geteuid() != 0:
        return os.geteuid()
    regular = [one.pw_uid for one in pwd.getpwall() if admission.is_regular_user(one.pw_uid)]
    return min(regular, default=USER)


def _once(trial: Trial, found: Incidents) -> Outcome:
    outcome = Outcome(trial=trial.name, way=trial.way, state=FAILED)
    limit = _limit(trial)
    if isinstance(limit, str):
        return outcome.replace(detail=limit)
    try:
        pid, status = crash(trial, limit)
    except OSError as e:
        return outcome.replace(state=SKIPPED, detail=f"cannot be started: {e.strerror}")
    outcome = outcome.replace(pid=pid)
    if status != -signal.Signals[trial.signal]:
        return outcome.replace(detail=f"the program ended with status {status}, not by {trial.signal}")
    return _recorded(trial, outcome, found)


def _limit(trial: Trial) -> int | str:
    """The limit of the crash, or why it cannot be had."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    wanted = trial.limit if trial.limit is not None else hard
    if hard != resource.RLIM_INFINITY and (hard < least_limit() if trial.limit is None else hard < wanted):
        return f"the hard RLIMIT_CORE of this session is {hard} bytes (pycoredump-configure apply, and log in again)"
    return wanted


def least_limit() -> int:
    """Bytes: the least RLIMIT_CORE that allows a core."""
    return os.sysconf("SC_PAGESIZE")


def crash(trial: Trial, limit: int) -> tuple[int, int]:
    """Start the program and wait for its end: its PID and exit status, negative for a signal. OSError."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]

    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (limit, hard))
        if trial.user is not None and os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(trial.user, trial.user, trial.user)
            os.setresuid(trial.user, trial.user, trial.user)

    # For another user, the script comes through a descriptor: its path may be closed to them.
    with open(crashers.__file__, "rb") as script:
        path = crashers.__file__ if trial.user is None else f"/proc/self/fd/{script.fileno()}"
        child = subprocess.Popen(
            [sys.executable, "-IS", path, trial.crasher],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            preexec_fn=prepare, pass_fds=[script.fileno()], cwd="/", env={"PATH": "/usr/bin:/bin"},
        )  # fmt: skip
    with child:
        try:
            if trial.send and child.stdout is not None:
                child.stdout.readline()
                os.kill(child.pid, signal.Signals[trial.send])
            return child.pid, child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.pid, child.wait()


def _recorded(trial: Trial, outcome: Outcome, found: Incidents) -> Outcome:
    started = time.monotonic()
    since = search.now() - (END_SECONDS + 5) * 1_000_000
    wanted = matches.Matches(terms=(("COREDUMP_PID", str(outcome.pid)),), since=since)
    while not (recorded := _look(found, wanted)):
        if time.monotonic() - started > ENTRY_SECONDS:
            return outcome.replace(
                detail=f"no entry in {ENTRY_SECONDS} s; `journalctl -t pycoredump` may tell why"
            )
        time.sleep(0.05)
    seconds, (one, where) = time.monotonic() - started, recorded
    detail = "; ".join(trials.faults(trial, one, where))
    return outcome.replace(
        state=FAILED if detail else PASSED,
        seconds=round(seconds, 3),
        core=presence(one).word,
        file=one.file,
        detail=detail,
    )


def _look(found: Incidents, wanted: matches.Matches) -> tuple[Incident, Incidents] | None:
    fresh = Incidents(found.place, wanted)
    for one in fresh.newest_first():
        # The archive is there before the entry, which tells more: only without a journal is it taken.
        if not one.archived or fresh.entries is None:
            return one, fresh
    return None


def _missing_system_call() -> Outcome:
    """What the system call that does not exist does by itself."""
    trial = Trial(name="syscall(999)", way="without a filter", crasher="enosys", signal="SIGSYS")
    _, status = crash(trial, 0)
    right = status == errno.ENOSYS
    return Outcome(
        trial=trial.name,
        way=trial.way,
        state=PASSED if right else FAILED,
        core="-",
        detail="ENOSYS: only a filter makes it a signal" if right else f"status {status}",
    )


def _emt() -> Outcome:
    return Outcome(
        trial="SIGEMT", way="an emulator trap", state=SKIPPED, core="-", detail="alpha, mips and sparc only"
    )


def _tidy(outcomes: list[Outcome], directory: str) -> None:
    """Remove the archives of the trials: what their own metadata say is of a process of ours."""
    if not os.access(directory, os.W_OK):
        return
    for outcome in outcomes:
        if os.path.dirname(outcome.file) != directory:
            continue
        if archives.single(outcome.file).get("COREDUMP_PID") == str(outcome.pid):
            with contextlib.suppress(OSError):
                os.unlink(outcome.file)


def _print(command: options.Command, outcomes: list[Outcome]) -> None:
    style = Style(colour=screen.wants_colour(tty=sys.stdout.isatty()))
    table = Table(("TRIAL", "BY", "RESULT", "CORE", "SECONDS", "DETAIL"), right=("SECONDS",))
    for one in outcomes:
        table.add(
            one.trial,
            one.way,
            one.state,
            one.core or "-",
            f"{one.seconds:.2f}" if one.core not in ("", "-") else "-",
            screen.shown(one.detail),
            codes={2: COLOURS[one.state]},
        )
    for line in table.lines(style, legend=not command.has("no-legend")):
        print(line.rstrip())
    failed = sum(one.state == FAILED for one in outcomes)
    print()
    print(f"{failed} of {len(outcomes)} trials failed" if failed else "every crash was caught")
