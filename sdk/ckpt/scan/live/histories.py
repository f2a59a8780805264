"""Which of a run's `trainer_state.json` files tells the branch that the training went on with."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from ckpt.scan.live.forms.log_history import objects
from ckpt.scan.live.growing import Growing


def newest(paths: Sequence[str]) -> list[str]:
    """The one to read; none where there is none. `paths` by the steps of their checkpoints.

    That is the last written, because a resumed training may write lower steps than those that it abandoned; unless the
    one of the highest step goes on where that ends, as in a copied directory, whose times say nothing.
    """
    dated = []
    for path in paths:
        try:
            dated.append((os.stat(path).st_mtime_ns, path))
        except OSError:
            continue
    if not dated:
        return []
    latest, highest = max(dated, key=lambda item: item[0])[1], dated[-1][1]
    if latest != highest and _goes_on(latest, highest):
        return [highest]
    # A document that is being written anew may hold nothing yet.
    by_time = [path for _, path in sorted(dated, reverse=True)]
    return [next((path for path in by_time[:3] if _first(path) is not None), latest)]


def _goes_on(shorter: str, longer: str) -> bool:
    """Whether all objects of a history stand at the start of another."""
    try:
        with Growing(shorter) as a, Growing(longer) as b:
            rest = objects(b)
            return all(_text(entry) == _text(next(rest, None)) for entry in objects(a))
    except OSError:
        return False


def _first(path: str) -> Any:
    try:
        with Growing(path) as file:
            return next(objects(file), None)
    except OSError:
        return None


def _text(value: Any) -> str:
    # NaN is not equal to itself, and its text is.
    return json.dumps(value, sort_keys=True)
