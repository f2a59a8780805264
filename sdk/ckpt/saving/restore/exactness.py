"""Why a training that goes on from a checkpoint may not be the same to the bit as one that did not stop."""

from __future__ import annotations

from ckpt.runs.rank import world_size
from ckpt.saving.capture.environment import differences, environment_of
from ckpt.saving.capture.protocol import several
from ckpt.saving.capture.taking import Training
from ckpt.saving.envelope import Content


def caveats_of_restore(
    content: Content, training: Training, *, loaders: int = 0, random: bool = True
) -> tuple[str, ...]:
    """What speaks against it, as sentences; () where nothing is known. Of files that do not report on themselves only
    a position in the data is missed, and that for loaders that are given.

    `loaders` is how many took their state, and `random` says whether random states are wanted. Looks at the machine,
    and changes nothing.
    """
    if content.report is None:
        return _of_position(content, training, loaders) if training.loaders is not None else ()
    return (
        *content.report.caveats,
        *_of_position(content, training, loaders),
        *_of_random(content, wanted=random),
        *_of_world(content),
        *_of_ranks(content),
        *differences(content.environment, environment_of(training.weights)),
    )


def _of_position(content: Content, training: Training, restored: int) -> tuple[str, ...]:
    if content.epoch_finished or content.phase == "between":
        return ()
    if not (content.loaders or content.loader_manager is not None):
        told = "the position in the data was not saved, so the epoch's data begins again"
        if training.loaders is not None:
            return (told,)
        return (f"{told}: give loaders= a ckpt.ResumableLoader, which takes what a DataLoader takes",)
    if training.loaders is None:
        return ("no loaders were given to restore, so the epoch's data begins again: give loaders= those of the save",)
    if restored < len(several(training.loaders)[0]):
        return ("the position in the data was not restored, so the epoch's data begins again",)
    return ()


def _of_random(content: Content, *, wanted: bool) -> tuple[str, ...]:
    if content.random is None:
        return ("random states were not saved, so dropout and shuffling differ: save_random_state=True saves them",)
    return () if wanted else ("random states were not wanted, so dropout and shuffling differ",)


def _of_world(content: Content) -> tuple[str, ...]:
    saved, now = content.world_size or 1, world_size()
    if saved == now:
        return ()
    by = "1 process" if saved == 1 else f"{saved} processes"
    return (f"saved by {by}, now the training has {now}: each has other data and random numbers",)


def _of_ranks(content: Content) -> tuple[str, ...]:
    left_out = {} if content.report is None else content.report.left_out
    told = {
        "rng.ranks": "all ranks but rank 0 draw other random numbers: gather_random_states=True saves each its own",
        "loaders.ranks": "all ranks take rank 0's position in the data: gather_random_states=True saves each its own",
        "gradients.ranks": "all ranks take rank 0's gradients, which are not their own where no_sync() was used",
    }
    return tuple(sentence for part, sentence in told.items() if part in left_out)
