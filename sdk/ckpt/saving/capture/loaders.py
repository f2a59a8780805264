"""What loaders tell of themselves: where they stand, how they go on, and what speaks against doing so to the bit.

Whatever tells it by the attributes `resumes_by`, `caveats`, `generators_at_start` and `generators_at_end` is heard; of
other loaders nothing is known but their states.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ckpt.saving.capture import protocol
from ckpt.saving.capture.phases import SeenLoader
from ckpt.saving.envelope.content import Phase

_SEEDED_ANEW = "torchdata seeds anew after a resume: what its data set draws at random within the epoch will differ"


def seen_loaders(loaders: Any, states: Sequence[Any]) -> list[SeenLoader]:
    """Loaders beside their states, as the decision about the phase sees them."""
    return [
        SeenLoader(
            state,
            name,
            random_at_start=getattr(loader, "generators_at_start", None),
            random_at_end=getattr(loader, "generators_at_end", None),
        )
        for (name, loader), state in zip(_named(loaders), states, strict=True)
    ]


def resumes_by(loaders: Any) -> dict[str, str]:
    """How each loader goes on, by its name: `position`, `state` or `skipping`; those that do not tell are left out."""
    told = ((_called(i, name), getattr(loader, "resumes_by", None)) for i, (name, loader) in enumerate(_named(loaders)))
    return {name: how for name, how in told if isinstance(how, str)}


def all_at_one_position(loaders: Any) -> bool:
    """Whether the processes of a training are all at the same position in their data, by the kinds of its loaders."""
    return all(getattr(loader, "resumes_by", None) == "position" for _, loader in _named(loaders))


def caveats_of(loaders: Any, phase: Phase | None, interrupted: str | None) -> tuple[str, ...]:
    """Why a training that goes on from here may not be the same to the bit, as far as its loaders are the reason.

    `interrupted` is the name of the exception that ends the training, if one does.
    """
    told = []
    for i, (name, loader) in enumerate(_named(loaders)):
        told += [f"{_called(i, name)}: {caveat}" for caveat in getattr(loader, "caveats", ())]
        if phase == "training" and type(loader).__module__.startswith("torchdata."):
            told.append(f"{_called(i, name)}: {_SEEDED_ANEW}")
    if interrupted is not None and phase == "training":
        told.append(f"it was saved on {interrupted}: a batch that was under way is not repeated")
    return tuple(told)


def _named(loaders: Any) -> Iterator[tuple[str | None, Any]]:
    items, names = protocol.several(loaders)
    return zip(names if names is not None else [None] * len(items), items, strict=True)


def _called(number: int, name: str | None) -> str:
    return name if name is not None else f"loader {number}"
