"""Reads a pickle without running it: an opcode loop with its own stack and memo.

Calls in the pickle become plain values through `builders`, or opaque ones; no module is imported by a name from
the file, and no bound of `source.TooLarge` kind can be passed by what the file says: operations, memory, marks and
bytes are counted. The loop is flat, so nesting costs no stack.
"""

from __future__ import annotations

import codecs
import struct
from dataclasses import dataclass
from typing import Any

from ckpt.formats.pickled import builders
from ckpt.formats.pickled.values import CONTAINER_NODES, MAX_NODES, OBJECT_NODES, Budget, Global, Home, Opaque, SetOf
from ckpt.formats.source import Damaged, TooLarge, Unfinished

MAX_PICKLE_BYTES = 16 << 20  # of one pickle
MAX_OPERATIONS = 4_000_000
MAX_STACK = 1_000_000
MAX_MARKS = 10_000
_BLOCK = 4096  # operations between two looks at the sizes of stack and memo
_MAX_LINE = 4096
_MAX_NAME = 1000  # letters of a module or of a name in it
_MAX_NAMES = 10_000
_MAX_INTEGER_BYTES = 1024
_LONG_TEXT = 64

_unpack_u32 = struct.Struct("<I").unpack_from
_unpack_i32 = struct.Struct("<i").unpack_from
_unpack_u64 = struct.Struct("<Q").unpack_from
_unpack_f64 = struct.Struct(">d").unpack_from

# What an unsound operation raises, or one whose operand is cut off.
_BROKEN = (AttributeError, LookupError, OverflowError, TypeError, ValueError, struct.error)
_STOP = 0x2E
_OPERANDS = {0x72: 4, 0x71: 1, 0x6A: 4, 0x68: 1, 0x58: 4, 0x4B: 1, 0x4D: 2, 0x4A: 4, 0x47: 8, 0x8C: 1}
_MARKED = frozenset(b"ldoi\x90\x911")


@dataclass(slots=True)
class Loaded:
    """A pickle's value, the position behind its last byte, and the names in it that have no plain meaning."""

    value: Any
    end: int
    unknown: tuple[str, ...]


class _Names:
    """The globals of one pickle: each name resolved once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Global] = {}
        self.unknown: dict[str, None] = {}

    def get(self, module: Any, name: Any) -> Global:
        if type(module) is not str or type(name) is not str:
            raise Damaged("its pickle imports a name that is no text")
        if len(module) > _MAX_NAME or len(name) > _MAX_NAME:
            raise Damaged(f"its pickle imports a name of more than {_MAX_NAME} letters")
        found = self._known.get((module, name))
        if found is None:
            if len(self._known) >= _MAX_NAMES:
                raise TooLarge(f"its metadata imports more than {_MAX_NAMES} names")
            found, known = builders.resolve(module, name)
            self._known[(module, name)] = found
            if not known:
                self.unknown[found.path[:200]] = None
        return found


def load(data: bytes, start: int = 0, home: Home | None = None, *, nodes: int = MAX_NODES) -> Loaded:
    """The value of the pickle that begins at `start`; the storages that it names lie in `home`.

    `nodes` bounds the memory that the values take, in units of about 64 bytes.

    Raises Unfinished when the data ends before the pickle does, Damaged when it breaks the rules of pickles, TooLarge
    when it passes a bound.
    """
    names = _Names()
    value, end = _loop(data, start, names, home, Budget(nodes))
    return Loaded(value, end, tuple(sorted(names.unknown)))


def _loop(data: bytes, pos: int, names: _Names, home: Home | None, budget: Budget) -> tuple[Any, int]:
    size = len(data)
    memo: dict[int, Any] = {}
    stack: list[Any] = []
    marks: list[list[Any]] = []
    construct, storage = builders.construct, builders.storage
    op = 0
    try:
        for _ in range(MAX_OPERATIONS // _BLOCK):
            for _ in range(_BLOCK):
                op = data[pos]
                pos += 1
                if op == 0x72:  # LONG_BINPUT
                    memo[_unpack_u32(data, pos)[0]] = stack[-1]
                    pos += 4
                elif op == 0x68:  # BINGET
                    stack.append(memo[data[pos]])
                    pos += 1
                elif op == 0x4B:  # BININT1
                    stack.append(data[pos])
                    pos += 1
                elif op == 0x94:  # MEMOIZE
                    memo[len(memo)] = stack[-1]
                elif op == 0x28:  # MARK
                    marks.append(stack)
                    stack = []
                elif op == 0x52 or op == 0x81:  # REDUCE, NEWOBJ
                    args = stack.pop()
                    stack[-1] = construct(stack[-1], args, budget)
                elif op == 0x74:  # TUPLE
                    budget.left -= 1
                    items = stack
                    stack = marks.pop()
                    stack.append(tuple(items))
                elif op == 0x58:  # BINUNICODE
                    length = _unpack_u32(data, pos)[0]
                    end = pos + 4 + length
                    if end > size:
                        raise Unfinished("its pickle ends inside a text")
                    budget.left -= 1
                    if length > _LONG_TEXT:
                        budget.charge(length >> 4)
                    stack.append(data[pos + 4 : end].decode("utf-8", "surrogatepass"))
                    pos = end
                elif op == 0x29:  # EMPTY_TUPLE
                    stack.append(())
                elif op == 0x89:  # NEWFALSE
                    stack.append(False)
                elif op == 0x51:  # BINPERSID
                    budget.left -= 1
                    stack[-1] = storage(stack[-1], home)
                elif op == 0x85:  # TUPLE1
                    budget.left -= 1
                    stack[-1] = (stack[-1],)
                elif op == 0x6A:  # LONG_BINGET
                    stack.append(memo[_unpack_u32(data, pos)[0]])
                    pos += 4
                elif op == 0x86:  # TUPLE2
                    last = stack.pop()
                    budget.left -= 1
                    stack[-1] = (stack[-1], last)
                elif op == 0x4A:  # BININT
                    budget.left -= 1
                    stack.append(_unpack_i32(data, pos)[0])
                    pos += 4
                elif op == 0x71:  # BINPUT
                    memo[data[pos]] = stack[-1]
                    pos += 1
                elif op == 0x4D:  # BININT2
                    budget.left -= 1
                    stack.append(data[pos] | data[pos + 1] << 8)
                    pos += 2
                elif op == 0x87:  # TUPLE3
                    last = stack.pop()
                    middle = stack.pop()
                    budget.left -= 1
                    stack[-1] = (stack[-1], middle, last)
                elif op == 0x88:  # NEWTRUE
                    stack.append(True)
                elif op == 0x4E:  # NONE
                    stack.append(None)
                elif op == 0x47:  # BINFLOAT
                    budget.left -= 1
                    stack.append(_unpack_f64(data, pos)[0])
                    pos += 8
                elif op == 0x8C:  # SHORT_BINUNICODE
                    end = pos + 1 + data[pos]
                    if end > size:
                        raise Unfinished("its pickle ends inside a text")
                    budget.left -= 1
                    stack.append(data[pos + 1 : end].decode("utf-8", "surrogatepass"))
                    pos = end
                elif op == 0x7D:  # EMPTY_DICT
                    budget.charge(CONTAINER_NODES)
                    stack.append({})
                elif op == 0x5D:  # EMPTY_LIST
                    budget.charge(CONTAINER_NODES)
                    stack.append([])
                elif op == 0x73:  # SETITEM
                    last = stack.pop()
                    _put_items(stack[-2], [stack.pop(), last], budget)
                elif op == 0x75:  # SETITEMS
                    items = stack
                    stack = marks.pop()
                    _put_items(stack[-1], items, budget)
                elif op == 0x61:  # APPEND
                    last = stack.pop()
                    _add_items(stack[-1], [last])
                elif op == 0x65:  # APPENDS
                    items = stack
                    stack = marks.pop()
                    _add_items(stack[-1], items)
                elif op == 0x63:  # GLOBAL
                    module, pos = _line(data, pos)
                    name, pos = _line(data, pos)
                    stack.append(names.get(module.decode(), name.decode()))
                elif op == 0x93:  # STACK_GLOBAL
                    last = stack.pop()
                    stack[-1] = names.get(stack[-1], last)
                elif op == 0x62:  # BUILD
                    last = stack.pop()
                    builders.build(stack[-1], last, budget)
                elif op == _STOP:
                    return stack.pop(), pos
                elif op in _MARKED:
                    items = stack
                    stack = marks.pop()
                    pos = _marked(op, items, stack, data, pos, names, budget)
                elif op == 0x30 and not stack:  # POP of a mark
                    stack = marks.pop()
                else:
                    pos = _seldom(op, stack, data, pos, memo, names, budget)
            if 2 * budget.left < 3 * len(memo) or len(stack) > MAX_STACK or len(marks) > MAX_MARKS:
                raise TooLarge("its metadata passes the bounds of what is read")
    except _BROKEN as error:
        if pos + _OPERANDS.get(op, 0) > size or (pos == size and op != _STOP):
            raise Unfinished("its pickle ends too early") from None
        reason = "takes more than is there" if isinstance(error, IndexError) else "is broken"
        raise Damaged(f"its pickle {reason}") from None
    raise TooLarge(f"its metadata takes more than {MAX_OPERATIONS} operations")


def _put_items(target: Any, items: list[Any], budget: Budget) -> None:
    budget.left -= len(items) >> 1
    kind = type(target)
    into = target if kind is dict else target.pairs if kind is Opaque else None
    if into is None or len(items) % 2:
        raise Damaged("its pickle sets items of what has none")
    for index in range(0, len(items), 2):
        name = items[index]
        if type(name) is not str:
            name = builders.key(name)
            budget.left -= len(name) >> 5 if type(name) is str else 0
        into[name] = items[index + 1]


def _add_items(target: Any, items: list[Any]) -> None:
    kind = type(target)
    if kind is list:
        target.extend(items)
    elif kind is Opaque or kind is SetOf:
        target.items.extend(items)
    else:
        raise Damaged("its pickle appends to what is no list")


def _marked(op: int, items: list[Any], stack: list[Any], data: bytes, pos: int, names: _Names, budget: Budget) -> int:
    """The opcodes that take everything above the last mark, besides the frequent ones."""
    budget.charge(CONTAINER_NODES)
    if op == 0x6C:  # LIST
        stack.append(items)
    elif op == 0x64:  # DICT
        stack.append({})
        _put_items(stack[-1], items, budget)
    elif op == 0x90:  # ADDITEMS
        _add_items(stack[-1], items)
    elif op == 0x91:  # FROZENSET
        stack.append(SetOf(items))
    elif op == 0x6F:  # OBJ
        stack.append(builders.construct(items[0], tuple(items[1:]), budget))
    elif op == 0x69:  # INST
        module, pos = _line(data, pos)
        name, pos = _line(data, pos)
        stack.append(builders.construct(names.get(module.decode(), name.decode()), tuple(items), budget))
    return pos  # POP_MARK leaves nothing


def _seldom(
    op: int, stack: list[Any], data: bytes, pos: int, memo: dict[int, Any], names: _Names, budget: Budget
) -> int:
    """The opcodes of other protocols, and those that a checkpoint seldom holds."""
    if op == 0x80:  # PROTO
        if (protocol := _take(data, pos, 1)) > b"\x05":
            raise Damaged(f"its pickle is of protocol {protocol[0]}, which is not known")
        return pos + 1
    if op == 0x95:  # FRAME
        if _unpack_u64(_take(data, pos, 8))[0] > len(data) - pos - 8:
            raise Unfinished("its pickle ends inside a frame")
        return pos + 8
    if op in _SIZED:
        return _sized(op, stack, data, pos, budget)
    if op in _LINES:
        return _lined(op, stack, data, pos, memo, budget)
    if op == 0x8F:  # EMPTY_SET
        budget.charge(CONTAINER_NODES)
        stack.append(SetOf([]))
    elif op == 0x30:  # POP
        stack.pop()
    elif op == 0x32:  # DUP
        stack.append(stack[-1])
    elif op == 0x92:  # NEWOBJ_EX
        named = stack.pop()
        args = stack.pop()
        if type(named) is not dict or type(args) is not tuple:
            raise Damaged("its pickle makes an object of no arguments")
        budget.charge(len(args))
        stack[-1] = builders.construct(stack[-1], (*args, named) if named else args, budget)
    elif op in _EXTENSIONS:
        width = _EXTENSIONS[op]
        code = int.from_bytes(_take(data, pos, width), "little")
        stack.append(names.get("extension", str(code)))
        return pos + width
    elif op == 0x97:  # NEXT_BUFFER
        budget.charge(OBJECT_NODES)
        stack.append(Opaque("buffer outside of the pickle"))
    elif op != 0x98:  # READONLY_BUFFER leaves its argument
        raise Damaged(f"its pickle holds an unknown operation {op:#04x}")
    return pos


def _take(data: bytes, pos: int, length: int) -> bytes:
    if length > len(data) - pos:
        raise Unfinished("its pickle ends inside a value")
    return data[pos : pos + length]


# Opcode: bytes of its length field; what follows is that many bytes.
_SIZED = {0x42: 4, 0x43: 1, 0x8E: 8, 0x96: 8, 0x8D: 8, 0x8A: 1, 0x8B: 4, 0x54: 4, 0x55: 1}
_TEXTS = frozenset({0x8D, 0x54, 0x55})  # may take more memory than bytes in the file
_EXTENSIONS = {0x82: 1, 0x83: 2, 0x84: 4}
_LINES = frozenset(b"FILSVPgp")


def _sized(op: int, stack: list[Any], data: bytes, pos: int, budget: Budget) -> int:
    """Bytes, long texts and long integers: a length and that many bytes."""
    width = _SIZED[op]
    length = int.from_bytes(_take(data, pos, width), "little")
    raw = _take(data, pos + width, length)
    budget.charge(1 + (length >> (4 if op in _TEXTS else 5)))
    if op == 0x8D:  # BINUNICODE8
        stack.append(raw.decode("utf-8", "surrogatepass"))
    elif op in (0x8A, 0x8B):  # LONG1, LONG4
        stack.append(_integer(raw))
    elif op in (0x54, 0x55):  # BINSTRING, SHORT_BINSTRING: text of Python 2
        stack.append(raw.decode("utf-8", "surrogateescape"))
    else:
        stack.append(raw)
    return pos + width + length


def _integer(raw: bytes) -> int | Opaque:
    """A long integer; opaque where merely to print it would take long."""
    if len(raw) > _MAX_INTEGER_BYTES:
        return Opaque("builtins.int")
    return int.from_bytes(raw, "little", signed=True)


def _lined(op: int, stack: list[Any], data: bytes, pos: int, memo: dict[int, Any], budget: Budget) -> int:
    """The opcodes of protocol 0, whose argument is a line of text."""
    line, pos = _line(data, pos, limit=_MAX_LINE if op not in (0x53, 0x56) else len(data))
    budget.charge(1 + (len(line) >> 5))
    if op == 0x70:  # PUT
        memo[_index(line)] = stack[-1]
    elif op == 0x67:  # GET
        stack.append(memo[_index(line)])
    elif op == 0x46:  # FLOAT
        stack.append(float(line))
    elif op == 0x49:  # INT
        stack.append({b"00": False, b"01": True}.get(line) if line in (b"00", b"01") else int(line))
    elif op == 0x4C:  # LONG
        stack.append(int(line.removesuffix(b"L")))
    elif op == 0x53:  # STRING
        if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
            raise Damaged("its pickle holds a text without quotes")
        stack.append(codecs.escape_decode(line[1:-1])[0].decode("utf-8", "surrogateescape"))
    elif op == 0x56:  # UNICODE
        stack.append(line.decode("raw-unicode-escape"))
    else:  # PERSID
        budget.charge(OBJECT_NODES)
        stack.append(Opaque("persistent id", (line.decode("ascii", "replace"),)))
    return pos


def _line(data: bytes, pos: int, *, limit: int = _MAX_LINE) -> tuple[bytes, int]:
    end = data.find(b"\n", pos, pos + limit + 1)
    if end < 0:
        if pos + limit >= len(data):
            raise Unfinished("its pickle ends inside a line")
        raise Damaged("its pickle holds an endless line")
    return data[pos:end], end + 1


def _index(line: bytes) -> int:
    index = int(line)
    if not 0 <= index < 1 << 32:
        raise Damaged("its pickle remembers a value under no number")
    return index
