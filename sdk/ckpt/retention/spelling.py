"""What the fields of a policy are called: their other names, the nearest name of a wrong one, and the words for off."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from ckpt.encoding import printable
from ckpt.exceptions import StateError

OTHER_NAMES = {
    "keep_last_n_checkpoints": "keep_last",
    "save_total_limit": "keep_last",
    "total_limit": "keep_last",
    "max_to_keep": "keep_last",
    "num_to_keep": "keep_last",
    "keep_latest_k": "keep_last",
    "max_keep_ckpts": "keep_last",
    "num_checkpoints_to_keep": "keep_last",
    "save_trial_latest": "keep_last",
    "keep_best_n_checkpoints": "keep_best",
    "save_top_k": "keep_best",
    "keep_best_checkpoints": "keep_best",
    "save_trial_best": "keep_best",
    "keep_checkpoint_every_n_epochs": "keep_every_n_epochs",
    "keep_checkpoint_every_n_steps": "keep_every_n_steps",
    "keep_period": "keep_every_n_steps",
    "save_retain_interval": "keep_every_n_steps",
    "keep_interval_updates_pattern": "keep_every_n_steps",
    "checkpoint_score_attribute": "monitor",
    "best_checkpoint_metric": "monitor",
    "checkpoint_score_order": "mode",
    "best_mode": "mode",
    "tag_best_checkpoints": "tag_best",
    "keep_for_s": "keep_for",
}
"""Names that other tools and earlier files give to exactly the same thing."""

_NOT_THE_SAME = {
    "metric_for_best_model": 'write monitor = "eval_loss", the name as it stands in the checkpoint',
    "greater_is_better": 'write mode = "max" or mode = "min"',
    "maximize_best_checkpoint_metric": 'write mode = "max" or mode = "min"',
    "minimize_metric": 'write mode = "min" or mode = "max"',
    "save_on_best_metric": "that says when to save; write monitor for what is best",
    "n_saved": "write keep_best = N when a score decides, else keep_last = N",
    "max_history": "write keep_best = N when a score decides, else keep_last = N",
    "keep_last_epochs": "write keep_last = N, which counts checkpoints and not epochs",
    "keep_time_interval": 'write keep_every = "1h"',
    "save_last": "the newest checkpoint is always kept",
    "load_best_model_at_end": "the best checkpoint is always kept",
}
"""Names that people know from elsewhere for something near, and what to write here."""

_OFF = ("off", "none", "false", "no")


def is_off(value: Any) -> bool:
    """Whether a value says that a rule is not wanted: None, False, or `off`, `none`, `false`, `no`."""
    return value is None or value is False or (isinstance(value, str) and value.strip().lower() in _OFF)


def field_name(name: str, fields: Iterable[str]) -> str:
    """The field that a name stands for. Raises StateError for one that stands for none, with the nearest."""
    known = list(fields)
    found = OTHER_NAMES.get(name, name)
    if found in known:
        return found
    raise StateError(
        f"'{printable(name)[:80]}' is no field of a policy",
        hint=_NOT_THE_SAME.get(name) or nearest(name, [*known, *OTHER_NAMES], f"known: {', '.join(known)}"),
    )


def nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    """A hint for a wrong name: the nearest known one, or `otherwise` when none is near."""
    near = difflib.get_close_matches(name[:80], list(known), n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else otherwise
