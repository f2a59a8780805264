"""What a difference between two recordings usually means, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ckpt.selftest.comparing import NUMBER_OF_BATCHES, SETTINGS, Comparison, Difference
from ckpt.selftest.recording_file import Recording

_CALLS = {
    "python": "random.seed(0)",
    "numpy": "numpy.random.seed(0)",
    "torch": "torch.manual_seed(0)",
    "cuda": "torch.manual_seed(0)",
}
_LOADER = (
    "ckpt.ResumableLoader in place of DataLoader, given to the hook or the save as `loaders`, goes on at the next batch"
)
_READ_OTHERWISE = (
    "the loaders had their positions back, and the script does not read them as before: something reads ahead of the "
    "step or looks at a batch first (`next(iter(loader))`), loaders are zipped, an iterator is broken off (break, "
    "islice) or begun anew, a loader was not given, or the data is changed in memory, which no checkpoint has"
)
_BEHIND = (
    "what stands behind hook.step or the save in the loop's body is left out by a resume: a scheduler's step, a moving "
    "average, a validation; let the step be the last line"
)
_KERNELS = (
    "operations that are not deterministic also look like this: torch.use_deterministic_algorithms(True), "
    "and as many threads as before (torch.set_num_threads)"
)


def said(reference: Recording, generators: tuple[str, ...], metrics: tuple[str, ...]) -> tuple[str, ...]:
    """What to say of a training as such: what two starts of it do not do alike, and what was left out."""
    notes = [seeding(generators)] if generators else []
    if metrics:
        notes.append(f"two starts of the script tell other metrics ({', '.join(metrics)}): these were not compared")
    if reference.has("another"):
        notes.append("the script trains more than once: only the first training was tried")
    return tuple(notes)


def seeding(generators: tuple[str, ...]) -> str:
    """What to say of generators that the training draws from and does not seed."""
    calls = ", ".join(dict.fromkeys(_CALLS[name] for name in generators))
    return (
        f"two starts of the script begin with other random states ({', '.join(generators)}), "
        f"so these were not compared; seed them first: {calls}"
    )


def untried(found: Sequence[Comparison], epoch_ended: bool) -> tuple[str, ...]:
    """What an exact answer does not speak of, whatever was compared."""
    notes = []
    missing = dict.fromkeys(part for one in found for part in one.missing)
    unseen = dict.fromkeys(name for one in found for name in one.unseen)
    if missing:
        notes.append(
            f"the resumed training never gave its {', '.join(missing)}, so this was not compared; give it to "
            "the restore too"
        )
    if unseen:
        notes.append(f"values that cannot be looked into were not compared: {', '.join(unseen)}")
    if not epoch_ended:
        notes.append(
            "no epoch ended behind the resume, so what is done there, such as validation or a scheduler's step, was "
            "not tried; --steps has it train longer"
        )
    return tuple(notes)


def untried_saves(reference: Recording, tried: Collection[int]) -> tuple[str, ...]:
    """What an exact answer does not speak of: the places where the training saves by itself, when none was tried."""
    own = reference.own_saves
    ends = [step for step in own if step in reference.epoch_ends()]
    if not own:
        return (
            "by itself the script saved nowhere that a step comes behind, so the places where it does were not tried; "
            "--steps has it train longer",
        )
    left = ends or own
    if any(step in left for step in tried):
        return ()
    where = "at the end of an epoch, " if ends else ""
    return (
        f"by itself the script saved {where}at step {_several(left)}: a resume from there was not tried; "
        f"--save-at {left[0]} tries one",
    )


def forced(found: Comparison, reference: Recording, save_at: int) -> tuple[str, ...]:
    """What to say of a difference behind a save that the training itself would not have made."""
    own = reference.own_saves
    if found.difference is None or found.difference.between != "resume" or save_at in own:
        return ()
    where = f"by itself it saved at step {_several(own)}" if own else "by itself it saved nowhere"
    return (f"the self-test had the script save at step {save_at}; {where}: --save-at tries one of its own",)


def _several(steps: Sequence[int]) -> str:
    return ", ".join(map(str, steps[:5])) + (" …" if len(steps) > 5 else "")


def advice(found: Comparison, *, positions: bool = False) -> tuple[str, ...]:
    """What the first difference usually means, the likeliest first; () when there is none.

    `positions` says that the checkpoint had those of the loaders and that the resumed training was given them.
    """
    difference = found.difference
    if difference is None:
        return ()
    if difference.between == "starts":
        return (
            "two uninterrupted starts differ, so nothing is said about resuming: the script does not repeat itself",
            "seed all generators at its beginning: random.seed, numpy.random.seed, torch.manual_seed",
            _KERNELS,
        )
    return (*_of_resume(difference, found.parts, positions),)


def _of_resume(difference: Difference, parts: Collection[str], positions: bool) -> list[str]:
    at_once = difference.after == 0
    what = difference.what
    data = _READ_OTHERWISE if positions else _LOADER
    batches_seen = "batch" in parts
    if what == "epoch":
        return [
            "the loop counts its epochs from another place: `for epoch in range(hook.epoch, epochs)`, or from "
            "report.next_epoch",
        ]
    if what == "metrics":
        return [
            "a metric went another way from the same weights: a generator, a moving average or a counter that it "
            "depends on is not in the checkpoint; register(name, object) brings it back",
            "a metric of time or speed is never the same: name it so (…_time, …_seconds), and it is passed over",
        ]
    if what == "steps":
        told = "the resumed training is longer or shorter: its loop counts epochs or batches from another place; "
        if positions:
            return [data, told + "begin at hook.epoch"]
        return [told + "begin at hook.epoch, and let the loader know its position", data]
    if what == "batch" and positions:
        own = "a random.Random, numpy or torch Generator of your own comes back after register(name, generator)"
        return [data] if at_once or difference.name == NUMBER_OF_BATCHES else [data, own]
    if what == "batch" and difference.name == NUMBER_OF_BATCHES:
        return [f"the loop reads more or fewer batches for this step: a loader is at another place than before; {data}"]
    if what == "batch" and at_once:
        return [f"the data goes on at another place: the loader has no position in the checkpoint; {_LOADER}"]
    if what == "batch":
        return [
            "the order of the data, or what augments it, differs later: it is drawn from a generator that is not in "
            f"the checkpoint; {_LOADER}",
            "a random.Random, numpy or torch Generator of your own comes back after register(name, generator)",
        ]
    if what == "random":
        said = [
            f"{difference.name}'s generator was drawn from more or less often than without the stop: by what is done "
            "at the start only, or by a loader that begins anew; or it is seeded again within the loop "
            "(torch.manual_seed at the top of an epoch), which is to come before the loop"
        ]
        said += [_BEHIND] if at_once else []
        return said if batches_seen else [*said, data]
    if what == "loss":
        unseen = [] if batches_seen else [f"the batches could not be seen, and may differ; {data}"]
        return [
            *unseen,
            "the same weights gave another loss: a state that the loss depends on is not in the checkpoint, such as a "
            "generator of your own, a moving average or a curriculum; register(name, object) brings it back",
            _KERNELS,
        ]
    if what == "optimizer" and SETTINGS in difference.name:
        if "scheduler" in parts:
            return [f"the optimizer's settings differ, which the scheduler sets: {_BEHIND}"]
        return [
            "the optimizer's settings differ: the scheduler that sets them is not in the checkpoint; give it to the "
            "hook or the save as `scheduler`"
        ]
    if what in ("optimizer", "weights"):
        return [
            "the step went another way from the same loss: gradients, a scaler or an optimizer that is not in the "
            "checkpoint; give it to the hook or the save, or register(name, object)",
            *([_BEHIND] if at_once else []),
            _KERNELS,
        ]
    whose = f"what is registered as {difference.name.partition('.')[0]}" if what == "registered" else f"the {what}"
    return [
        f"the state of {whose} went another way than without the stop; give it to the hook before resume()",
        *([_BEHIND] if at_once else []),
    ]
