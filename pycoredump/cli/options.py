"""The verbs and options of pycoredumpctl(1). The completions and the manual are checked against this table."""

from __future__ import annotations

import getopt

from pycoredump.errors import ArgumentError
from pycoredump.record import Record


class Option(Record):
    """One option. `value` is what its argument is called, "" if it takes none."""

    name: str  # long, without dashes; "" for -n and -1, which coredumpctl has as short ones only
    short: str = ""
    value: str = ""
    verbs: tuple[str, ...] = ()  # () for all
    text: str = ""


class Verb(Record):
    """One verb; `arguments` as the usage line shows them."""

    name: str
    arguments: str
    text: str


VERBS = (
    Verb(name="list", arguments="[MATCH...]", text="List crashes, newest last (the default)"),
    Verb(name="info", arguments="[MATCH...]", text="Everything about a crash, by default the newest"),
    Verb(
        name="dump",
        arguments="[MATCH...]",
        text="Write the newest matching core to standard output or a file",
    ),
    Verb(name="debug", arguments="[MATCH...]", text="Open the newest matching core in a debugger"),
    Verb(name="stats", arguments="[MATCH...]", text="What crashes most, and when"),
    Verb(name="watch", arguments="[MATCH...]", text="Follow crashes as they happen"),
    Verb(name="remove", arguments="MATCH...", text="Remove the archives of matching crashes"),
    Verb(name="vacuum", arguments="", text="Remove archives until the limits hold"),
    Verb(
        name="selftest", arguments="", text="Crash small programs by every signal and check what is recorded"
    ),
    Verb(name="status", arguments="", text="Whether crashes are caught, and what to do if not"),
)
SEARCH = ("list", "info", "dump", "debug", "stats", "remove")
SHOWN = (*SEARCH, "watch")

OPTIONS = (
    Option(name="help", short="h", text="Show this help"),
    Option(name="version", text="Show the version"),
    Option(name="no-pager", text="Do not start a pager"),
    Option(name="no-legend", verbs=("list", "stats", "selftest"), text="Do not print the column headers"),
    Option(name="json", value="pretty|short|off", text="Print JSON"),
    Option(name="debugger", value="DEBUGGER", verbs=("debug",), text="Use this debugger ($SYSTEMD_DEBUGGER, gdb)"),
    Option(
        name="debugger-arguments", short="A", value="ARGS", verbs=("debug",), text="Pass these arguments to the debugger"
    ),
    Option(name="", short="n", value="INT", verbs=("list", "info", "stats", "watch"), text="At most so many (stats: lines of a table)"),
    Option(name="", short="1", verbs=("list", "info", "stats", "watch"), text="The newest, as -r -n 1"),
    Option(name="since", short="S", value="DATE", verbs=SEARCH, text="Only crashes since then"),
    Option(name="until", short="U", value="DATE", verbs=SEARCH, text="Only crashes until then"),
    Option(name="field", short="F", value="FIELD", verbs=("list", "info"), text="Print all values of a journal field"),
    Option(name="output", short="o", value="FILE", verbs=("dump", "stats"), text="Write there"),
    Option(name="range", value="START-END", verbs=("dump",), text="Only these addresses of memory, as raw bytes"),
    Option(name="thread", value="TID", verbs=("dump",), text="Only this thread's stack, as raw bytes"),
    Option(name="budget", value="SIZE", verbs=("dump",), text="A smaller core, stacks first: as much as fits SIZE compressed"),
    Option(name="file", value="GLOB", verbs=SHOWN, text="Use these journal files"),
    Option(name="directory", short="D", value="DIR", verbs=SHOWN, text="Use the journal files in a directory"),
    Option(name="root", value="DIR", verbs=(*SHOWN, "vacuum"), text="Work on the system in this tree"),
    Option(name="reverse", short="r", verbs=("list", "info"), text="Newest first"),
    Option(name="quiet", short="q", text="Do not say what might be missing, nor ask"),
    Option(name="all", verbs=SHOWN, text="Entries of other machines, too"),
    Option(name="all-fields", verbs=("info",), text="All fields, whole"),
    Option(name="debug-dir", value="DIR", verbs=("info",), text="Analyse again, with debug files from there, too"),
    Option(name="sysroot", value="DIR", verbs=("info",), text="Analyse again, with programs and libraries of the system there"),
    Option(name="debuginfod", verbs=("info",), text="Analyse again, with debug files from the servers of $DEBUGINFOD_URLS"),
    Option(name="prometheus", verbs=("stats",), text="Print metrics for node_exporter's textfile collector"),
    Option(name="exec", value="COMMAND", verbs=("watch",), text="Run this for each crash, its facts in the environment"),
    Option(name="yes", short="y", verbs=("remove", "vacuum"), text="Do not ask"),
    Option(name="dry-run", verbs=("remove", "vacuum"), text="Only show what would be removed"),
    Option(name="max-use", value="SIZE", verbs=("vacuum",), text="At most so many bytes of archives"),
    Option(name="keep-free", value="SIZE", verbs=("vacuum",), text="Free at least so many bytes of the file system"),
    Option(name="older-than", value="SPAN", verbs=("vacuum",), text="All archives older than this"),
    Option(name="keep-per-program", value="INT", verbs=("vacuum",), text="At most so many archives of a program"),
    Option(name="keep", verbs=("selftest",), text="Leave the archives of the test"),
)  # fmt: skip
ALIASES = {"gdb": "debug"}
BY_FLAG = {f"--{option.name}": option for option in OPTIONS if option.name} | {
    f"-{option.short}": option for option in OPTIONS if option.short
}


class Command(Record):
    """A command line, taken apart. The values of `options` are "" where the option takes none."""

    verb: str
    arguments: tuple[str, ...]
    options: dict[str, list[str]]  # by long name, or short where there is no other

    def has(self, name: str) -> bool:
        return name in self.options

    def get(self, name: str, default: str = "") -> str:
        return self.options[name][-1] if name in self.options else default


def parse(words: list[str]) -> Command:
    """The command. Options may stand anywhere, as in systemd's tools. ArgumentError."""
    short = "".join(option.short + (":" if option.value else "") for option in OPTIONS if option.short)
    long = [option.name + ("=" if option.value else "") for option in OPTIONS if option.name]
    try:
        pairs, arguments = getopt.gnu_getopt(words, short, long)
    except getopt.GetoptError as e:
        raise ArgumentError(f"{e.msg[:1].upper()}{e.msg[1:]}", hint="See pycoredumpctl --help.") from None

    options: dict[str, list[str]] = {}
    for flag, value in pairs:
        option = BY_FLAG[flag]
        options.setdefault(option.name or option.short, []).append(value)
    verb = ALIASES.get(arguments[0], arguments[0]) if arguments else "list"
    if verb == "help":
        options["help"] = [""]
    elif verb not in {one.name for one in VERBS}:
        raise ArgumentError(f"{verb!r} is not a verb", hint="See pycoredumpctl --help.")
    command = Command(verb=verb, arguments=tuple(arguments[1:]), options=options)
    _check(command)
    return command


def _check(command: Command) -> None:
    if command.has("help") or command.has("version"):
        return
    for name in command.options:
        option = next(one for one in OPTIONS if name in (one.name, one.short))
        if option.verbs and command.verb not in option.verbs:
            flag = f"--{option.name}" if option.name else f"-{option.short}"
            raise ArgumentError(
                f"{flag} is not an option of {command.verb}", hint=f"It is for {', '.join(option.verbs)}."
            )
    for name in ("field", "output", "thread", "range", "budget"):
        if len(command.options.get(name, [])) > 1:
            raise ArgumentError(f"--{name} may be given once only")
    if command.has("directory") + command.has("root") + command.has("file") > 1:
        raise ArgumentError("--root, --directory and --file exclude each other")
    if command.has("range") + command.has("thread") + command.has("budget") > 1:
        raise ArgumentError("--range, --thread and --budget exclude each other")
    if command.get("json", "off") not in ("short", "pretty", "off"):
        raise ArgumentError(f"--json={command.get('json')!r} is unknown", hint="Write short, pretty or off.")


def count(command: Command) -> int | None:
    """What -n or -1 says; None for all. ArgumentError."""
    if command.has("1"):
        return 1
    if not command.has("n"):
        return None
    text = command.get("n")
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) > 0):
        raise ArgumentError(f"-n {text!r} is not a number above 0")
    return int(text)


def usage() -> str:
    """The text of --help."""
    lines = [
        "pycoredumpctl [OPTIONS...] VERB [MATCH...]",
        "",
        "What crashed, why, and into the debugger.",
        "",
        "Verbs:",
    ]
    lines += [f"  {f'{verb.name} {verb.arguments}':<22} {verb.text}" for verb in VERBS]
    lines += [
        "",
        "A match is a PID, a comm, a /path of an executable, FIELD=VALUE, or the path of an archive.",
        "",
        "Options:",
    ]
    for option in OPTIONS:
        short = f"-{option.short}" if option.short else "  "
        long = f"--{option.name}" if option.name else ""
        equals = "=" if option.name and option.value else " " if option.value else ""
        verbs = f" ({', '.join(option.verbs)})" if option.verbs and len(option.verbs) < 4 else ""
        lines.append(f"  {short} {long + equals + option.value:<29} {option.text}{verbs}")
    lines += ["", "See pycoredumpctl(1)."]
    return "\n".join(lines)
