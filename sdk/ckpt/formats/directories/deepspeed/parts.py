"""Reads one tag of DeepSpeed in a folder: the model, its optimizer over all ranks, and what the training put in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.deepspeed import rank_files, universal, zero
from ckpt.formats.pickled.values import Tensor, mapping_of
from ckpt.formats.source import Damaged, Unfinished

_MODEL_KEYS = frozenset(
    {"module", "optimizer", "lr_scheduler", "param_shapes", "frozen_param_shapes", "frozen_param_fragments"}
)


@dataclass(slots=True)
class Parts:
    """What a tag holds. `state` is that of its first rank, without the model, the optimizer and their shapes."""

    state: dict[Any, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    optimizer: Any = None
    inner: Any = None
    """The state of the torch optimizer that DeepSpeed has wrapped, on the first rank."""
    scheduler: Any = None

    def learning_rate(self) -> float | None:
        """The learning rate of the wrapped optimizer's first group."""
        return told({"optimizer": self.inner}, "deepspeed").learning_rate


def read(gathering: Gathering, prefix: str = "") -> Parts:
    """The parts of the tag whose files lie directly below `prefix`. Raises Unfinished when some are missing."""
    files = rank_files.sort(gathering.folder.files, prefix)
    if not files.models:
        raise Unfinished(f"{prefix}mp_rank_00_model_states.pt is missing")
    states = {rank: mapping_of(gathering.tree(name)) or {} for rank, name in files.models.items()}
    first = next(iter(states.values()))
    if "module" not in first and not gathering.omitted:
        raise Damaged(f"{next(iter(files.models.values()))} holds no model")
    rewritten = universal.is_universal(gathering, prefix)
    rank_files.prove_all_there(files, first, with_optimizers=not rewritten)
    optimizers = {rank: _optimizer(gathering.tree(name)) for rank, name in files.optimizers.items()}
    experts = {_stem(name): _optimizer(gathering.tree(name)) for name in files.expert_optimizers}
    found = Parts({key: value for key, value in first.items() if key not in _MODEL_KEYS})
    found.model = _model(gathering, files, states, optimizers)
    if rewritten:
        weights, found.optimizer = universal.read(gathering, prefix, first)
        found.model = weights if files.partitioned else found.model
        found.inner = _inner(found.optimizer["common"])
        found.scheduler = first.get("lr_scheduler")
        return found
    of_ranks = {f"dp_rank_{data}_mp_rank_{model}": value for (data, model), value in optimizers.items()}
    owned = first.get("optimizer")
    spread = of_ranks | experts
    found.optimizer = next(iter(spread.values())) if len(spread) == 1 else spread or owned
    found.inner = _inner(next(iter(spread.values()), owned))
    found.scheduler = first.get("lr_scheduler")
    return found


def _optimizer(top: Any) -> Mapping[Any, Any]:
    state = (mapping_of(top) or {}).get("optimizer_state_dict")
    return mapping_of(state) or mapping_of((mapping_of(top) or {}).get("optimizer")) or {}


def _inner(optimizer: Any) -> Any:
    fields = mapping_of(optimizer) or {}
    wrapped = (fields.get(key) for key in ("base_optimizer_state", "optimizer_state_dict"))
    return next((value for value in wrapped if mapping_of(value)), optimizer)


def _model(
    gathering: Gathering,
    files: rank_files.Files,
    states: Mapping[rank_files.Rank, Mapping[Any, Any]],
    optimizers: Mapping[rank_files.Rank, Mapping[Any, Any]],
) -> dict[str, Any]:
    slices = sorted({model for _, model in states})
    found: dict[str, Any] = {}
    for part in slices:
        weights = dict(mapping_of(states[min(rank for rank in states if rank[1] == part)].get("module")) or {})
        if files.partitioned:
            ranks = sorted(rank for rank in states if rank[1] == part)
            spread = [states[rank] for rank in ranks], [optimizers[rank] for rank in ranks if rank in optimizers]
            whole = gathering.lenient(partial(zero.whole_weights, *spread)) or {}
            weights = {name: value for name, value in weights.items() if not _placeholder(value)} | whole
        if len(slices) == 1:
            found = weights
        elif weights:
            found[f"mp_rank_{part}"] = weights
    for name in files.parts:
        tensors = mapping_of(gathering.tree(name)) or {}
        if "_expert_" in name and len(slices) == 1:
            found.update(tensors)
        elif tensors:
            found[_stem(name)] = tensors
    return found


def _placeholder(value: Any) -> bool:
    """Whether a value stands for a parameter that lies elsewhere."""
    return type(value) is Tensor and value.shape == (0,)


def _stem(name: str) -> str:
    stem = name.rpartition("/")[2].removesuffix(".pt")
    return stem.removesuffix("_model_states").removesuffix("-model_states").removesuffix("_optim_states")
