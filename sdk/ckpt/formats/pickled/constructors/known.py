"""The names that a checkpoint's pickle may import, and what a call to each becomes.

A row is a dotted name and a function over the call's arguments. Nothing is imported by a name from a file: what has
no row stays an `Opaque` value and its name is reported.
"""

from __future__ import annotations

from ckpt.formats import dtypes
from ckpt.formats.pickled.constructors import arrays, containers, standard, tensors, times
from ckpt.formats.pickled.values import Builder, Global

_MODULE_ALIASES = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "numpy._core.multiarray": "numpy.core.multiarray",
    "numpy._core.numeric": "numpy.core.numeric",
    "pathlib._local": "pathlib",
    "UserDict": "collections",
}

_BUILDERS: dict[str, Builder] = {**tensors.ROWS, **containers.ROWS, **arrays.ROWS, **times.ROWS, **standard.ROWS}

# Known, and opaque all the same: an object of such a class tells nothing.
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


def resolve(module: str, name: str) -> tuple[Global, bool]:
    """The global of that name, and whether the name is one that checkpoints are known to hold."""
    module = _MODULE_ALIASES.get(module, module)
    path = f"{module}.{name}"
    builder = _BUILDERS.get(path)
    if builder is not None:
        return Global(path, builder), True
    if module in ("torch", "torch.cuda", "torch.storage"):
        held = dtypes.TORCH_STORAGES.get(name)
        return Global(path, None, held), held is not None or (
            module == "torch" and dtypes.torch_dtype(name) is not None
        )
    return Global(path), path in _INERT
