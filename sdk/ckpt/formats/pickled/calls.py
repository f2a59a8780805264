"""What becomes of the calls in a pickle, and of the state that it sets on what they gave."""

from __future__ import annotations

from typing import Any

from ckpt.formats.pickled.values import OBJECT_NODES, Budget, Global, NumpyArray, NumpyDtype, Opaque

# What a builder raises when a file calls it with arguments that do not fit.
_BUILD_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_MANY = 1000  # arguments; a call seldom has so many


def construct(function: Any, args: Any, budget: Budget) -> Any:
    """The value of a call in a pickle: built if its name has a row and the arguments fit, else opaque."""
    if type(args) is not tuple:
        args = (args,)
    budget.left -= 1
    if len(args) > _MANY:
        budget.charge(len(args))
    if type(function) is not Global:
        budget.left -= OBJECT_NODES
        return Opaque(function.path if isinstance(function, Opaque) else type(function).__name__, args)
    if function.builder is not None:
        try:
            return function.builder(args, budget)
        except _BUILD_ERRORS:
            pass
    budget.left -= OBJECT_NODES
    return Opaque(function.path, args)


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
