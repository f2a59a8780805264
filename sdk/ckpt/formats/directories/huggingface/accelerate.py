"""States that accelerate saves: `checkpoints/checkpoint_<n>/`, or any directory that a training script names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from ckpt.formats.directories.common.gathering import Gathering, gap, numbered
from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.huggingface import engines, shards
from ckpt.formats.directories.huggingface.names import (
    ACCELERATE_MODEL,
    ACCELERATE_RANDOM,
    ACCELERATE_STATES,
    STEP,
    is_engine,
    is_weights,
)
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.meanings.scalars import Scalars
from ckpt.formats.pickled.values import mapping_of
from ckpt.formats.source import Unfinished

_CUSTOM = re.compile(r"custom_checkpoint_(\d{1,6})\.pkl")
_COUNTED = ("optimizer", "scheduler")
_TRIED = 16


class Accelerate(Kind):
    """One saved state. Every process writes its random states last, the first one objects of the user's after them."""

    framework: ClassVar[str] = "accelerate"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._gathering = Gathering(folder)
        self._top: dict[str, Any] = {}
        self._ranks = 0
        self._engines = engines.Engines()

    def prove(self) -> None:
        names = self.folder.files
        random = numbered(names, ACCELERATE_RANDOM)
        missing = gap(random)
        if not random or missing is not None:
            raise Unfinished(f"random_states_{missing or 0}.pkl is missing, which its process writes last")
        custom = numbered(names, _CUSTOM)
        if (missing := gap(custom)) is not None:
            raise Unfinished(f"custom_checkpoint_{missing}.pkl is missing")
        _prove_numbers(names)
        gathering = self._gathering
        self._engines = engines.find(gathering)
        top = self._top = {"model": _models(gathering)}
        for key, pattern in ACCELERATE_STATES.items():
            state = gathering.trees(numbered(names, pattern).values())
            if state is not None:
                top[key] = state
        top["rng_state"] = gathering.trees(random.values())
        for number, name in custom.items():
            top[f"custom_checkpoint_{number}"] = gathering.tree(name)
        self._engines.add_to(top)
        if not top["model"] and not gathering.omitted:
            raise Unfinished("it holds no weights")
        self._ranks = len(random)

    def read(self) -> Contents:
        top = self._top
        found = told({key: value for key, value in top.items() if value}, self.framework, {"world_size": self._ranks})
        found.epoch, found.loss, found.metrics, found.config = None, None, {}, {}
        if found.learning_rate is None:
            found.learning_rate = self._engines.learning_rate
        # The number behind a hyphen is the step that a script means; behind an underscore it counts the saves.
        by_name = STEP.fullmatch(self.folder.name) is not None
        found.step = None if by_name else self._step()
        return Contents(found, top, self._gathering.unknown_globals, self._gathering.omitted)

    def _step(self) -> int | None:
        """Steps of the optimizer, which nothing says outright.

        A scheduler is no more than a hint: for every step of the training it is moved once for each process.
        """
        if self._engines.steps is not None:
            return self._engines.steps
        counted = _optimizer_steps(self._top.get("optimizer"))
        if counted is not None:
            return counted
        schedulers = self._top.get("scheduler")
        first = schedulers[0] if type(schedulers) is list and schedulers else schedulers
        moved = (mapping_of(first) or {}).get("last_epoch")
        if type(moved) is not int or not 0 <= moved < 1 << 63:
            return None
        return moved // self._ranks if moved % self._ranks == 0 else moved


def _prove_numbers(names: Collection[str]) -> None:
    """Of models, optimizers and schedulers, which are all saved and counted from 0, none may be missing."""
    indexed = any(weights.index for weights in shards.find(names))
    for part, pattern in (("model", ACCELERATE_MODEL), *((key, ACCELERATE_STATES[key]) for key in _COUNTED)):
        found = numbered(names, pattern)
        missing = gap([*found, 0] if part == "model" and indexed else found)
        if missing is None:
            continue
        other = next(name for number, name in found.items() if number > missing)
        stem, suffix = other.rsplit(".", 1)
        name = f"{re.sub(r'_[0-9]+$', '', stem)}{f'_{missing}' if missing else ''}.{suffix}"
        raise Unfinished(f"{name} is missing: {other} is there")


def _models(gathering: Gathering) -> dict[str, Any]:
    """The tensors of the only model; of several, and of what a script adds in directories, under their files' names."""
    names = gathering.folder.files
    sets: dict[str, dict[str, Any]] = {}
    for number, name in numbered(names, ACCELERATE_MODEL).items():
        sets[f"model_{number}" if number else "model"] = dict(mapping_of(gathering.tree(name)) or {})
    for weights in shards.find(names):
        if weights.index:
            sets.setdefault("model", shards.read(gathering, weights))
    for name in names:
        directory, _, file = name.rpartition("/")
        known = not directory and (ACCELERATE_MODEL.fullmatch(file) or is_weights(file))
        if file.endswith(".safetensors") and not known and "/" not in directory and not is_engine(directory):
            stem = name.removesuffix(".safetensors").replace("/", ".")
            sets.setdefault(stem, dict(mapping_of(gathering.tree(name)) or {}))
    if len(sets) == 1:
        return next(iter(sets.values()))
    return dict(sets)


def _optimizer_steps(optimizer: Any) -> int | None:
    """The highest number of steps among the first parameters' states."""
    first = optimizer[0] if type(optimizer) is list and optimizer else optimizer
    kept: Mapping[Any, Any] = mapping_of((mapping_of(first) or {}).get("state")) or {}
    scalars = Scalars()
    counts = [scalars.number((mapping_of(state) or {}).get("step")) for state in list(kept.values())[:_TRIED]]
    whole = [int(count) for count in counts if count is not None and 0 <= count < 1 << 53 and count == int(count)]
    return max(whole, default=None)
