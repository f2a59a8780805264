"""Keys of the mappings in a pickle, made cheap to hash whatever the file says."""

from __future__ import annotations

from typing import Any

from ckpt.formats.pickled.values import Global, Opaque

_CHUNK_INDEX = "torch.distributed.checkpoint.metadata.MetadataIndex"
_SMALL = 1 << 60  # beyond it chosen integers can share a hash, and a dict of them takes quadratic time
_PART = 64  # letters of a part of a key
_NAME = 1000  # letters of the longest names of tensors


def key(value: Any) -> Any:
    """A mapping's key that is cheap to hash whatever the file says: text, small numbers, and names for the rest."""
    kind = type(value)
    if kind is str or kind is bool or value is None or kind is bytes:
        return value
    if kind is int:
        return value if -_SMALL < value < _SMALL else hex(value)
    if kind is float:
        return value
    if kind is tuple and len(value) <= 16:
        return "(" + ", ".join(map(_label, value)) + ")"
    if kind is Opaque and value.path == _CHUNK_INDEX:
        fields = value.attributes()
        return chunk_key(fields.get("fqn"), fields.get("offset"))
    return _label(value)


def chunk_key(name: Any, offsets: Any) -> str:
    """The key that torch's distributed checkpoints know one chunk of a tensor by; its offsets are None for a value."""
    place = ",".join(_label(part) for part in offsets) if type(offsets) is tuple and len(offsets) <= 64 else ""
    return f"{name if type(name) is str and len(name) <= _NAME else _label(name)}\0{place}"


def _label(value: Any) -> str:
    if type(value) is str:
        return value[:_PART]
    if type(value) in (bool, float):
        return str(value)
    if type(value) is int:
        return hex(value) if abs(value) >= _SMALL else str(value)
    if isinstance(value, Opaque | Global):
        detail = value.args[0] if isinstance(value, Opaque) and len(value.args) == 1 else None
        return f"{value.path}({_label(detail)})" if type(detail) in (str, float, bool) else value.path
    return f"<{type(value).__name__}>"
