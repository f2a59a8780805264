"""Differences of plain values by key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ckpt.diff.record import KeyChange
from ckpt.encoding import printable
from ckpt.formats.meanings.plain import Plain
from ckpt.formats.meanings.scalars import Scalars
from ckpt.formats.pickled.values import NumpyArray, Storage, Tensor
from ckpt.formats.pickled.walk import walk
from ckpt.formats.reading import Opened

FACTS = ("framework", "format", "epoch", "step", "loss", "learning_rate", "saved_at", "parameter_count", "tensor_count")
CONTAINER_FACTS = frozenset({"format", "bytes"})
"""Facts about the container and not about what is in it."""
_ABSENT = object()
_LONG = 32
_LONG_TEXT = 200


def equal(a: Any, b: Any) -> bool:
    """Equality of plain values in which NaN equals NaN, and an integer equals the same number as a float."""
    if type(a) is float and type(b) is float and a != a and b != b:
        return True
    if isinstance(a, bool) != isinstance(b, bool):
        return False
    if type(a) is list and type(b) is list:
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    if type(a) is dict and type(b) is dict:
        return a.keys() == b.keys() and all(equal(value, b[key]) for key, value in a.items())
    return bool(a == b)


def changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[KeyChange, ...]:
    """What differs between two flat mappings: keys in a's order, then those that only b has."""
    found: list[KeyChange] = []
    for key, left in a.items():
        right = b.get(key, _ABSENT)
        if right is _ABSENT:
            found.append(KeyChange(key=key, a=left, only="a"))
        elif not equal(left, right):
            found.append(KeyChange(key=key, a=left, b=right))
    found += [KeyChange(key=key, b=right, only="b") for key, right in b.items() if key not in a]
    return tuple(found)


def flattened(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration by dotted keys; lists of plain values stay whole."""
    flat: dict[str, Any] = {}
    pending: list[tuple[str, Any]] = list(config.items())[::-1]
    while pending:
        name, value = pending.pop()
        if type(value) is dict and value:
            pending += [(f"{name}.{key}", item) for key, item in value.items()][::-1]
        elif type(value) is list and any(type(item) in (dict, list) for item in value):
            pending += [(f"{name}.{index}", value[index]) for index in range(len(value) - 1, -1, -1)]
        else:
            flat[name] = value
    return flat


def facts(opened: Opened) -> dict[str, Any]:
    """The metadata of a checkpoint by name: what it holds, and not what only its own name says."""
    inspection = opened.inspection
    said = (name for name in (*FACTS, "bytes") if name not in inspection.from_name)
    found = {name: getattr(inspection, name) for name in said}
    return {name: value for name, value in found.items() if value is not None}


def metrics(opened: Opened) -> dict[str, float]:
    """The metrics that a checkpoint holds."""
    inspection = opened.inspection
    return {name: value for name, value in inspection.metrics.items() if f"metrics.{name}" not in inspection.from_name}


def leaves(opened: Opened) -> dict[str, Any]:
    """All values of a file that are no tensors, by dotted name.

    A long row of numbers, such as a generator's state, is one entry: its length and a digest.
    """
    content = opened.content
    if content is None:
        return {}
    scalars = Scalars()
    found: dict[str, Any] = {f"__metadata__.{name}": text for name, text in content.texts.items()}
    rows: dict[str, list[tuple[str, Any]]] = {}
    for name, value in walk(content.top):
        if type(value) in (Tensor, Storage):
            continue
        parent, _, last = name.rpartition(".")
        if last.isdigit() and parent:
            rows.setdefault(parent, []).append((last, value))
        else:
            found[name] = _leaf(value, scalars)
    for parent, items in rows.items():
        if len(items) > _LONG:
            text = "\n".join(f"{index} {_leaf(item, scalars)!r}" for index, item in items)
            found[parent] = f"<{len(items)} values {_digest(text.encode('utf-8', 'replace'))}>"
        else:
            found.update({f"{parent}.{index}": _leaf(item, scalars) for index, item in items})
    return found


def _leaf(value: Any, scalars: Scalars) -> Any:
    if value is None or type(value) in (bool, float):
        return value
    if type(value) is NumpyArray:
        return f"{Plain(scalars).value(value)} {_digest(value.data)}"
    if type(value) is bytes:
        return f"<{len(value)} bytes {_digest(value)}>"
    if type(value) is str and len(value) > _LONG_TEXT:
        return f"{printable(value[:_LONG_TEXT])}… <{len(value)} characters {_digest(value.encode('utf-8', 'replace'))}>"
    return Plain(scalars).value(value)


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:12]
