"""The constructors that a checkpoint may name, and the plain values that they become.

A row is a dotted name and a function over the call's arguments. Nothing is imported by a name from a file: what has
no row stays an `Opaque` value and its name is reported.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

from ckpt.formats import dtypes
from ckpt.formats.pickled.local import local_part
from ckpt.formats.pickled.values import (
    OBJECT_NODES,
    Budget,
    Builder,
    Global,
    Home,
    NumpyArray,
    NumpyDtype,
    Opaque,
    SetOf,
    Storage,
    Tensor,
)

# What a builder raises when a file calls it with arguments that do not fit.
BUILD_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def construct(function: Any, args: Any, budget: Budget) -> Any:
    """The value of a call in a pickle: built if its name has a row and the arguments fit, else opaque."""
    if type(args) is not tuple:
        args = (args,)
    budget.left -= 1
    if len(args) > _LONG:
        budget.charge(len(args))
    if type(function) is not Global:
        budget.left -= OBJECT_NODES
        return Opaque(function.path if isinstance(function, Opaque) else type(function).__name__, args)
    if function.builder is not None:
        try:
            return function.builder(args, budget)
        except BUILD_ERRORS:
            pass
    budget.left -= OBJECT_NODES
    return Opaque(function.path, args)


def resolve(module: str, name: str) -> tuple[Global, bool]:
    """The global of that name, and whether the name is one that checkpoints are known to hold."""
    module = _MODULE_ALIASES.get(module, module)
    path = f"{module}.{name}"
    builder = BUILDERS.get(path)
    if builder is not None:
        return Global(path, builder), True
    if module in ("torch", "torch.cuda", "torch.storage"):
        held = dtypes.TORCH_STORAGES.get(name)
        return Global(path, None, held), held is not None or (
            module == "torch" and dtypes.torch_dtype(name) is not None
        )
    return Global(path), path in _INERT


def build(target: Any, state: Any, budget: Budget) -> None:
    """Gives a value the state that the pickle sets on it; state of plain containers says nothing and is dropped.

    Of an object with slots the state is a pair of mappings, which become one.
    """
    kind = type(target)
    if kind is Opaque:
        if type(state) is tuple and len(state) == 2 and any(type(part) is dict for part in state):
            parts = [part for part in state if type(part) is dict]
            budget.charge(sum(map(len, parts)))
            state = {name: value for part in parts for name, value in part.items()}
        target.state = state
    elif kind is NumpyDtype and type(state) is tuple and len(state) > 1:
        target.big_endian = state[1] == ">"
    elif kind is NumpyArray and type(state) is tuple and len(state) == 5:
        _, shape, dtype, fortran, data = state
        if type(dtype) is NumpyDtype and type(data) is bytes and type(shape) is tuple:
            target.dtype, target.shape, target.fortran, target.data = dtype, shape, bool(fortran), data


def storage(reference: Any, home: Home | None) -> Any:
    """The storage in `home` that a persistent id names; opaque when it is not torch's kind of id."""
    if type(reference) is not tuple:
        return Opaque("persistent id", (reference,))
    if len(reference) >= 5 and reference[0] == "storage" and type(reference[1]) is Global:
        _, kind, name, location, count, *_ = reference
        if kind.dtype is not None and type(name) is str and type(location) is str and type(count) is int and count >= 0:
            return Storage(kind.dtype, name, location, count, home)
    return Opaque("persistent id", reference)


def _dtype_name(value: Any) -> str:
    name = dtypes.torch_dtype(value.path.rpartition(".")[2])
    if name is None:
        raise ValueError(value.path)
    return name


def _tensor(args: tuple[Any, ...], budget: Budget) -> Any:
    held = args[0]
    return Tensor(held, args[1], args[2], args[3], held.dtype)


def _tensor_v3(args: tuple[Any, ...], budget: Budget) -> Any:
    return Tensor(args[0], args[1], args[2], args[3], _dtype_name(args[6]))


def _meta_tensor(args: tuple[Any, ...], budget: Budget) -> Any:
    return Tensor(None, 0, args[1], args[2], _dtype_name(args[0]))


def _first(args: tuple[Any, ...], budget: Budget) -> Any:
    return args[0]


def _from_type(args: tuple[Any, ...], budget: Budget) -> Any:
    if args[0].builder is _from_type:
        raise ValueError("a subclass of a subclass")
    held = local_part(args[3]) if len(args) > 3 and args[0].path == _WRAPPER else None
    return construct(args[0], args[2], budget) if held is None else held


def _sparse(args: tuple[Any, ...], budget: Budget) -> Any:
    layout, parts = args
    names = ("indices", "values") if layout == "torch.sparse_coo" else ("compressed", "plain", "values")
    return Opaque("torch.sparse", (), dict(zip(names, parts, strict=False)))


def _nested(args: tuple[Any, ...], budget: Budget) -> Any:
    return Opaque("torch.nested", (), dict(zip(("buffer", "sizes", "strides", "offsets"), args, strict=False)))


def _size(args: tuple[Any, ...], budget: Budget) -> Any:
    if args and (type(args[0]) not in (list, tuple) or len(args[0]) > _MAX_DIMENSIONS):
        raise TypeError("not a size")
    return tuple(args[0]) if args else ()


def _text(args: tuple[Any, ...], budget: Budget) -> Any:
    if type(args[0]) is not str:
        raise TypeError("not text")
    return args[0]


def _device(args: tuple[Any, ...], budget: Budget) -> Any:
    kind, *index = args
    if len(_text((kind,), budget)) > _SHORT or len(index) > 1:
        raise ValueError("not a device")
    return ":".join([kind, *map(str, _integers(index))])


def _reconstructor(args: tuple[Any, ...], budget: Budget) -> Any:
    kind, _, state = args
    return construct(kind, () if state is None else (state,), budget)


def _mapping(args: tuple[Any, ...], budget: Budget) -> Any:
    if not args:
        return {}
    budget.charge(len(args[0]))
    pairs = args[0].items() if type(args[0]) is dict else args[0]
    return {key(name): value for name, value in pairs}


def _default_mapping(args: tuple[Any, ...], budget: Budget) -> Any:
    return _mapping(args[1:], budget)


def _listing(args: tuple[Any, ...], budget: Budget) -> Any:
    budget.charge(1 + (len(args[0]) if args else 0))
    if args and type(args[0]) not in (list, tuple):
        raise TypeError("not a sequence")
    return list(args[0]) if args else []


def _set(args: tuple[Any, ...], budget: Budget) -> Any:
    return SetOf(_listing(args, budget))


def _tuple(args: tuple[Any, ...], budget: Budget) -> Any:
    return tuple(_listing(args, budget))


def _complex(args: tuple[Any, ...], budget: Budget) -> Any:
    if any(type(part) not in (int, float) for part in args):
        raise TypeError("not a number")
    return complex(*args)


def _encoded(args: tuple[Any, ...], budget: Budget) -> Any:
    text, encoding = args
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(encoding)
    budget.charge(len(text) >> 4)
    encoded: bytes = text.encode("latin-1")
    return encoded


def _bytes(args: tuple[Any, ...], budget: Budget) -> Any:
    if not args:
        return b""
    if type(args[0]) is str:
        return _encoded(args, budget)
    if type(args[0]) is not bytes:
        raise TypeError("not bytes")
    return args[0]


def _datetime(args: tuple[Any, ...], budget: Budget) -> Any:
    raw, zone = _short(args[0]), args[1:]
    offset = zone[0] if zone and isinstance(zone[0], datetime.tzinfo) else None
    micros = int.from_bytes(raw[7:10], "big")
    return datetime.datetime(raw[0] * 256 + raw[1], raw[2] & 127, raw[3], raw[4], raw[5], raw[6], micros, offset)


def _date(args: tuple[Any, ...], budget: Budget) -> Any:
    raw = _short(args[0])
    return datetime.date(raw[0] * 256 + raw[1], raw[2], raw[3])


def _timedelta(args: tuple[Any, ...], budget: Budget) -> Any:
    return datetime.timedelta(*_integers(args[:3]))


def _timezone(args: tuple[Any, ...], budget: Budget) -> Any:
    return datetime.timezone(args[0])


def _path(separator: str) -> Builder:
    def joined(args: tuple[Any, ...], budget: Budget) -> Any:
        parts = [part for part in args if type(part) is str]
        if len(parts) != len(args):
            raise TypeError("not a path")
        budget.charge(sum(map(len, parts)) >> 4)
        root = parts and parts[0].endswith(separator)
        return parts[0] + separator.join(parts[1:]) if root else separator.join(parts) or "."

    return joined


def _inert(path: str) -> Builder:
    def made(args: tuple[Any, ...], budget: Budget) -> Any:
        return Opaque(path, args)

    return made


def _numpy_dtype(args: tuple[Any, ...], budget: Budget) -> Any:
    code = args[0]
    return NumpyDtype(code if type(code) is str and len(code) <= _SHORT else "object")


def _numpy_scalar(args: tuple[Any, ...], budget: Budget) -> Any:
    kind, raw = args[0], _short(args[1])
    if type(kind) is not NumpyDtype:
        raise TypeError("not a scalar")
    if kind.code.startswith("U"):
        return raw.decode("utf-32-be" if kind.big_endian else "utf-32-le").rstrip("\0")
    numbers = dtypes.decode_items(raw, dtypes.numpy_dtype(kind.code), big_endian=kind.big_endian)
    if numbers is None or len(numbers) != 1:
        raise ValueError(kind.code)
    return numbers[0]


def _numpy_array(args: tuple[Any, ...], budget: Budget) -> Any:
    return NumpyArray()


def _numpy_frombuffer(args: tuple[Any, ...], budget: Budget) -> Any:
    data, kind, shape, order = args
    if type(data) is not bytes or type(kind) is not NumpyDtype or type(shape) is not tuple:
        raise TypeError("not an array")
    return NumpyArray(kind, shape, order == "F", data)


def _short(value: Any) -> bytes:
    """The few bytes that a number or a time is made of; before protocol 3 they are text."""
    if type(value) not in (str, bytes) or len(value) > _SHORT:
        raise TypeError("not a few bytes")
    return value.encode("latin-1") if type(value) is str else value


def _integers(values: Iterable[Any]) -> list[int]:
    found = list(values)
    if any(type(value) is not int or abs(value) >= _SMALL for value in found):
        raise TypeError("not integers")
    return found


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
    return f"{name if type(name) is str and len(name) <= _LONG else _label(name)}\0{place}"


def _label(value: Any) -> str:
    if type(value) is str:
        return value[:_SHORT]
    if type(value) in (bool, float):
        return str(value)
    if type(value) is int:
        return hex(value) if abs(value) >= _SMALL else str(value)
    if isinstance(value, Opaque | Global):
        detail = value.args[0] if isinstance(value, Opaque) and len(value.args) == 1 else None
        return f"{value.path}({_label(detail)})" if type(detail) in (str, float, bool) else value.path
    return f"<{type(value).__name__}>"


_CHUNK_INDEX = "torch.distributed.checkpoint.metadata.MetadataIndex"
_WRAPPER = "torch._utils._rebuild_wrapper_subclass"
_SMALL = 1 << 60  # beyond it chosen integers can share a hash, and a dict of them takes quadratic time
_SHORT = 64  # letters or bytes of what is never long, such as a scalar, a dtype's code, a part of a key
_LONG = 1000  # letters of the longest names of tensors; arguments of a call, which seldom has so many
_MAX_DIMENSIONS = 64

_MODULE_ALIASES = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "numpy._core.multiarray": "numpy.core.multiarray",
    "numpy._core.numeric": "numpy.core.numeric",
    "pathlib._local": "pathlib",
    "UserDict": "collections",
}

BUILDERS: dict[str, Builder] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_qtensor": _tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta_tensor,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_sparse_csr_tensor": _sparse,
    "torch._utils._rebuild_nested_tensor": _nested,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    "torch._tensor._rebuild_from_type": _from_type,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.serialization._get_layout": _text,
    "torch.torch_version.TorchVersion": _text,
    "torch.Size": _size,
    "torch.device": _device,
    "collections.OrderedDict": _mapping,
    "collections.Counter": _mapping,
    "collections.defaultdict": _default_mapping,
    "collections.deque": _listing,
    "builtins.dict": _mapping,
    "builtins.list": _listing,
    "builtins.set": _set,
    "builtins.frozenset": _set,
    "builtins.tuple": _tuple,
    "builtins.complex": _complex,
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "_codecs.encode": _encoded,
    "copyreg._reconstructor": _reconstructor,
    "numpy.dtype": _numpy_dtype,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy.core.multiarray._reconstruct": _numpy_array,
    "numpy.core.numeric._frombuffer": _numpy_frombuffer,
    "datetime.datetime": _datetime,
    "datetime.date": _date,
    "datetime.timedelta": _timedelta,
    "datetime.timezone": _timezone,
    "pathlib.Path": _path("/"),
    "pathlib.PosixPath": _path("/"),
    "pathlib.PurePosixPath": _path("/"),
    "pathlib.WindowsPath": _path("\\"),
    "pathlib.PureWindowsPath": _path("\\"),
    "decimal.Decimal": _text,
    "argparse.Namespace": _inert("argparse.Namespace"),
    "types.SimpleNamespace": _inert("types.SimpleNamespace"),
}
"""Plain values by the dotted name of the constructor."""

_INERT = frozenset(
    {
        "builtins.object",
        "builtins.int",
        "builtins.long",
        "builtins.float",
        "builtins.str",
        "builtins.bool",
        "numpy.ndarray",
        "torch.nn.parameter.Parameter",
        "torch.Tensor",
        "torch._tensor.Tensor",
    }
)
