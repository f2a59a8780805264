"""What each process of a training has of its own: random states and positions in the data, each back to its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from ckpt.runs.rank import rank, world_size
from ckpt.saving.envelope.places import is_schedule

T = TypeVar("T")


def agree(answer: T) -> T:
    """Rank 0's answer, on all ranks; one's own outside of `torch.distributed`.

    Every rank has to call it: it waits for rank 0.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() < 2:
        return answer
    _ready()
    answers = [answer]
    dist.broadcast_object_list(answers, src=0)
    return answers[0]


@dataclass(frozen=True)
class OwnStates:
    """What one process of a training goes on with and no other does."""

    random: Mapping[str, Any]
    loaders: list[Any] | None = None


def gather(own: Callable[[], OwnStates]) -> list[OwnStates | None] | None:
    """What all ranks have of their own, by rank, on rank 0; None on the others and outside of `torch.distributed`.

    Every rank has to call it: it waits for all of them. One that raises what `own` raises does so behind that, and is
    None in the list.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() < 2:
        return None
    _ready()
    found: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    try:
        mine: OwnStates | None = own()
    except Exception:
        dist.gather_object(None, found, dst=0)
        raise
    dist.gather_object(mine, found, dst=0)
    return found


def own_loaders(first: list[Any] | None, by_rank: Sequence[Any] | None) -> list[Any] | None:
    """The saved loaders' states that are this process's own.

    `first` are those of rank 0. They say where the training stands, so a rank whose own are not there takes them, but
    for the seeds of the order: ranks that were seeded apart would have rank 0's data.
    """
    mine = rank()
    own = by_rank[mine] if by_rank is not None and 0 < mine < len(by_rank) else None
    if isinstance(own, list | tuple):
        return list(own)
    return first if mine == 0 or first is None else [_without_seeds(state) for state in first]


def _without_seeds(state: Any) -> Any:
    """The state of a loader that tells a seed, without it; a schedule keeps its own, which all ranks agree on."""
    if not isinstance(state, Mapping):
        return state
    told: dict[str, Any]
    if is_schedule(state):
        told = {"loader_states": [_without_seeds(inner) for inner in state["loader_states"]]}
    elif "epoch_open" in state and "seed" in state:
        told = {"seed": None}
    else:
        return state
    return {**state, **told, "at_start": _without_seeds(state.get("at_start"))}


def _ready() -> None:
    """Objects go between ranks by way of their GPUs where the backend knows nothing else."""
    if dist.get_backend() == "nccl" and not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.init()  # type: ignore[no-untyped-call]


def own_random(
    first: Mapping[str, Any] | None, by_rank: Sequence[Mapping[str, Any]] | None
) -> tuple[Mapping[str, Any] | None, str | None]:
    """The saved random states that are this process's own, and what is to be told when there are none.

    `first` are the states of rank 0. Another rank never takes them: all would draw alike.
    """
    mine = rank()
    if by_rank is not None and mine < len(by_rank):
        return by_rank[mine], None
    if mine == 0:
        return first, None
    saved = len(by_rank) if by_rank is not None else 1 if first is not None else 0
    if not saved:
        return None, None
    ranks = "rank 0" if saved == 1 else f"ranks 0 to {saved - 1}"
    return None, f"the random states of rank {mine} of {world_size()} were not saved: there are those of {ranks}"
