"""The opcodes of old protocols and those that checkpoints seldom hold, apart from the loop that has to be quick.

Each takes the state of the loop and gives the position behind what it read.
"""

from __future__ import annotations

import codecs
import struct
from typing import Any

from ckpt.formats.pickled.calls import construct
from ckpt.formats.pickled.filling import add_items, put_items
from ckpt.formats.pickled.imports import Imports
from ckpt.formats.pickled.operands import MAX_LINE, take, take_line
from ckpt.formats.pickled.values import CONTAINER_NODES, OBJECT_NODES, Budget, Opaque, SetOf
from ckpt.formats.source import Damaged, Unfinished

_MAX_INTEGER_BYTES = 1024

_unpack_u64 = struct.Struct("<Q").unpack_from

MARKED = frozenset(b"ldoi\x90\x911")
"""The opcodes that `marked` reads."""

# Opcode: bytes of its length field; what follows is that many bytes.
_SIZED = {0x42: 4, 0x43: 1, 0x8E: 8, 0x96: 8, 0x8D: 8, 0x8A: 1, 0x8B: 4, 0x54: 4, 0x55: 1}
_TEXTS = frozenset({0x8D, 0x54, 0x55})  # may take more memory than bytes in the file
_EXTENSIONS = {0x82: 1, 0x83: 2, 0x84: 4}
_LINES = frozenset(b"FILSVPgp")


def marked(op: int, items: list[Any], stack: list[Any], data: bytes, pos: int, imports: Imports, budget: Budget) -> int:
    """The opcodes that take everything above the last mark, besides the frequent ones."""
    budget.charge(CONTAINER_NODES)
    if op == 0x6C:  # LIST
        stack.append(items)
    elif op == 0x64:  # DICT
        stack.append({})
        put_items(stack[-1], items, budget)
    elif op == 0x90:  # ADDITEMS
        add_items(stack[-1], items)
    elif op == 0x91:  # FROZENSET
        stack.append(SetOf(items))
    elif op == 0x6F:  # OBJ
        stack.append(construct(items[0], tuple(items[1:]), budget))
    elif op == 0x69:  # INST
        module, pos = take_line(data, pos)
        name, pos = take_line(data, pos)
        stack.append(construct(imports.get(module.decode(), name.decode()), tuple(items), budget))
    return pos  # POP_MARK leaves nothing


def seldom(
    op: int, stack: list[Any], data: bytes, pos: int, memo: dict[int, Any], imports: Imports, budget: Budget
) -> int:
    """The opcodes of other protocols, and those that a checkpoint seldom holds."""
    if op == 0x80:  # PROTO
        if (protocol := take(data, pos, 1)) > b"\x05":
            raise Damaged(f"its pickle is of protocol {protocol[0]}, which is not known")
        return pos + 1
    if op == 0x95:  # FRAME
        if _unpack_u64(take(data, pos, 8))[0] > len(data) - pos - 8:
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
        stack[-1] = construct(stack[-1], (*args, named) if named else args, budget)
    elif op in _EXTENSIONS:
        width = _EXTENSIONS[op]
        code = int.from_bytes(take(data, pos, width), "little")
        stack.append(imports.get("extension", str(code)))
        return pos + width
    elif op == 0x97:  # NEXT_BUFFER
        budget.charge(OBJECT_NODES)
        stack.append(Opaque("buffer outside of the pickle"))
    elif op != 0x98:  # READONLY_BUFFER leaves its argument
        raise Damaged(f"its pickle holds an unknown operation {op:#04x}")
    return pos


def _sized(op: int, stack: list[Any], data: bytes, pos: int, budget: Budget) -> int:
    """Bytes, long texts and long integers: a length and that many bytes."""
    width = _SIZED[op]
    length = int.from_bytes(take(data, pos, width), "little")
    raw = take(data, pos + width, length)
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
    line, pos = take_line(data, pos, limit=MAX_LINE if op not in (0x53, 0x56) else len(data))
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


def _index(line: bytes) -> int:
    index = int(line)
    if not 0 <= index < 1 << 32:
        raise Damaged("its pickle remembers a value under no number")
    return index
