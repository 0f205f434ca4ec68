"""Readable C++ names (Itanium C++ ABI, 5.1 "External Names"), worded as c++filt words them.

Types are kept as the text before and after a declarator, since `void (*)(int)` grows in the middle. What
this does not know (rare expressions, mostly) it refuses, and the mangled name stays. One class on purpose:
the grammar is one recursion.
"""

from __future__ import annotations

from pycoredump.analysis.itanium_tables import BUILTINS, OPERATORS, SPECIAL_SUBSTITUTIONS, TWO_LETTER_TYPES

DEPTH_MAX = 120
TEXT_MAX = 16 << 10  # characters; substitutions can double a name with every letter
NAME_MAX = 8 << 10  # characters of the mangled name
STEPS_MAX = 10_000
PACK_MAX = 200  # elements of one pack

DIGITS = frozenset("0123456789")  # str.isdigit() knows others

PLAIN, FUNCTION, ARRAY, DECLARATOR = range(4)


class Unreadable(Exception):
    """The name is not mangled, or in a way that is not known here."""


class Type:
    """A type, or a name in its place: what stands left and right of the thing declared."""

    __slots__ = ("kind", "last", "left", "pack", "reference", "right", "template")

    def __init__(self, left: str, right: str = "", kind: int = PLAIN, reference: str = "") -> None:
        if len(left) + len(right) > TEXT_MAX:
            raise Unreadable
        self.left = left
        self.right = right
        self.kind = kind
        self.reference = reference  # "&" or "&&"
        self.pack: list[Type] | None = None
        self.last = ""  # the last part of a name, for constructors
        self.template = False  # a name that ends in template arguments

    def __str__(self) -> str:
        return self.left + self.right


class Name:
    """What an encoding needs to know of its name."""

    __slots__ = ("no_return", "qualifiers", "template", "text")

    def __init__(
        self, text: str, *, template: bool = False, no_return: bool = False, qualifiers: str = ""
    ) -> None:
        self.text = text
        self.template = template
        self.no_return = no_return  # constructors, destructors, conversions: no return type is mangled
        self.qualifiers = qualifiers  # of the member function


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.steps = 0
        self.substitutions: list[Type] = []
        self.arguments: list[Type] = []  # what T_ means
        self.pack_index = -1  # which element, while a pack expansion is read
        self.pack_size = -1  # of the packs met in it
        self.in_lambda = 0

    # Characters

    def peek(self, text: str) -> bool:
        return self.text.startswith(text, self.at)

    def take(self, text: str) -> bool:
        if self.text.startswith(text, self.at):
            self.at += len(text)
            return True
        return False

    def need(self, text: str) -> None:
        if not self.take(text):
            raise Unreadable

    def next(self, count: int = 1) -> str:
        self.at += count
        if self.at > len(self.text):
            raise Unreadable
        return self.text[self.at - count : self.at]

    def number(self) -> int:
        start = self.at
        while self.at < len(self.text) and self.text[self.at] in DIGITS and self.at - start < 9:
            self.at += 1
        if start == self.at:
            raise Unreadable
        return int(self.text[start : self.at])

    def sequence(self) -> int:
        # [<number>] _: nothing is the first, 0 the second
        if self.take("_"):
            return 0
        value = self.number()
        self.need("_")
        return value + 1

    def enter(self) -> None:
        self.depth += 1
        self.steps += 1
        if self.depth > DEPTH_MAX or self.steps > STEPS_MAX:
            raise Unreadable

    def remember(self, found: Type) -> Type:
        self.substitutions.append(found)
        return found

    # Encodings

    def encoding(self) -> str:
        return self.encoding_and_name()[0]

    def encoding_and_name(self, *, scope: bool = False) -> tuple[str, str]:
        self.enter()
        if self.peek("T") or self.peek("G"):
            text = short = self.special()
        else:
            name = self.name()
            short = name.text
            bare = self.at >= len(self.text) or self.text[self.at] in "E."
            text = short if bare else self.function(name, scope=scope)
        self.depth -= 1
        return text, short

    def function(self, name: Name, *, scope: bool) -> str:
        if name.template and not name.no_return:
            returned = self.type()
            if scope:  # a function's type is not said again for what is local to it
                return f"{name.text}{self.parameters()}{name.qualifiers}"
            space = "" if returned.kind in (FUNCTION, ARRAY, DECLARATOR) and returned.right else " "
            return f"{returned.left}{space}{name.text}{self.parameters()}{name.qualifiers}{returned.right}"
        return f"{name.text}{self.parameters()}{name.qualifiers}"

    def parameters(self) -> str:
        if self.take("v"):
            return "()"
        found: list[Type] = []
        while self.at < len(self.text) and self.text[self.at] not in "E.":
            if self.peek("RE") or self.peek("OE"):  # the reference qualifier of a function type
                break
            found.append(self.type())
        return f"({_join(found)})"

    def special(self) -> str:
        words = {
            "TV": "vtable for ",
            "TT": "VTT for ",
            "TI": "typeinfo for ",
            "TS": "typeinfo name for ",
        }
        code = self.next(2)
        if code in words:
            return words[code] + str(self.type())
        if code == "GT":
            kind = {"t": "transaction clone", "n": "non-transaction clone"}.get(self.next(), "")
            return f"{kind} for {self.encoding()}"
        if code in ("GV", "GR", "TH", "TW"):
            name = self.name().text
            if code == "GR":
                self.take("_")
            return {
                "GV": "guard variable for ",
                "GR": "reference temporary #0 for ",
                "TH": "TLS init function for ",
                "TW": "TLS wrapper function for ",
            }[code] + name
        if code == "TC":
            derived = self.type()
            self.number()
            self.need("_")
            return f"construction vtable for {self.type()}-in-{derived}"
        if code in ("Th", "Tv", "Tc"):
            self.at -= code != "Tc"
            for _ in range(2 if code == "Tc" else 1):
                self.offset()
            kind = {"Th": "non-virtual thunk", "Tv": "virtual thunk", "Tc": "covariant return thunk"}[code]
            return f"{kind} to {self.encoding()}"
        raise Unreadable

    def offset(self) -> None:
        kind = self.next()
        for _ in range({"h": 1, "v": 2}.get(kind, 0)):
            self.take("n")
            self.number()
            self.need("_")

    # Names

    def name(self) -> Name:
        self.enter()
        try:
            if self.peek("N"):
                return self.nested_name()
            if self.peek("Z"):
                return self.local_name()
            if self.peek("S") and not self.peek("St"):
                base = self.substitution()
            else:
                std = self.take("St")
                no_return = self.peek("cv")
                text = self.unqualified("")
                if not self.peek("I"):
                    return Name("std::" + text if std else text, no_return=no_return)
                base = self.remember(Type("std::" + text if std else text))
            if not self.peek("I"):
                return Name(str(base))
            arguments = self.template_arguments()
            self.arguments = arguments
            return Name(_template(str(base), arguments), template=True)
        finally:
            self.depth -= 1

    def nested_name(self) -> Name:
        self.need("N")
        qualifiers = self.cv_qualifiers()
        if self.take("R"):
            qualifiers += " &"
        elif self.take("O"):
            qualifiers += " &&"
        no_return, prefix = self.prefix()
        return Name(str(prefix), template=prefix.template, no_return=no_return, qualifiers=qualifiers)

    def prefix(self) -> tuple[bool, Type]:
        """What stands between N and E. The last part is not a candidate for substitution."""
        current: Type | None = None
        no_return = False
        while not self.take("E"):
            self.enter()
            self.depth -= 1
            if self.peek("S") and not self.peek("St"):
                current = self.substitution()
                continue
            if self.take("St"):
                current = Type("std")
                continue
            if self.peek("T") and current is None:
                current = self.remember(self.template_parameter())
                continue
            if self.peek("D") and self.text[self.at + 1 : self.at + 2] in ("t", "T") and current is None:
                current = self.remember(self.type_decltype())
                continue
            if self.peek("I") and current is not None:
                arguments = self.template_arguments()
                self.arguments = arguments
                part = Type(_template(str(current), arguments))
                part.last, part.template = current.last, True
            else:
                last = current.last if current else ""
                if current is not None and (self._is_structor() or self.peek("C")):
                    current = self.full(current)
                no_return = self.peek("cv") or self._is_structor()
                text = self.unqualified(last)
                part = Type(f"{current}::{text}" if current else text)
                part.last = text.split("[abi:", 1)[0]
            current = part
            if self.take("M"):  # a member's initializer: names the scope of a closure
                pass
            if not self.peek("E"):
                self.remember(current)
        if current is None:
            raise Unreadable
        return no_return, current

    def _is_structor(self) -> bool:
        head = self.text[self.at : self.at + 2]
        return (head[:1] == "C" and head[1:] in "12345I") or head in ("D0", "D1", "D2", "D4", "D5")

    def full(self, name: Type) -> Type:
        # std::string::string would hide that the class is basic_string
        for short, last, text in SPECIAL_SUBSTITUTIONS.values():
            if text and name.left == short:
                found = Type(text)
                found.last = last
                return found
        return name

    def local_name(self) -> Name:
        self.need("Z")
        scope = self.encoding_and_name(scope=True)[0]
        self.need("E")
        if self.take("s"):
            self.discriminator()
            return Name(f"{scope}::string literal")
        if self.take("d"):
            number = self.sequence()
            name = self.name()
            name.text = f"{scope}::{{default arg#{number + 1}}}::{name.text}"
            return name
        name = self.name()
        self.discriminator()
        name.text = f"{scope}::{name.text}"
        return name

    def discriminator(self) -> None:
        if self.take("__"):
            self.number()
            self.need("_")
        elif self.peek("_") and self.text[self.at + 1 : self.at + 2] in DIGITS:
            self.at += 2

    def unqualified(self, scope: str) -> str:
        self.take("L")  # internal linkage
        head = self.text[self.at : self.at + 1]
        if head in DIGITS:
            text = self.source_name()
        elif head == "U":
            text = self.closure()
        elif head == "C" and scope:
            self.next()
            if self.take("I"):
                self.next()
                self.type()
            else:
                self.next()
            text = scope
        elif head == "D" and self.text[self.at + 1 : self.at + 2] in ("0", "1", "2", "4", "5") and scope:
            self.next(2)
            text = "~" + scope
        elif self.take("DC"):
            parts = []
            while not self.take("E"):
                parts.append(self.source_name())
            text = f"[{', '.join(parts)}]"
        else:
            text = self.operator_name()
        while self.take("B"):
            text += f"[abi:{self.source_name()}]"
        return text

    def source_name(self) -> str:
        length = self.number()
        text = self.next(length)
        if text.startswith("_GLOBAL_") and text[8:10] in ("_N", ".N", "$N"):
            return "(anonymous namespace)"
        return text

    def closure(self) -> str:
        if self.take("Ut"):
            return f"{{unnamed type#{self.sequence() + 1}}}"
        self.need("Ul")
        self.in_lambda += 1
        found: list[Type] = []
        while not self.take("E"):
            found.append(self.type())
        self.in_lambda -= 1
        if len(found) == 1 and str(found[0]) == "void":
            found = []
        return f"{{lambda({_join(found)})#{self.sequence() + 1}}}"

    def operator_name(self) -> str:
        code = self.next(2)
        if code == "cv":
            return f"operator {self.type()}"
        if code == "li":
            return f'operator"" {self.source_name()}'
        if code[:1] == "v" and code[1:] in DIGITS:
            return f"operator {self.source_name()}"
        if code not in OPERATORS:
            raise Unreadable
        text = OPERATORS[code][0]
        return f"operator {text}" if text[0].isalpha() else f"operator{text}"

    # Substitutions and templates

    def substitution(self) -> Type:
        self.need("S")
        code = self.text[self.at : self.at + 1]
        if code in SPECIAL_SUBSTITUTIONS:
            self.at += 1
            short, last, _ = SPECIAL_SUBSTITUTIONS[code]
            found = Type(short)
            found.last = last
            while self.take("B"):
                found = self.remember(Type(f"{found}[abi:{self.source_name()}]"))
            return found
        if code == "t":
            self.at += 1
            found = Type("std::" + self.unqualified(""))
            return self.remember(found)
        index = 0
        if not self.take("_"):
            digits = ""
            while not self.take("_"):
                digits += self.next()
            if len(digits) > 6 or not digits.isalnum() or not digits.isascii():
                raise Unreadable
            index = int(digits.lower(), 36) + 1
        if index >= len(self.substitutions):
            raise Unreadable
        return self.element(self.substitutions[index])

    def template_parameter(self) -> Type:
        self.need("T")
        if self.peek("L"):
            raise Unreadable
        index = self.sequence()
        if self.in_lambda:
            return Type(f"auto:{index + 1}")
        if index >= len(self.arguments):
            raise Unreadable
        return self.element(self.arguments[index])

    def template_arguments(self) -> list[Type]:
        self.need("I")
        self.enter()
        found: list[Type] = []
        while not self.take("E"):
            found.append(self.template_argument())
        self.depth -= 1
        return found

    def template_argument(self) -> Type:
        if self.take("J"):
            self.enter()
            elements: list[Type] = []
            while not self.take("E"):
                elements.append(self.template_argument())
            self.depth -= 1
            return _pack(elements)
        if self.peek("L"):
            return Type(self.literal())
        if self.take("X"):
            text = self.expression()
            self.need("E")
            return Type(text)
        return self.type()

    # Types

    def type(self) -> Type:
        self.enter()
        found = self._type()
        self.depth -= 1
        return found

    def _type(self) -> Type:
        head = self.text[self.at : self.at + 1]
        if head in BUILTINS and head:
            self.at += 1
            return Type(BUILTINS[head])
        match head:
            case "r" | "V" | "K":
                return self.qualified_type()
            case "P" | "R" | "O":
                self.at += 1
                return self.remember(_pointer(self.type(), {"P": "*", "R": "&", "O": "&&"}[head]))
            case "F":
                return self.remember(self.function_type(""))
            case "A":
                return self.remember(self.array_type())
            case "M":
                return self.remember(self.member_pointer())
            case "D":
                return self.d_type()
            case "T":
                return self.maybe_template(self.remember(self.template_parameter()))
            case "S":
                return self.substituted_type()
            case "u":
                self.at += 1
                return self.remember(Type(self.source_name()))
            case "C" | "G":
                self.at += 1
                return self.remember(Type(f"{self.type()} {'_Complex' if head == 'C' else '_Imaginary'}"))
            case "U":
                return self.vendor_type()
        return self.class_type()

    def qualified_type(self) -> Type:
        qualifiers = self.cv_qualifiers()
        if self.peek("F"):
            return self.remember(self.function_type(qualifiers))
        return self.remember(_qualified(self.type(), qualifiers))

    def cv_qualifiers(self) -> str:
        words = ""
        while (head := self.text[self.at : self.at + 1]) and head in "rVK":
            self.at += 1
            words = {"r": " restrict", "V": " volatile", "K": " const"}[head] + words
        return words

    def function_type(self, qualifiers: str) -> Type:
        self.need("F")
        self.take("Y")
        returned = self.type()
        parameters = self.parameters()
        if self.take("R"):
            qualifiers += " &"
        elif self.take("O"):
            qualifiers += " &&"
        self.need("E")
        space = "" if returned.kind == DECLARATOR and returned.right else " "
        return Type(f"{returned.left}{space}", f"{parameters}{qualifiers}{returned.right}", FUNCTION)

    def array_type(self) -> Type:
        self.need("A")
        size = ""
        if self.text[self.at : self.at + 1] in DIGITS:
            size = str(self.number())
        elif not self.peek("_"):
            size = self.expression()
        self.need("_")
        element = self.type()
        right = element.right[1:] if element.kind == ARRAY else element.right
        return Type(element.left, f" [{size}]{right}", ARRAY)

    def member_pointer(self) -> Type:
        self.need("M")
        owner = self.type()
        member = self.type()
        if member.kind == FUNCTION:
            return Type(f"{member.left}({owner}::*", f"){member.right}", DECLARATOR)
        return Type(f"{member.left} {owner}::*", member.right, member.kind)

    def d_type(self) -> Type:
        head = self.text[self.at : self.at + 2]
        if head in TWO_LETTER_TYPES:
            self.at += 2
            return Type(TWO_LETTER_TYPES[head])
        if head == "Dp":
            self.at += 2
            return self.remember(self.pack_expansion())
        if head in ("Dt", "DT"):
            return self.remember(self.type_decltype())
        if head in ("Do", "Dx"):
            self.at += 2
            found = self.function_type("")
            found.right += " noexcept" if head == "Do" else " transaction_safe"
            return self.remember(found)
        if head == "DF":
            self.at += 2
            bits = self.number()
            self.need("_")
            return Type(f"_Float{bits}")
        if head == "Dv":
            self.at += 2
            size = self.number()
            self.need("_")
            return self.remember(Type(f"{self.type()} __vector({size})"))
        raise Unreadable

    def pack_expansion(self) -> Type:
        """Dp: the pattern is read once for each element of the packs in it."""
        start, kept, outer = self.at, len(self.substitutions), (self.pack_index, self.pack_size)
        self.pack_index, self.pack_size = 0, -1
        elements = [self.type()]
        met = [self.substitutions[kept:]]
        size = self.pack_size
        for index in range(1, min(size, PACK_MAX)):
            self.at, self.pack_index = start, index
            del self.substitutions[kept:]
            elements.append(self.type())
            met.append(self.substitutions[kept:])
        self.pack_index, self.pack_size = outer
        if size < 0:  # no pack in it, or one that is not known yet
            return Type(f"{elements[0]}...")
        # What the pattern is made of may be named again in another pattern, and is a pack there, too.
        self.substitutions[kept:] = [_pack(list(parts[:size])) for parts in zip(*met, strict=True)]
        return _pack(elements[:size])

    def element(self, found: Type) -> Type:
        """While a pattern is read: the element of a pack whose turn it is."""
        if found.pack is None or self.pack_index < 0:
            return found
        self.pack_size = len(found.pack)
        return found.pack[self.pack_index] if self.pack_index < len(found.pack) else Type("")

    def type_decltype(self) -> Type:
        self.next(2)
        text = self.expression()
        self.need("E")
        return Type(f"decltype ({text})")

    def substituted_type(self) -> Type:
        if self.peek("St"):
            self.at += 2
            found = self.remember(Type("std::" + self.unqualified("")))
        else:
            found = self.substitution()
        return self.maybe_template(found)

    def maybe_template(self, found: Type) -> Type:
        if not self.peek("I"):
            return found
        return self.remember(Type(_template(str(found), self.template_arguments())))

    def vendor_type(self) -> Type:
        self.need("U")
        if self.peek("l") or self.peek("t"):  # an unnamed type outside of a nested name
            self.at -= 1
            return self.remember(Type(self.closure()))
        qualifier = self.source_name()
        arguments = self.template_arguments() if self.peek("I") else None
        if arguments is not None:
            qualifier = _template(qualifier, arguments)
        return self.remember(_qualified(self.type(), f" {qualifier}"))

    def class_type(self) -> Type:
        # Arguments in the name of a type are not what T_ means in the encoding around it.
        outer = self.arguments
        if self.peek("N") or self.peek("Z"):
            text = self.name().text
            self.arguments = outer
            return self.remember(Type(text))
        if self.text[self.at : self.at + 1] not in DIGITS:
            raise Unreadable
        return self.maybe_template(self.remember(Type(self.unqualified(""))))

    # Expressions

    def literal(self) -> str:
        self.need("L")
        if self.take("_Z"):
            text = self.encoding()
            self.need("E")
            return text
        kind = str(self.type())
        sign = "-" if self.take("n") else ""
        digits = ""
        while not self.take("E"):
            digits += self.next()
        if kind == "bool" and digits in ("0", "1"):
            return "true" if digits == "1" else "false"
        suffix = {"int": "", "unsigned int": "u", "long": "l", "unsigned long": "ul", "long long": "ll"}
        suffix["unsigned long long"] = "ull"
        if kind in suffix:
            return f"{sign}{digits}{suffix[kind]}"
        if kind in ("float", "double", "long double"):
            return f"({kind})[{digits}]"
        return f"({kind}){sign}{digits}"

    def expression(self) -> str:
        self.enter()
        text = self._expression()
        self.depth -= 1
        return text

    def _expression(self) -> str:
        head = self.text[self.at : self.at + 2]
        if head[:1] == "L":
            return self.literal()
        if head[:1] == "T":
            return str(self.template_parameter())
        if head == "fp" or head == "fL":
            return self.parameter_reference()
        if head == "cl":
            self.at += 2
            called = self.expression()
            return f"{_operand(called)}({', '.join(self.expressions())})"
        if head in ("sr", "on", "dn") or head[:1] in DIGITS:
            return self.unresolved()
        if head in ("dt", "pt"):
            self.at += 2
            left = self.expression()
            return f"{_operand(left)}{'.' if head == 'dt' else '->'}{self.expression()}"
        if head in ("st", "at"):
            self.at += 2
            return f"{'sizeof' if head == 'st' else 'alignof'} ({self.type()})"
        if head in ("sz", "az"):
            self.at += 2
            return f"{'sizeof' if head == 'sz' else 'alignof'} ({self.expression()})"
        if head == "sZ":
            self.at += 2
            parameter = self.template_parameter() if self.peek("T") else None
            if parameter is None or parameter.pack is None:
                raise Unreadable
            return str(len(parameter.pack))
        if head == "sp":
            self.at += 2
            parameter = self.template_parameter() if self.peek("T") else None
            if parameter is not None and parameter.pack is not None:
                return str(parameter)
            return f"({parameter or self.expression()})..."
        if head == "cv":
            self.at += 2
            kind = self.type()
            if self.take("_"):
                return f"({kind})({', '.join(self.expressions())})"
            return f"({kind})({self.expression()})"
        if head == "tl":
            self.at += 2
            kind = self.type()
            return f"{kind}{{{', '.join(self.expressions())}}}"
        if head in ("sc", "dc", "rc", "cc"):
            self.at += 2
            word = {"sc": "static", "dc": "dynamic", "rc": "reinterpret", "cc": "const"}[head]
            return f"{word}_cast<{self.type()}>({self.expression()})"
        if head == "ix":
            self.at += 2
            left = self.expression()
            return f"{_operand(left)}[{self.expression()}]"
        return self.operation(head)

    def operation(self, head: str) -> str:
        text, operands = OPERATORS.get(head, ("", 0))
        if not operands:
            raise Unreadable
        self.at += 2
        if head == "ad" and self.peek("L_Z"):
            self.at += 3
            qualified = self.peek("N")
            text, name = self.encoding_and_name()
            self.need("E")
            return f"&{name}" if qualified or text == name else f"&({text})"
        if operands == 1:
            if head in ("pp", "mm"):
                self.take("_")
            return f"{text}{_operand(self.expression())}"
        left = self.expression()
        if operands == 3:
            middle = self.expression()
            return f"{_operand(left)}?{_operand(middle)} : {_operand(self.expression())}"
        right = self.expression()
        whole = f"{_operand(left)}{text}{_operand(right)}"
        return f"({whole})" if text == ">" else whole

    def expressions(self) -> list[str]:
        found = []
        while not self.take("E"):
            found.append(self.expression())
        return found

    def parameter_reference(self) -> str:
        self.at += 1
        if self.take("L"):
            self.number()
        self.need("p")
        if self.take("T"):
            return "this"
        self.cv_qualifiers()
        return f"{{parm#{self.sequence() + 1}}}"

    def unresolved(self) -> str:
        scope = ""
        if self.take("sr"):
            scope = f"{self.type()}::"
        self.take("on")
        if self.take("dn"):
            raise Unreadable
        text = self.unqualified("")
        if self.peek("I"):
            text = _template(text, self.template_arguments())
        return scope + text


def _operand(text: str) -> str:
    if text.startswith("{parm"):
        return text
    depth, outside = 0, ""
    for letter in text:
        depth += (letter == "<") - (letter == ">")
        outside += letter if depth == 0 else ""
    simple = outside.replace(">", "").replace("_", "").replace("::", "").isalnum() and text[0] not in DIGITS
    return text if simple else f"({text})"


def _join(types: list[Type]) -> str:
    # c++filt takes a comma back if nothing came behind it: of empty packs only the last ones leave none.
    end = len(types)
    while end and types[end - 1].pack == []:
        end -= 1
    return ", ".join(map(str, types[:end]))


def _pack(elements: list[Type]) -> Type:
    elements = [one for element in elements for one in ([element] if element.pack is None else element.pack)]
    found = Type(_join(elements))
    found.pack = elements
    return found


def _template(name: str, arguments: list[Type]) -> str:
    inner = _join(arguments)
    opening = " <" if name.endswith("<") else "<"
    # c++filt looks at the last thing it wrote, which for an empty pack is nothing.
    empty = bool(arguments) and arguments[-1].pack == []
    return f"{name}{opening}{inner}{' >' if inner.endswith('>') and not empty else '>'}"


def _pointer(to: Type, mark: str) -> Type:
    if to.pack is not None:
        raise Unreadable
    if to.reference:  # references to references collapse
        return to if mark == "&&" or to.reference == "&" else Type(to.left[:-1], to.right, to.kind, "&")
    reference = mark if mark != "*" else ""
    if to.kind == FUNCTION:
        return Type(f"{to.left}({mark}", f"){to.right}", DECLARATOR, reference)
    if to.kind == ARRAY:
        return Type(f"{to.left} ({mark}", f"){to.right}", DECLARATOR, reference)
    return Type(f"{to.left}{mark}", to.right, to.kind, reference)


def _qualified(type_: Type, qualifiers: str) -> Type:
    if type_.reference:
        return type_
    if type_.kind == FUNCTION:
        return Type(type_.left, type_.right + qualifiers, FUNCTION)
    if type_.left.endswith(qualifiers):  # an argument that is const already
        return type_
    return Type(type_.left + qualifiers, type_.right, type_.kind)


def demangle(name: str) -> str:
    """The readable form of `_Z...`. Unreadable if it is not one, or not known."""
    if not name.startswith("_Z") or len(name) > NAME_MAX:
        raise Unreadable
    parser = _Parser(name)
    parser.at = 2
    text = parser.encoding()
    rest = name[parser.at :]
    if rest and not rest.startswith("."):
        raise Unreadable
    return text + _clones(rest)


# foo.constprop.0: c++filt writes each ".word" with the numbers behind it as one clone.
def _clones(rest: str) -> str:
    text, current = "", ""
    for part in rest.split(".")[1:]:
        if current and not (part.isascii() and part.isdigit()):
            text += f" [clone {current}]"
            current = ""
        current += f".{part}"
    return f"{text} [clone {current}]" if current else text
