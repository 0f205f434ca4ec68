"""Readable Rust names: the legacy scheme (an Itanium look-alike with a hash) and v0 (RFC 2603).

The hashes are left out, as gdb and `rustfilt` without options leave them out.
"""

from __future__ import annotations

import re

DEPTH_MAX = 120
STEPS_MAX = 5_000
TEXT_MAX = 16 << 10  # characters
NAME_MAX = 8 << 10

_LEGACY = re.compile(r"_ZN(.+)17h[0-9a-f]{16}E(\..*)?$", re.ASCII)
_ESCAPES = {"SP": "@", "BP": "*", "RF": "&", "LT": "<", "GT": ">", "LP": "(", "RP": ")", "C": ","}

_BASIC = {
    "a": "i8",
    "b": "bool",
    "c": "char",
    "d": "f64",
    "e": "str",
    "f": "f32",
    "h": "u8",
    "i": "isize",
    "j": "usize",
    "l": "i32",
    "m": "u32",
    "n": "i128",
    "o": "u128",
    "p": "_",
    "s": "i16",
    "t": "u16",
    "u": "()",
    "v": "...",
    "x": "i64",
    "y": "u64",
    "z": "!",
}


class Unreadable(Exception):
    """Not a Rust name, or not one that is known here."""


def legacy(name: str) -> str:
    """`_ZN3foo3bar17h<16 hex digits>E`. Unreadable if it is another name."""
    found = _LEGACY.match(name) if len(name) <= NAME_MAX else None
    if found is None:
        raise Unreadable

    parts, at, text = [], 0, found[1]
    while at < len(text):
        digits = re.match(r"[1-9][0-9]{0,5}", text[at:])
        if digits is None:
            raise Unreadable
        at += len(digits[0])
        part = text[at : at + int(digits[0])]
        if len(part) != int(digits[0]):
            raise Unreadable
        parts.append(_unescape(part))
        at += len(part)
    return "::".join(parts)


def _unescape(part: str) -> str:
    if part.startswith("_$"):
        part = part[1:]
    text = ""
    at = 0
    while at < len(part):
        if part[at] == "$":
            end = part.find("$", at + 1)
            code = part[at + 1 : end] if end > 0 else ""
            if code in _ESCAPES:
                text += _ESCAPES[code]
            elif (
                code[:1] == "u" and re.fullmatch(r"[0-9a-f]{1,6}", code[1:]) and int(code[1:], 16) < 0x110000
            ):
                text += chr(int(code[1:], 16))
            else:
                raise Unreadable
            at = end + 1
        elif part.startswith("..", at):
            text += "::"
            at += 2
        else:
            text += part[at]
            at += 1
    return text


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.steps = 0
        self.written = 0
        self.lifetimes = 0

    def next(self) -> str:
        if self.at >= len(self.text):
            raise Unreadable
        self.at += 1
        return self.text[self.at - 1]

    def take(self, letter: str) -> bool:
        if self.text.startswith(letter, self.at):
            self.at += len(letter)
            return True
        return False

    def enter(self) -> None:
        self.depth += 1
        self.steps += 1
        if self.depth > DEPTH_MAX or self.steps > STEPS_MAX:
            raise Unreadable

    def made(self, text: str) -> str:
        # Back references can double a name with every letter.
        self.depth -= 1
        if len(text) > TEXT_MAX:
            raise Unreadable
        return text

    def base62(self) -> int:
        if self.take("_"):
            return 0
        value = 0
        while not self.take("_"):
            letter = self.next()
            if not letter.isascii() or not letter.isalnum() or value >> 64:
                raise Unreadable
            digit = int(letter, 36)
            value = value * 62 + digit + (26 if letter.isupper() else 0)
        return value + 1

    def disambiguator(self) -> int:
        return self.base62() + 1 if self.take("s") else 0

    def identifier(self) -> str:
        puny = self.take("u")
        digits = ""
        while self.text[self.at : self.at + 1].isdigit() and len(digits) < 6:
            digits += self.next()
            if digits == "0":
                break
        if not digits:
            raise Unreadable
        self.take("_")
        end = self.at + int(digits)
        if end > len(self.text):
            raise Unreadable
        text, self.at = self.text[self.at : end], end
        return _punycode(text) if puny else text

    def back(self) -> int:
        """Where a back reference leads; the marker has been read."""
        start = self.at - 1
        target = self.base62()
        if target >= start:
            raise Unreadable
        return target

    def path(self, *, in_value: bool) -> str:
        self.enter()
        kind = self.next()
        if kind == "C":
            self.disambiguator()
            text = self.identifier()
        elif kind in ("M", "X"):
            self.disambiguator()
            self.path(in_value=False)
            text = f"<{self.type()}"
            text += f" as {self.path(in_value=False)}>" if kind == "X" else ">"
        elif kind == "Y":
            text = f"<{self.type()} as {self.path(in_value=False)}>"
        elif kind == "N":
            text = self.nested(in_value=in_value)
        elif kind == "I":
            text = self.path(in_value=in_value)
            arguments = []
            while not self.take("E"):
                arguments.append(self.argument())
            text += f"{'::' if in_value else ''}<{', '.join(arguments)}>"
        elif kind == "B":
            target = self.back()
            here, self.at = self.at, target
            text = self.path(in_value=in_value)
            self.at = here
        else:
            raise Unreadable
        return self.made(text)

    def nested(self, *, in_value: bool) -> str:
        namespace = self.next()
        if not namespace.isalpha():
            raise Unreadable
        outer = self.path(in_value=in_value)
        number = self.disambiguator()
        name = self.identifier()
        if namespace.islower():
            return f"{outer}::{name}" if name else outer
        word = {"C": "closure", "S": "shim"}.get(namespace, namespace)
        return f"{outer}::{{{word}{':' if name else ''}{name}#{number}}}"

    def argument(self) -> str:
        if self.take("L"):
            return self.lifetime(self.base62())
        if self.take("K"):
            return self.constant()
        return self.type()

    def lifetime(self, index: int) -> str:
        if index == 0:
            return "'_"
        depth = self.lifetimes - index
        if depth < 0:
            raise Unreadable
        return f"'{chr(ord('a') + depth)}" if depth < 26 else f"'_{depth}"

    def type(self) -> str:
        self.enter()
        kind = self.next()
        if kind in _BASIC:
            text = _BASIC[kind]
        elif kind in "RQ":
            lifetime = self.lifetime(self.base62()) + " " if self.take("L") else ""
            lifetime = "" if lifetime == "'_ " else lifetime
            text = f"&{lifetime}{'mut ' if kind == 'Q' else ''}{self.type()}"
        elif kind in "PO":
            text = f"*{'const' if kind == 'P' else 'mut'} {self.type()}"
        elif kind == "S":
            text = f"[{self.type()}]"
        elif kind == "A":
            text = f"[{self.type()}; {self.constant()}]"
        elif kind == "T":
            parts = []
            while not self.take("E"):
                parts.append(self.type())
            text = f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
        elif kind == "F":
            text = self.function()
        elif kind == "D":
            text = self.dynamic()
        elif kind == "B":
            target = self.back()
            here, self.at = self.at, target
            text = self.type()
            self.at = here
        else:
            self.at -= 1
            text = self.path(in_value=False)
        return self.made(text)

    def binder(self) -> tuple[str, int]:
        if not self.take("G"):
            return "", 0
        count = self.base62() + 1
        if count > 100:
            raise Unreadable
        self.lifetimes += count
        return f"for<{', '.join(self.lifetime(count - i) for i in range(count))}> ", count

    def function(self) -> str:
        text, bound = self.binder()
        if self.take("U"):
            text += "unsafe "
        if self.take("K"):
            text += f'extern "{"C" if self.take("C") else self.identifier().replace("_", "-")}" '
        parameters = []
        while not self.take("E"):
            parameters.append(self.type())
        text += f"fn({', '.join(parameters)})"
        if not self.take("u"):
            text += f" -> {self.type()}"
        self.lifetimes -= bound
        return text

    def dynamic(self) -> str:
        text, bound = self.binder()
        traits = []
        while not self.take("E"):
            traits.append(self.dynamic_trait())
        self.lifetimes -= bound
        if not self.take("L"):
            raise Unreadable
        lifetime = self.base62()
        tail = f" + {self.lifetime(lifetime)}" if lifetime else ""
        return f"dyn {text}{' + '.join(traits)}{tail}"

    def dynamic_trait(self) -> str:
        text = self.path(in_value=False)
        bindings = []
        while self.take("p"):
            bindings.append(f"{self.identifier()} = {self.type()}")
        if not bindings:
            return text
        joined = ", ".join(bindings)
        return f"{text[:-1]}, {joined}>" if text.endswith(">") else f"{text}<{joined}>"

    def constant(self) -> str:
        self.enter()
        kind = self.next()
        if kind == "B":
            target = self.back()
            here, self.at = self.at, target
            text = self.constant()
            self.at = here
            return self.made(text)
        if kind == "p":
            return self.made("_")
        if kind not in "ahbcdijlmnostxy":
            raise Unreadable
        sign = "-" if self.take("n") else ""
        digits = ""
        while not self.take("_"):
            digits += self.next()
        if digits.strip("0123456789abcdef") or len(digits) > 32:
            raise Unreadable
        value = int(digits or "0", 16)
        if kind == "b":
            return self.made("true" if value else "false")
        if kind == "c":
            return self.made(repr(chr(value)) if value < 0x110000 else "'?'")
        return self.made(f"{sign}{value}")


def _punycode(text: str) -> str:
    plain, _, coded = text.rpartition("_")
    try:
        return (f"{plain}-{coded}" if plain else coded).encode("ascii").decode("punycode")
    except (UnicodeError, ValueError, OverflowError, IndexError):
        raise Unreadable from None


def v0(name: str) -> str:
    """`_R...`. Unreadable if it is another name."""
    if not name.startswith("_R") or len(name) > NAME_MAX or not name.isascii():
        raise Unreadable
    parser = _Parser(name[2:])
    return parser.path(in_value=True)
