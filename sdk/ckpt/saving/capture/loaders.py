"""What loaders tell of themselves: where they stand, how they go on, and what speaks against doing so to the bit.

Whatever tells it by the attributes `resumes_by`, `caveats`, `slow`, `epoch`, `batch_idx`, `generators_at_start` and
`generators_at_end` is heard; of other loaders nothing is known but their states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from torch.utils.data import DistributedSampler

from ckpt.saving.capture import protocol
from ckpt.saving.capture.phases import SeenLoader
from ckpt.saving.capture.turns import Turn, not_seen
from ckpt.saving.envelope.content import Phase
from ckpt.saving.envelope.places import is_validation

_REMEDY = "give it as a ckpt.ResumableLoader, which takes what a DataLoader takes"
_SEEDED_ANEW = "torchdata seeds anew after a resume: what its data set draws at random within the epoch will differ"


def seen_loaders(loaders: Any, states: Sequence[Any], turn_of: Callable[[Any], Turn] = not_seen) -> list[SeenLoader]:
    """Loaders beside their states, as the decision about the phase sees them; `turn_of` says what the steps tell."""
    return [
        SeenLoader(
            state,
            name,
            random_at_start=getattr(loader, "generators_at_start", None),
            random_at_end=getattr(loader, "generators_at_end", None),
            turn=turn_of(loader),
            called=_called(i, name),
        )
        for i, ((name, loader), state) in enumerate(zip(_named(loaders), states, strict=True))
    ]


def resumes_by(loaders: Any) -> dict[str, str]:
    """How each loader goes on, by its name: `position`, `state` or `skipping`; those that do not tell are left out."""
    told = ((_called(i, name), getattr(loader, "resumes_by", None)) for i, (name, loader) in enumerate(_named(loaders)))
    return {name: how for name, how in told if isinstance(how, str)}


def all_at_one_position(loaders: Any) -> bool:
    """Whether the processes of a training are all at the same position in their data, by the kinds of its loaders."""
    return all(_counts_alike(loader) for _, loader in _named(loaders))


def _counts_alike(loader: Any) -> bool:
    """Whether all processes are at the same number of batches, and that is all that there is to their position."""
    how = getattr(loader, "resumes_by", None)
    # A sampler is asked again for what it gave; a stream may be longer in one process than in another.
    return how == "position" or (how == "skipping" and isinstance(getattr(loader, "sampler", None), DistributedSampler))


def slow_loaders(loaders: Any) -> tuple[str, ...]:
    """Why a training takes its time before it goes on from here, as sentences."""
    return _told_by(loaders, "slow")


def training_loaders(loaders: Any) -> list[Any]:
    """All that are not called those of a validation."""
    return [loader for name, loader in _named(loaders) if not is_validation(name)]


def positions_of(loaders: Any) -> tuple[Any, ...] | None:
    """How far the loaders of the training are: what moves with every batch that is taken. None where one of them does
    not tell, and where there is none.
    """
    training = training_loaders(loaders)
    told = tuple((getattr(loader, "epoch", None), getattr(loader, "batch_idx", None)) for loader in training)
    return told if told and all(batch is not None for _, batch in told) else None


def caveats_of_loaders(
    loaders: Any, left_out: Iterable[str], phase: Phase | None, interrupted: str | None
) -> tuple[str, ...]:
    """Why a training that goes on from here may not be the same to the bit, as far as its loaders are the reason.

    `left_out` are the parts that are not captured; where no loader is, that is told by the place where it is. Of those
    of the validation nothing is missed: it is done again whole. `interrupted` is the name of the exception that ends
    the training, if one does and a batch may be under way.
    """
    told = list(_told_by(loaders, "caveats"))
    if phase != "between":
        told += _without_position(loaders, left_out)
    for i, (name, loader) in enumerate(_named(loaders)):
        if phase == "training" and type(loader).__module__.startswith("torchdata."):
            told.append(f"{_called(i, name)}: {_SEEDED_ANEW}")
    if interrupted is not None and phase == "training":
        told.append(f"it was saved on {interrupted}: a batch that was under way is not repeated")
    return tuple(told)


def _without_position(loaders: Any, left_out: Iterable[str]) -> list[str]:
    lacking = [part for part in left_out if part.startswith(("loaders.", "loaders["))]
    lacking = [part for part in lacking if not is_validation(part.removeprefix("loaders."))]
    names = [name for name, _ in _named(loaders)]
    if names and not lacking and all(is_validation(name) for name in names):
        return [f"no loader of the training is among {', '.join(map(str, names))}, so its data begins again: {_REMEDY}"]
    return [f"the position of {part} was not saved, so its data begins again: {_REMEDY}" for part in lacking]


def _told_by(loaders: Any, attribute: str) -> tuple[str, ...]:
    """The sentences of all loaders under an attribute, each with the name of its loader."""
    return tuple(
        # Of a schedule that is the only one they name the loader already.
        sentence if name is None and sentence.startswith("loader ") else f"{_called(i, name)}: {sentence}"
        for i, (name, loader) in enumerate(_named(loaders))
        for sentence in getattr(loader, attribute, ())
    )


def _named(loaders: Any) -> Iterator[tuple[str | None, Any]]:
    items, names = protocol.several(loaders)
    return zip(names if names is not None else [None] * len(items), items, strict=True)


def _called(number: int, name: str | None) -> str:
    return name if name is not None else f"loader {number}"
