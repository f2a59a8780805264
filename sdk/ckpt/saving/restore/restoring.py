"""A checkpoint into the objects of a training: everything is compared before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ckpt.encoding import printable
from ckpt.exceptions import CheckpointError
from ckpt.saving.capture.generators import ProvenStates, prove_random
from ckpt.saving.capture.ranks import own_random
from ckpt.saving.capture.taking import CHOICE_RNG, Training
from ckpt.saving.envelope import Content
from ckpt.saving.restore import states
from ckpt.saving.restore.interrupts import interrupts_wait
from ckpt.saving.restore.report import RestoreReport, listed
from ckpt.saving.restore.states import Matched, Pair
from ckpt.saving.restore.weights import WeightsToLoad


def restore(
    content: Content,
    *,
    path: str,
    checkpoint: str = "",
    start_of_fork: bool = False,
    training: Training,
    strict: bool = True,
    random: bool = True,
    weights_only: bool = False,
) -> RestoreReport:
    """Puts a checkpoint's content into objects.

    With `strict`, whatever does not fit raises CheckpointError and nothing is changed. Without, tensors whose name and
    shape fit are restored, and the other objects only when all of them did; of those, one that refuses is left as it
    was and told of. With `weights_only` the model alone is restored. Where a state looked as if it fitted and is
    refused after all, CheckpointError is raised and what was changed is put back; so it is on an interrupt. Random
    states are set last.
    """
    weights = None if training.weights is None else WeightsToLoad(training.weights, content.weights)
    kinds = {} if weights_only else _matched(content, training)
    problems = [problem for found in kinds.values() for problem in found.problems]
    skipped = () if weights is None else weights.skipped
    if strict and (skipped or problems):
        raise CheckpointError(
            f"{printable(path)} does not fit: {listed([*problems, *skipped])}",
            hint="strict=False restores what fits and reports the rest",
        )
    proven, notes = _proven(content, random and not weights_only)
    notes = [*problems, *([] if weights_only else _unclaimed(content, training)), *notes]
    if skipped:
        notes += [f"the {kind} state was not restored: not all weights fit" for kind, m in kinds.items() if m.pairs]
        kinds = {}
    given, refused = _change(weights, kinds, proven, strict=strict)
    return RestoreReport(
        checkpoint=checkpoint,
        path=path,
        epoch=content.state.epoch,
        global_step=content.state.global_step,
        epoch_finished=content.epoch_finished,
        loaded=() if weights is None else tuple(weights.fitting),
        skipped=skipped,
        converted=() if weights is None else weights.converted,
        optimizers=_count(given, "optimizer"),
        schedulers=_count(given, "scheduler"),
        loaders=_count(given, "loader"),
        scaler=bool(_count(given, "scaler")),
        registered=tuple(name for name in training.registered if _count(given, f"'{name}'")),
        random=bool(proven.states),
        start_of_fork=start_of_fork,
        warm_start=weights_only,
        notes=(*notes, *refused),
        left_out={} if content.report is None else content.report.left_out,
        migration=content.migration,
    )


def _matched(content: Content, training: Training) -> dict[str, Matched]:
    names = content.names
    captured = dict(content.captured or {})
    if content.choice_random is not None:
        captured.setdefault(CHOICE_RNG, content.choice_random)
    loaders = content.loaders
    if content.loader_manager is not None and _is_one(training.loaders):
        loaders = [content.loader_manager]
    return {
        "optimizer": states.match("optimizer", training.optimizers, content.optimizers, names.get("optimizers", ())),
        "scheduler": states.match("scheduler", training.schedulers, content.schedulers, names.get("schedulers", ())),
        "scaler": states.match("scaler", training.scaler, None if content.scaler is None else [content.scaler]),
        "loader": states.match("loader", training.loaders, loaders, names.get("loaders", ())),
        "registered": states.match_registered(training.registered, captured),
    }


def _unclaimed(content: Content, training: Training) -> list[str]:
    return [
        f"the state of '{printable(str(name))}' was saved, and nothing is registered under that name"
        for name in content.captured or {}
        if name not in training.registered
    ]


def _is_one(objects: Any) -> bool:
    return objects is not None and not isinstance(objects, list | tuple | Mapping)


def _proven(content: Content, wanted: bool) -> tuple[ProvenStates, list[str]]:
    """The random states that are this process's own, and what is to be told of them."""
    if not wanted:
        return ProvenStates(), []
    own, told = own_random(content.random, content.random_by_rank)
    notes = [] if told is None else [told]
    if not isinstance(own, Mapping):
        return ProvenStates(), notes
    proven = prove_random(own)
    return proven, [*notes, *(f"the random state {name} was not restored" for name in proven.left)]


def _change(
    weights: WeightsToLoad | None, kinds: Mapping[str, Matched], proven: ProvenStates, *, strict: bool
) -> tuple[list[Pair], list[str]]:
    """Changes the training. Returns what took its state, and what is to be told of what did not."""
    pairs = [pair for found in kinds.values() for pair in found.pairs]
    # What is changed in place comes last: an interrupt that comes before it finds it as it was.
    pairs.sort(key=lambda pair: isinstance(pair.item, torch.nn.Module))
    given, before, refused = states.give_all(pairs, strict=strict)
    with interrupts_wait():
        try:
            if weights is not None:
                weights.load()
        except BaseException:
            states.take_back(before)
            raise
        proven.set()
    return given, refused


def _count(given: Sequence[Pair], kind: str) -> int:
    return sum(pair.kind == kind for pair in given)
