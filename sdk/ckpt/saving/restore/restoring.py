"""A checkpoint into the objects of a training: everything is compared before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ckpt.encoding import printable
from ckpt.exceptions import CheckpointError
from ckpt.saving.capture.choice_rng import put_back
from ckpt.saving.capture.generators import ProvenStates, prove_random
from ckpt.saving.capture.gradients import trained
from ckpt.saving.capture.ranks import own_loaders, own_random
from ckpt.saving.capture.stepping import watch
from ckpt.saving.capture.taking import CHOICE_RNG, Training
from ckpt.saving.envelope import Content
from ckpt.saving.restore import states
from ckpt.saving.restore.exactness import caveats_of_restore
from ckpt.saving.restore.gradients import GradientsToSet
from ckpt.saving.restore.interrupts import interrupts_wait
from ckpt.saving.restore.report import RestoreReport, listed
from ckpt.saving.restore.states import Matched, Pair
from ckpt.saving.restore.telling import tell_restore
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
    was and told of. With `weights_only` the model alone is restored, and at the start of a fork no loader is: its data
    begins with its own first epoch. Where a state looked as if it fitted and is
    refused after all, CheckpointError is raised and what was changed is put back; so it is on an interrupt. Loaders
    come first, then registered objects, optimizers and weights; random states are set last, and nothing draws from them
    before the training does. One warning tells why the training may not go on to the bit, if it may not.
    """
    weights = None if training.weights is None else WeightsToLoad(training.weights, content.weights)
    goes_on = not (start_of_fork or weights_only)
    kinds = {} if weights_only else _matched(content, training, loaders=goes_on)
    problems = [problem for found in kinds.values() for problem in found.problems]
    gradients = None if weights is None or weights_only else _gradients(content, training)
    skipped = () if weights is None else weights.skipped
    if strict and (skipped or problems):
        raise CheckpointError(
            f"{printable(path)} does not fit: {listed([*problems, *skipped])}",
            hint="strict=False restores what fits and reports the rest",
        )
    proven, notes = _proven(content, random and not weights_only)
    notes += () if gradients is None else gradients.notes
    notes = [*problems, *([] if weights_only else _unclaimed(content, training, loaders=goes_on)), *notes]
    if skipped:
        notes += [f"the {kind} state was not restored: not all weights fit" for kind, m in kinds.items() if m.pairs]
        notes += ["the gradients were not restored: not all weights fit"] if content.gradients and gradients else []
        kinds, gradients = {}, None
    given, refused = _change(weights, kinds, gradients, proven, strict=strict)
    loaders = _count(given, "loader")
    caveats = caveats_of_restore(content, training, loaders=loaders, random=random) if goes_on else ()
    report = RestoreReport(
        checkpoint=checkpoint,
        path=path,
        epoch=content.state.epoch,
        global_step=content.state.global_step,
        epoch_finished=content.epoch_finished,
        phase=content.phase,
        loaded=() if weights is None else tuple(weights.fitting),
        skipped=skipped,
        converted=() if weights is None else weights.converted,
        optimizers=_count(given, "optimizer"),
        schedulers=_count(given, "scheduler"),
        loaders=loaders,
        scaler=bool(_count(given, "scaler")),
        gradients=0 if gradients is None else gradients.count,
        registered=tuple(name for name in training.registered if _count(given, f"'{name}'")),
        random=bool(proven.states),
        start_of_fork=start_of_fork,
        warm_start=weights_only,
        notes=(*notes, *refused),
        left_out={} if content.report is None else content.report.left_out,
        resumes_by={} if content.report is None else content.report.resumes_by,
        caveats=caveats,
        slow=content.report.slow if content.report is not None and loaders else (),
        migration=content.migration,
    )
    tell_restore(report, given)
    return report


def _matched(content: Content, training: Training, *, loaders: bool) -> dict[str, Matched]:
    """All objects but the model with their states; `loaders` says whether the position in the data is wanted."""
    names = content.names
    captured = dict(content.captured or {})
    if content.choice_random is not None:
        captured.setdefault(CHOICE_RNG, content.choice_random)
    positions = put_back(content.loaders, content.choice_random)
    if content.loader_manager is not None and _is_one(training.loaders):
        positions = [content.loader_manager]
    positions = own_loaders(positions, content.loaders_by_rank) if loaders else None
    return {
        # A training may have got its loaders after the save.
        "loader": states.match("loader", training.loaders, positions, names.get("loaders", ()))
        if positions
        else Matched(),
        "registered": states.match_registered(training.registered, captured),
        "optimizer": states.match("optimizer", training.optimizers, content.optimizers, names.get("optimizers", ())),
        "scheduler": states.match("scheduler", training.schedulers, content.schedulers, names.get("schedulers", ())),
        "scaler": states.match("scaler", training.scaler, None if content.scaler is None else [content.scaler]),
    }


def _unclaimed(content: Content, training: Training, *, loaders: bool) -> list[str]:
    told = []
    if training.loaders is not None and not loaders:
        told.append("the loaders were left alone: a fork begins with an epoch of its own")
    elif training.loaders is not None and not content.loaders and content.loader_manager is None:
        told.append("no loader state was saved")
    return told + [
        f"the state of '{printable(str(name))}' was saved, and nothing is registered under that name"
        for name in content.captured or {}
        if name not in training.registered
    ]


def _gradients(content: Content, training: Training) -> GradientsToSet:
    """The checkpoint's gradients beside the training's parameters; its optimizers are watched from here on."""
    watch(training.optimizers)
    return GradientsToSet(trained(training.weights, training.registered), content.gradients)


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
    weights: WeightsToLoad | None,
    kinds: Mapping[str, Matched],
    gradients: GradientsToSet | None,
    proven: ProvenStates,
    *,
    strict: bool,
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
        if gradients is not None:
            gradients.set()
        proven.set()
    return given, refused


def _count(given: Sequence[Pair], kind: str) -> int:
    return sum(pair.kind == kind for pair in given)
