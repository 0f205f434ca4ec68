"""DWARF expressions as call frame information uses them: a stack machine over registers and memory (DWARF 5, 2.5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pycoredump.errors import CoreError

STEPS_MAX = 1000  # operations of one evaluation; real ones need about ten, but a branch may go backwards
STACK_MAX = 256
MASK = (1 << 64) - 1

_FIXED = {  # DW_OP_const*: size in bytes, signed
    0x08: (1, False),
    0x09: (1, True),
    0x0A: (2, False),
    0x0B: (2, True),
    0x0C: (4, False),
    0x0D: (4, True),
    0x0E: (8, False),
    0x0F: (8, True),
}


def uleb(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number and where it ends. CoreError if it does not end."""
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise CoreError("A LEB128 number does not end")


def sleb(data: bytes, at: int) -> tuple[int, int]:
    """A signed LEB128 number and where it ends. CoreError if it does not end."""
    value, end = uleb(data, at)
    bits = 7 * (end - at)
    return (value - (1 << bits) if value >> (bits - 1) & 1 else value), end


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _divide(a: int, b: int) -> int:
    if b == 0:
        raise CoreError("An expression divides by zero")
    quotient = abs(_signed(a)) // abs(_signed(b))
    return quotient if (a >> 63) == (b >> 63) else -quotient


def _modulo(a: int, b: int) -> int:
    if b == 0:
        raise CoreError("An expression divides by zero")
    return a % b


_BINARY: dict[int, Callable[[int, int], int]] = {
    0x1A: lambda a, b: a & b,
    0x1B: _divide,
    0x1C: lambda a, b: a - b,
    0x1D: _modulo,
    0x1E: lambda a, b: a * b,
    0x21: lambda a, b: a | b,
    0x22: lambda a, b: a + b,
    0x24: lambda a, b: a << b if b < 64 else 0,
    0x25: lambda a, b: a >> b if b < 64 else 0,
    0x26: lambda a, b: _signed(a) >> min(b, 63),
    0x27: lambda a, b: a ^ b,
    0x29: lambda a, b: int(a == b),
    0x2A: lambda a, b: int(_signed(a) >= _signed(b)),
    0x2B: lambda a, b: int(_signed(a) > _signed(b)),
    0x2C: lambda a, b: int(_signed(a) <= _signed(b)),
    0x2D: lambda a, b: int(_signed(a) < _signed(b)),
    0x2E: lambda a, b: int(a != b),
}
_UNARY: dict[int, Callable[[int], int]] = {
    0x19: lambda a: abs(_signed(a)),
    0x1F: lambda a: -a,
    0x20: lambda a: ~a,
}

Read = Callable[[int, int], bytes]  # address, size


class _Machine:
    def __init__(self, code: bytes, registers: Mapping[int, int], read: Read, stack: list[int]) -> None:
        self.code = code
        self.registers = registers
        self.read = read
        self.stack = stack
        self.at = 0

    def run(self) -> int:
        steps = 0
        while self.at < len(self.code):
            steps += 1
            if steps > STEPS_MAX or len(self.stack) > STACK_MAX:
                raise CoreError("An expression does not end")
            operation = self.code[self.at]
            self.at += 1
            self._step(operation)
        return self._pop()

    def _step(self, op: int) -> None:
        if op in _BINARY:
            b, a = self._pop(), self._pop()
            self._push(_BINARY[op](a, b))
        elif op in _UNARY:
            self._push(_UNARY[op](self._pop()))
        elif 0x30 <= op <= 0x4F:  # DW_OP_lit
            self._push(op - 0x30)
        elif 0x70 <= op <= 0x8F:  # DW_OP_breg
            self._push(self._register(op - 0x70) + self._sleb())
        elif op in _FIXED:
            self._push(self._number(*_FIXED[op]))
        else:
            self._rest(op)

    def _rest(self, op: int) -> None:
        match op:
            case 0x03:  # DW_OP_addr
                self._push(self._number(8, False))
            case 0x06:  # DW_OP_deref
                self._push(int.from_bytes(self.read(self._pop(), 8), "little"))
            case 0x94:  # DW_OP_deref_size
                size = self._number(1, False)
                if size not in (1, 2, 4, 8):
                    raise CoreError(f"An expression reads {size} bytes")
                self._push(int.from_bytes(self.read(self._pop(), size), "little"))
            case 0x10:  # DW_OP_constu
                self._push(self._uleb())
            case 0x11:  # DW_OP_consts
                self._push(self._sleb())
            case 0x23:  # DW_OP_plus_uconst
                self._push(self._pop() + self._uleb())
            case 0x92:  # DW_OP_bregx
                register = self._uleb()
                self._push(self._register(register) + self._sleb())
            case 0x28:  # DW_OP_bra
                target = self._number(2, True)
                self._jump(target if self._pop() else 0)
            case 0x2F:  # DW_OP_skip
                self._jump(self._number(2, True))
            case 0x96:  # DW_OP_nop
                pass
            case _:
                self._shuffle(op)

    def _shuffle(self, op: int) -> None:
        stack = self.stack
        depth = {0x12: 0, 0x14: 1, 0x15: -1, 0x13: 0, 0x16: 1, 0x17: 2}.get(op)
        if depth is None:
            raise CoreError(f"Operation {op:#x} in an expression of call frame information")
        if depth < 0:  # DW_OP_pick
            depth = self._number(1, False)
        if depth >= len(stack):
            raise CoreError("An expression's stack is empty")

        if op in (0x12, 0x14, 0x15):  # DW_OP_dup, DW_OP_over, DW_OP_pick
            stack.append(stack[-1 - depth])
        elif op == 0x13:  # DW_OP_drop
            stack.pop()
        elif op == 0x16:  # DW_OP_swap
            stack[-1], stack[-2] = stack[-2], stack[-1]
        else:  # DW_OP_rot
            stack[-1], stack[-2], stack[-3] = stack[-2], stack[-3], stack[-1]

    def _push(self, value: int) -> None:
        self.stack.append(value & MASK)

    def _pop(self) -> int:
        if not self.stack:
            raise CoreError("An expression's stack is empty")
        return self.stack.pop()

    def _register(self, number: int) -> int:
        value = self.registers.get(number)
        if value is None:
            raise CoreError(f"An expression needs register {number}, which is not known")
        return value

    def _number(self, size: int, signed: bool) -> int:
        if self.at + size > len(self.code):
            raise CoreError("An expression ends within an operation")
        value = int.from_bytes(self.code[self.at : self.at + size], "little", signed=signed)
        self.at += size
        return value

    def _uleb(self) -> int:
        value, self.at = uleb(self.code, self.at)
        return value

    def _sleb(self) -> int:
        value, self.at = sleb(self.code, self.at)
        return value

    def _jump(self, distance: int) -> None:
        self.at += distance
        if not 0 <= self.at <= len(self.code):
            raise CoreError("An expression jumps out of itself")


def evaluate(code: bytes, registers: Mapping[int, int], read: Read, initial: int | None = None) -> int:
    """The top of the stack after running `code`; `initial` is the CFA, which register rules start with."""
    return _Machine(code, registers, read, [] if initial is None else [initial]).run()
