"""Reads a pickle without running it: an opcode loop with its own stack and memo.

Calls in the pickle become plain values through `constructors`, or opaque ones; no module is imported by a name from
the file, and no bound of `source.TooLarge` kind can be passed by what the file says: operations, memory, marks and
bytes are counted. The loop is flat, so nesting costs no stack.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from ckpt.formats.pickled.calls import build, construct
from ckpt.formats.pickled.constructors.storages import storage
from ckpt.formats.pickled.filling import add_items, put_items
from ckpt.formats.pickled.imports import Imports
from ckpt.formats.pickled.operands import take_line
from ckpt.formats.pickled.seldom import MARKED, marked, seldom
from ckpt.formats.pickled.values import CONTAINER_NODES, MAX_NODES, Budget, Home
from ckpt.formats.source import Damaged, TooLarge, Unfinished

MAX_PICKLE_BYTES = 16 << 20  # of one pickle
MAX_OPERATIONS = 4_000_000
MAX_STACK = 1_000_000
MAX_MARKS = 10_000
_BLOCK = 4096  # operations between two looks at the sizes of stack and memo
_LONG_TEXT = 64

_unpack_u32 = struct.Struct("<I").unpack_from
_unpack_i32 = struct.Struct("<i").unpack_from
_unpack_f64 = struct.Struct(">d").unpack_from

# What an unsound operation raises, or one whose operand is cut off.
_BROKEN = (AttributeError, LookupError, OverflowError, TypeError, ValueError, struct.error)
_STOP = 0x2E
_OPERANDS = {0x72: 4, 0x71: 1, 0x6A: 4, 0x68: 1, 0x58: 4, 0x4B: 1, 0x4D: 2, 0x4A: 4, 0x47: 8, 0x8C: 1}


@dataclass(slots=True)
class Loaded:
    """A pickle's value, the position behind its last byte, and the names in it that have no plain meaning."""

    value: Any
    end: int
    unknown: tuple[str, ...]


def load(data: bytes, start: int = 0, home: Home | None = None, *, nodes: int = MAX_NODES) -> Loaded:
    """The value of the pickle that begins at `start`; the storages that it names lie in `home`.

    `nodes` bounds the memory that the values take, in units of about 64 bytes.

    Raises Unfinished when the data ends before the pickle does, Damaged when it breaks the rules of pickles, TooLarge
    when it passes a bound.
    """
    imports = Imports()
    value, end = _loop(data, start, imports, home, Budget(nodes))
    return Loaded(value, end, tuple(sorted(imports.unknown)))


def _loop(data: bytes, pos: int, imports: Imports, home: Home | None, budget: Budget) -> tuple[Any, int]:
    size = len(data)
    memo: dict[int, Any] = {}
    stack: list[Any] = []
    marks: list[list[Any]] = []
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
                    put_items(stack[-2], [stack.pop(), last], budget)
                elif op == 0x75:  # SETITEMS
                    items = stack
                    stack = marks.pop()
                    put_items(stack[-1], items, budget)
                elif op == 0x61:  # APPEND
                    last = stack.pop()
                    add_items(stack[-1], [last])
                elif op == 0x65:  # APPENDS
                    items = stack
                    stack = marks.pop()
                    add_items(stack[-1], items)
                elif op == 0x63:  # GLOBAL
                    module, pos = take_line(data, pos)
                    name, pos = take_line(data, pos)
                    stack.append(imports.get(module.decode(), name.decode()))
                elif op == 0x93:  # STACK_GLOBAL
                    last = stack.pop()
                    stack[-1] = imports.get(stack[-1], last)
                elif op == 0x62:  # BUILD
                    last = stack.pop()
                    build(stack[-1], last, budget)
                elif op == _STOP:
                    return stack.pop(), pos
                elif op in MARKED:
                    items = stack
                    stack = marks.pop()
                    pos = marked(op, items, stack, data, pos, imports, budget)
                elif op == 0x30 and not stack:  # POP of a mark
                    stack = marks.pop()
                else:
                    pos = seldom(op, stack, data, pos, memo, imports, budget)
            if 2 * budget.left < 3 * len(memo) or len(stack) > MAX_STACK or len(marks) > MAX_MARKS:
                raise TooLarge("its metadata passes the bounds of what is read")
    except _BROKEN as error:
        if pos + _OPERANDS.get(op, 0) > size or (pos == size and op != _STOP):
            raise Unfinished("its pickle ends too early") from None
        reason = "takes more than is there" if isinstance(error, IndexError) else "is broken"
        raise Damaged(f"its pickle {reason}") from None
    raise TooLarge(f"its metadata takes more than {MAX_OPERATIONS} operations")
