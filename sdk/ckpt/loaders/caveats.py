"""What a loader cannot promise: why going on is not exact, and why it takes its time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from ckpt.loaders.seeding import seed_worker
from ckpt.saving.capture.protocol import has_state

_DEPTH = 6
_MANY = 16
"""Of longer lists and dictionaries, which are data and not parts, the first items are looked at."""
_MOST = 2000
"""Objects that are looked at in all."""
_DATA = (bool, int, float, complex, str, bytes, type(None), type, ModuleType, torch.Tensor, np.ndarray)
_OF_TRAINING = (torch.nn.Module, Optimizer, LRScheduler)
"""Their states do not change as samples are read."""


def caveats_of(plain: DataLoader[Any]) -> tuple[str, ...]:
    """Why a loader does not go on exactly, as sentences; empty when it does. Changes nothing."""
    found = []
    if not has_state(plain.dataset):
        found += [_of_data_set(plain.dataset, path, part) for path, part in _remembering(plain.dataset)]
    # A collate_fn may be a method of the training, which keeps all but random generators itself.
    found += [
        f"collate_fn holds a random generator of its own ({path}) whose state is not kept: draw from the global "
        "generators, or keep it in the data set"
        for path, part in _remembering(plain.collate_fn)
        if not hasattr(part, "state_dict")
    ]
    if plain.num_workers and plain.worker_init_fn is not None and _sets_up_data(plain.worker_init_fn):
        found.append(
            "worker_init_fn sets up the data set in each worker, and random generators that it makes there begin anew "
            "with the workers: draw from the global generators, or give the data set state_dict() and load_state_dict()"
        )
    return tuple(found)


def slow_of(plain: DataLoader[Any], kind: str, resumes_by: str) -> tuple[str, ...]:
    """Why going on takes the longer the further the epoch is, as sentences; empty when it does not. Pure."""
    if resumes_by != "skipping":
        return ()
    if kind == "iterable":
        name = type(plain.dataset).__name__
        return (f"the {name} has no state_dict(): all samples before the position are read again and dropped",)
    return (f"the {kind} has no state_dict(): its indices are drawn again and dropped, without reading their samples",)


def _of_data_set(dataset: Any, path: str, part: Any) -> str:
    name = type(dataset).__name__
    if hasattr(part, "state_dict"):
        return (
            f"the {name} holds a {type(part).__name__} ({path}) whose state it does not tell: give the {name} "
            "state_dict() and load_state_dict()"
        )
    return (
        f"the {name} holds random generators of its own ({path}) whose states are not kept: give it "
        "state_dict() and load_state_dict(), or draw from the global generators"
    )


def _remembering(holder: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds, however deep, that has a state of its own, with the way to it."""
    seen = {id(holder)}
    level = [("", holder)]
    for _ in range(_DEPTH):
        following: list[tuple[str, Any]] = []
        for path, item in level:
            for name, part in _parts(item):
                if isinstance(part, _DATA) or id(part) in seen or len(seen) > _MOST:
                    continue
                seen.add(id(part))
                way = ".".join(filter(None, (path, name)))
                if has_state(part) and not isinstance(part, _OF_TRAINING):
                    yield way, part
                else:
                    following.append((way, part))
        level = following


def _parts(item: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(item, Mapping):
        for name, part in itertools.islice(item.items(), _MANY):
            yield str(name), part
    elif isinstance(item, list | tuple):
        for at, part in enumerate(item[:_MANY]):
            yield str(at), part
    elif isinstance(item, MethodType):
        yield "", item.__self__
    elif isinstance(item, partial):
        yield "", item.func
        yield "", item.args
        yield "", item.keywords
    elif isinstance(item, FunctionType):
        for name, cell in zip(item.__code__.co_freevars, item.__closure__ or (), strict=True):
            with suppress(ValueError):  # A name that is not bound yet.
                yield name, cell.cell_contents
    else:
        yield from getattr(item, "__dict__", {}).items()


def _sets_up_data(init: Callable[[int], None]) -> bool:
    """Whether a `worker_init_fn` reaches the worker's data set, as far as its code tells: others only seed."""
    code = getattr(init, "__code__", None)
    if init is seed_worker:
        return False
    return not isinstance(code, CodeType) or bool(code.co_freevars) or "get_worker_info" in code.co_names
