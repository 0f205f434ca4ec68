"""Finds the script in an interpreter's command line."""

from __future__ import annotations

from pycoredump.record import Record

CODE_MAX = 80  # characters of code given on the command line


class Options(Record):
    """How one interpreter reads its arguments."""

    code: str = ""  # letters of options whose argument is code
    module: str = ""  # letters of options whose argument is the name of a module
    valued: str = ""  # letters of options that take an argument, in the same word or the next
    attached: str = ""  # letters whose argument, if any, is the rest of the word
    words: frozenset[str] = frozenset()  # long options that take the next word
    code_words: frozenset[str] = frozenset()  # long options whose next word is code
    file: str = ""  # letters of options whose argument is the script


def script(arguments: tuple[str, ...], options: Options) -> str:
    """The script's path as given, `-c CODE…`, `-m MODULE`, or "" if none is named."""
    at = 1
    while at < len(arguments):
        word = arguments[at]
        if word == "--":
            return _at(arguments, at + 1)
        if word in ("", "-") or word[:1] not in "-+":
            return "" if word == "-" else word
        if word.startswith("--"):
            if word in options.code_words:
                return _code(word, _at(arguments, at + 1))
            at += 2 if word in options.words else 1
            continue
        found, taken = _letters(word, _at(arguments, at + 1), options)
        if found:
            return found
        at += taken
    return ""


def _letters(word: str, following: str, options: Options) -> tuple[str, int]:
    """What a word of short options names, and how many words it takes."""
    for place, letter in enumerate(word[1:], 1):
        rest = word[place + 1 :]
        if letter in options.code:
            return _code(f"-{letter}", rest or following), 2
        if letter in options.module:
            return f"-{letter} {rest or following}", 2
        if letter in options.file:
            return rest or following, 2
        if letter in options.valued:
            return "", 1 if rest else 2
        if letter in options.attached:
            break
    return "", 1


def _code(option: str, code: str) -> str:
    line = " ".join(code.split())
    return f"{option} {line}" if len(line) <= CODE_MAX else f"{option} {line[: CODE_MAX - 1]}…"


def _at(arguments: tuple[str, ...], at: int) -> str:
    return arguments[at] if at < len(arguments) else ""
