"""What a difference between two recordings usually means, and what to do about it. Pure."""

from __future__ import annotations

from ckpt.selftest.comparing import Comparison, Difference
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


def untried(found: Comparison, epoch_ended: bool) -> tuple[str, ...]:
    """What an exact answer does not speak of."""
    notes = []
    if found.missing:
        notes.append(
            f"the resumed training never gave its {', '.join(found.missing)}, so this was not compared; give it to "
            "the restore too"
        )
    if found.unseen:
        notes.append(f"values that cannot be looked into were not compared: {', '.join(found.unseen)}")
    if not epoch_ended:
        notes.append(
            "no epoch ended behind the resume, so what is done there, such as validation or a scheduler's step, was "
            "not tried; --steps has it train longer"
        )
    return tuple(notes)


def forced(found: Comparison, reference: Recording, save_at: int) -> tuple[str, ...]:
    """What to say of a difference behind a save that the training itself would not have made."""
    own = reference.of("saved")
    if found.difference is None or found.difference.between != "resume" or save_at in own:
        return ()
    where = f"by itself it saved at step {', '.join(map(str, own[:5]))}" if own else "by itself it saved nowhere"
    return (f"the self-test had the script save at step {save_at}; {where}: --save-at tries one of its own",)


def advice(found: Comparison) -> tuple[str, ...]:
    """What the first difference usually means, the likeliest first; () when there is none."""
    difference = found.difference
    if difference is None:
        return ()
    if difference.between == "starts":
        return (
            "two uninterrupted starts differ, so nothing is said about resuming: the script does not repeat itself",
            "seed all generators at its beginning: random.seed, numpy.random.seed, torch.manual_seed",
            _KERNELS,
        )
    return (*_of_resume(difference, found.batches_seen),)


def _of_resume(difference: Difference, batches_seen: bool) -> list[str]:
    at_once = difference.after == 0
    what = difference.what
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
        return [
            "the resumed training is longer or shorter: its loop counts epochs or batches from another place; "
            "begin at hook.epoch, and let the loader know its position",
            _LOADER,
        ]
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
            "at the start only, or by a loader that begins anew"
        ]
        return said if batches_seen else [*said, _LOADER]
    if what == "loss":
        unseen = [] if batches_seen else [f"the batches could not be seen, and may differ; {_LOADER}"]
        return [
            *unseen,
            "the same weights gave another loss: a state that the loss depends on is not in the checkpoint, such as a "
            "generator of your own, a moving average or a curriculum; register(name, object) brings it back",
            _KERNELS,
        ]
    if what == "optimizer" and difference.name.endswith(("lr", "momentum", "betas", "weight_decay", "initial_lr")):
        return [
            "the optimizer's settings differ: the scheduler that sets them is not in the checkpoint; give it to the "
            "hook or the save as `scheduler`"
        ]
    if what in ("optimizer", "weights"):
        return [
            "the step went another way from the same loss: gradients, a scaler or an optimizer that is not in the "
            "checkpoint; give it to the hook or the save, or register(name, object)",
            _KERNELS,
        ]
    whose = f"what is registered as {difference.name.partition('.')[0]}" if what == "registered" else f"the {what}"
    return [f"the state of {whose} went another way than without the stop; give it to the hook before resume()"]
