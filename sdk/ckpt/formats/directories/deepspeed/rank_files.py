"""The files that DeepSpeed makes one checkpoint of: whose they are by their names, and whether they are all there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ckpt.formats.directories.deepspeed.names import EXPERTS, MODEL, OPTIMIZER, PART
from ckpt.formats.pickled.values import mapping_of
from ckpt.formats.source import Unfinished

Rank = tuple[int, int]
"""Data parallel rank and model parallel rank."""


@dataclass(frozen=True, slots=True)
class Files:
    """Files of one tag, names in the folder. `parts` hold single layers or experts of the model."""

    prefix: str
    models: Mapping[Rank, str] = field(default_factory=dict)
    optimizers: Mapping[Rank, str] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    expert_optimizers: tuple[str, ...] = ()
    partitioned: bool = False
    """Whether the model itself is spread over the data parallel ranks (ZeRO stage 3)."""

    @property
    def all(self) -> tuple[str, ...]:
        """Every one of them."""
        return (*self.models.values(), *self.parts, *self.optimizers.values(), *self.expert_optimizers)


def sort(names: Collection[str], prefix: str = "") -> Files:
    """DeepSpeed's files among those directly below `prefix`, a name that ends in a slash or ""."""
    models: dict[Rank, str] = {}
    optimizers: dict[Rank, str] = {}
    parts, experts = [], []
    partitioned = False
    for whole in sorted(names):
        name = whole[len(prefix) :]
        if not whole.startswith(prefix) or "/" in name:
            continue
        if (found := MODEL.fullmatch(name)) is not None:
            partitioned = partitioned or found[1] is not None
            models[int(found[1] or 0), int(found[2])] = whole
        elif (found := OPTIMIZER.fullmatch(name)) is not None:
            optimizers[int(found[1]), int(found[2])] = whole
        elif PART.fullmatch(name):
            parts.append(whole)
        elif EXPERTS.fullmatch(name):
            experts.append(whole)
    ordered = dict(sorted(models.items())), dict(sorted(optimizers.items()))
    return Files(prefix, *ordered, tuple(parts), tuple(experts), partitioned)


def prove_all_there(files: Files, state: Mapping[Any, Any], *, with_optimizers: bool = True) -> None:
    """Compares the files with the numbers of ranks in a model's state. Raises Unfinished when some are missing.

    Nodes that keep their own files to themselves have none of the others', which is no fault.
    """
    data, model = _count(state.get("dp_world_size")), _count(state.get("mp_world_size"))
    settings = mapping_of(state.get("ds_config")) or {}
    if (mapping_of(settings.get("checkpoint")) or {}).get("use_node_local_storage") is True:
        return
    _prove(files.models, data if files.partitioned else 1, model, "model")
    if with_optimizers and not files.expert_optimizers and (files.optimizers or stage(settings) > 0):
        _prove(files.optimizers, data, model, "optimizer")


def stage(settings: Mapping[Any, Any]) -> int:
    """The ZeRO stage that DeepSpeed's configuration asks for; 0 for none."""
    zero = settings.get("zero_optimization")
    if type(zero) is bool:
        return int(zero)
    number = (mapping_of(zero) or {}).get("stage")
    return number if type(number) is int and 0 < number < 4 else 0


def _count(value: Any) -> int:
    return value if type(value) is int and 0 < value < 1 << 20 else 1


def _prove(there: Collection[Rank], data: int, model: int, what: str) -> None:
    if len(there) >= data * model:
        return
    given = set(there)
    missing = next((rank for rank in ((d, m) for m in range(model) for d in range(data)) if rank not in given), None)
    if missing is not None:
        place = f"data parallel rank {missing[0]}, model parallel rank {missing[1]}"
        raise Unfinished(f"{len(there)} of {data * model} files of the {what} are there; that of {place} is missing")
