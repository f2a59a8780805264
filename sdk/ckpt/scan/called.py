"""What the name of a checkpoint inside its run tells, where neither its content nor the last part of it does. Pure."""

from __future__ import annotations

import re

from ckpt.formats import Inspection
from ckpt.formats.meanings.names import from_name
from ckpt.paths import is_cut, is_step

_UNFINISHED = re.compile(
    r"^tmp[-_]|[-_.](?:orbax-checkpoint-)?(?:tmp|temp|unfinished|partial|incomplete)(?![a-z]).*$", re.I
)


def completed(name: str, found: Inspection) -> Inspection:
    """The inspection with the step and the epoch that stand in a name, which is relative to the run.

    A directory of one step tells them of what lies in it. A name that its own slashes cut is read as a whole.
    """
    *above, last = name.split("/")
    cut = next((place for place in range(len(above)) if is_cut("/".join(above[: place + 1]))), None)
    if cut is not None:
        return _uncut("/".join([*above[cut:], last]), found)
    asked = [] if found.state == "complete" else [_UNFINISHED.sub("", last)]
    asked += [directory for directory in above[-1:] if is_step(directory)]
    for text in asked:
        if found.step is None or found.epoch is None:
            named = from_name(text, found.framework)
            found = found.evolve(
                step=named.step if found.step is None else found.step,
                epoch=named.epoch if found.epoch is None else found.epoch,
            )
    return found


def _uncut(name: str, found: Inspection) -> Inspection:
    """The inspection by the whole of a name instead of its last part."""
    named = from_name(name, found.framework)
    metrics = {key: value for key, value in found.metrics.items() if f"metrics.{key}" not in found.from_name}
    changed: Inspection = found.evolve(
        step=named.step if found.step is None else found.step,
        epoch=named.epoch if found.epoch is None else found.epoch,
        metrics={**named.metrics, **metrics},
    )
    return changed
