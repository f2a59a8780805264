"""What a difference between two recordings usually means, and what to do about it. Pure."""

from __future__ import annotations

from ckpt.selftest.comparing import Comparison, Difference

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


def seeding(generators: tuple[str, ...]) -> str | None:
    """What to say of generators that the training draws from and does not seed; None when there are none."""
    if not generators:
        return None
    calls = ", ".join(dict.fromkeys(_CALLS[name] for name in generators))
    return (
        f"two starts of the script begin with other random states ({', '.join(generators)}), "
        f"so these were not compared; seed them first: {calls}"
    )


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
    return [f"the state of the {what} went another way than without the stop; give it to the hook before resume()"]
