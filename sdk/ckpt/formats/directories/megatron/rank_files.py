"""Megatron's checkpoints of one file a model-parallel rank: which ranks there must be, and one tree of all."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.members import mapping, required
from ckpt.formats.directories.megatron.names import RANK, ranks_in
from ckpt.formats.meanings.scalars import Scalars
from ckpt.formats.pickled.values import mapping_of
from ckpt.formats.source import Damaged, TooLarge, Unfinished

_FILE = "model_optim_rng.pt"
_OWN_OPTIMIZER = "distrib_optim.pt"
_SHARED = ("args", "iteration", "checkpoint_version", "opt_param_scheduler", "num_floating_point_operations_so_far")
_SIZES = ("tensor_model_parallel_size", "pipeline_model_parallel_size", "expert_model_parallel_size")
_EXPERT_TENSOR = "expert_tensor_parallel_size"
_WORLD = "world_size"
_MAX_RANKS = 65_536


def prove(gathering: Gathering) -> None:
    """Proves that every rank of the training that was is there and sound. Raises Unfinished, Damaged, TooLarge."""
    folder = gathering.folder
    present = ranks_in(folder.directories)
    if not present:
        raise Unfinished("it holds no rank's files")
    for name in present:
        required(folder, f"{name}/{_FILE}")
        gathering.tree(f"{name}/{_FILE}")
    arguments = mapping_of(mapping(gathering, f"{present[0]}/{_FILE}").get("args")) or {}
    for name in _expected(present[0], _sizes(arguments, present), arguments):
        if name not in present:
            raise Unfinished(f"{name} is missing")
    apart = [name for name in present if f"{name}/{_OWN_OPTIMIZER}" in folder.files]
    for name in present if apart else ():
        required(folder, f"{name}/{_OWN_OPTIMIZER}")
        gathering.tree(f"{name}/{_OWN_OPTIMIZER}")


def tree(gathering: Gathering) -> dict[Any, Any]:
    """What all ranks share once, and what each has of its own under the rank's name.

    Generators are one list over all ranks.
    """
    folder = gathering.folder
    present = ranks_in(folder.directories)
    first = mapping(gathering, f"{present[0]}/{_FILE}")
    top: dict[Any, Any] = {key: first[key] for key in _SHARED if key in first}
    generators: list[Any] = []
    for name in present:
        own = mapping(gathering, f"{name}/{_FILE}")
        if f"{name}/{_OWN_OPTIMIZER}" in folder.files:
            own = {**own, "distrib_optim": gathering.tree(f"{name}/{_OWN_OPTIMIZER}")}
        states = own.get("rng_state")
        generators += states if isinstance(states, list) else []
        for key, value in own.items():
            if key in _SHARED or key == "rng_state":
                continue
            if len(present) == 1:
                top[key] = value
            else:
                top.setdefault(key, {})[name] = value
    if generators:
        top["rng_state"] = generators
    return top


def _sizes(arguments: Mapping[Any, Any], present: list[str]) -> tuple[int, int, int]:
    """Sizes of the tensor-, pipeline- and expert-parallel groups; by the names that there are without arguments."""
    scalars = Scalars()
    found: list[int] = []
    for index, name in enumerate(_SIZES):
        size = scalars.number(arguments.get(name))
        if type(size) is not int:
            size = 1 + max(_numbers(rank)[index] for rank in present)
        if not 0 < size <= _MAX_RANKS:
            raise Damaged(f"its argument {name} is {size}")
        found.append(size)
    return found[0], found[1], found[2]


def _numbers(name: str) -> tuple[int, int, int]:
    match = RANK.match(name)
    return (0, 0, 0) if match is None else (int(match[1]), int(match[2] or 0), int(match[3] or 0))


def _expected(example: str, sizes: tuple[int, int, int], arguments: Mapping[Any, Any]) -> Iterable[str]:
    """Names of all ranks' directories. An expert's number stands in the second place where there is no pipeline."""
    tensor, pipeline, expert = sizes
    if tensor * pipeline * expert > _MAX_RANKS:
        raise TooLarge(f"it would be of {tensor * pipeline * expert} ranks")
    numbered = example.count("_") - 2 - (pipeline > 1)  # whether the names have an expert's number
    pairs = _pairs(tensor, pipeline, expert if numbered else 1, arguments)
    for (t, e), p in itertools.product(pairs, range(pipeline)):
        yield f"mp_rank_{t:02d}" + (f"_{p:03d}" if pipeline > 1 else "") + (f"_{e:03d}" if numbered else "")


def _pairs(tensor: int, pipeline: int, expert: int, arguments: Mapping[Any, Any]) -> list[tuple[int, int]]:
    """Which tensor rank meets which expert rank: each one each, if experts are cut as everything else is.

    Otherwise both follow from the number of the process, of which not every combination need come up.
    """
    scalars = Scalars()
    world, cut = (scalars.number(arguments.get(name)) for name in (_WORLD, _EXPERT_TENSOR))
    if type(world) is int and type(cut) is int and 0 < cut != tensor and 0 < world // pipeline <= _MAX_RANKS:
        return sorted({(rank % tensor, rank // cut % expert) for rank in range(world // pipeline)})
    return list(itertools.product(range(tensor), range(expert)))
