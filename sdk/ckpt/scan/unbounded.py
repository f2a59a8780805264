"""Which of Lightning's lists of best files have no bound: it removes nothing of these, nor reads them back. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ckpt.scan.recording import Recorded

_LIST, _WORST = "best_k_models", "kth_best_model_path"

_Callback = tuple[str, str | None, str]
"""Directory, the monitor of its files, and the key of the list."""


def is_list(key: str) -> bool:
    """Whether what a state names is a list of files of which the trainer removes those that it drops.

    Whatever of it is still there belongs to somebody.
    """
    return key.partition("[")[0] == _LIST


def is_worst(key: str) -> bool:
    """Whether what a state names is only the worst of such a list, which is in the list too."""
    return key.partition("[")[0] == _WORST


@dataclass(slots=True)
class _Chain:
    """Lists of one training, from the longest on, each with all of the next."""

    longest: frozenset[str]
    shortest: frozenset[str]
    states: list[str] = field(default_factory=list)
    """Ids of the checkpoints that have them."""
    is_bounded: bool = False


def unbounded(states: Iterable[Recorded]) -> set[tuple[str, str]]:
    """Ids of checkpoints with the keys of those of their lists that are proven to have no bound (`save_top_k=-1`).

    Lightning notes the worst of a list only when the list is full. One without a bound is full at every save: so two
    lists of different lengths that both are, the longer with all of the shorter, are the proof, where the list grew by
    one at every save from the beginning on: a training that is gone on with under a larger bound keeps the worst of
    the smaller one, and looks full. A list of which something was dropped, or that was not full, is the proof of the
    opposite for its whole training.
    """
    found: dict[_Callback, list[tuple[frozenset[str], str, bool]]] = {}
    progress: dict[str, float | None] = {}
    for item in states:
        progress[item.checkpoint.id] = _progress(item)
        for callback, names, is_full in _lists(item):
            found.setdefault(callback, []).append((names, item.checkpoint.id, is_full))
    return {
        (checkpoint, key)
        for (_, _, key), lists in found.items()
        for chain in _chains(lists)
        if not chain.is_bounded and _grew_evenly(chain, progress)
        for checkpoint in chain.states
    }


def _progress(item: Recorded) -> float | None:
    """How far a training was: steps, or epochs from 1 on where they are all that is known."""
    step, epoch = item.checkpoint.step, item.checkpoint.epoch
    return float(step) if step is not None else None if epoch is None else epoch + 1


def _grew_evenly(chain: _Chain, progress: Mapping[str, float | None]) -> bool:
    """Whether the lists have had one name more for every stretch of the training, the first stretch included."""
    shortest, longest = len(chain.shortest), len(chain.longest)
    first, last = progress.get(chain.states[-1]), progress.get(chain.states[0])
    if longest <= shortest or first is None or last is None or last <= first:
        return False
    stretch = (last - first) / (longest - shortest)
    return abs(first - stretch * shortest) < stretch


def _lists(item: Recorded) -> Iterator[tuple[_Callback, frozenset[str], bool]]:
    if item.inspection is None:
        return
    directory, references = os.path.dirname(item.checkpoint.path), item.inspection.references
    for key, targets in references.items():
        if is_list(key) and targets:
            worst = references.get(_WORST + key.removeprefix(_LIST))
            yield (directory, item.inspection.monitor, key), frozenset(targets), bool(worst)


def _chains(lists: list[tuple[frozenset[str], str, bool]]) -> list[_Chain]:
    """Lists that have something in common, together."""
    chains: list[_Chain] = []
    for names, checkpoint, is_full in sorted(lists, key=lambda entry: (-len(entry[0]), entry[1])):
        of = [chain for chain in chains if not names.isdisjoint(chain.longest)]
        is_bounded = not is_full or len(of) > 1 or any(not names <= chain.shortest for chain in of)
        if not of:
            of = [_Chain(names, names)]
            chains += of
        for chain in of:
            chain.shortest = names
            chain.is_bounded |= is_bounded
        of[0].states.append(checkpoint)
    return chains
