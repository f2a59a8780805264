"""What a resume finds in a checkpoint, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt.formats.resuming import NONE_GIVEN, Resumption, generators, resumption
from ckpt_tui.wording import plural

_NO = "–"
_EFFECTS = {
    "rng": "shuffling and dropout will differ: no states of random generators",
    "rng.torch": "shuffling and dropout will differ: no state of torch's random generator",
    "rng.python": "what draws from Python's random will differ",
    "rng.numpy": "what draws from NumPy's random will differ",
    "rng.ranks": "some ranks have no states of random generators",
    "data": "the position in the data is not told",
}
_SHOWN = frozenset(
    {"model", "optimizer", "scheduler", "scaler", "loaders", "config", "model_config", "metrics_history"}
)
_WAYS = {
    "position": "at once",
    "state": "at once, by its state",
    "skipping": "by skipping, which takes the longer the later it stopped",
}
_PHASES = {
    "train_batch": "in the midst of an epoch's training",
    "val_batch": "in an epoch's validation, which begins anew",
    "epoch_end": "at the end of an epoch",
    "epoch_start": "before the first step of an epoch",
}
_OUTCOMES = {
    "exact": "resumes exactly, as far as can be told",
    "weights": "weights only",
    "partial": "states of a training, but no model",
    "nothing": "nothing to resume from",
}


def resume_verdict(found: Resumption) -> str:
    """How a training goes on from a checkpoint, as a sentence without its full stop."""
    if found.outcome == "differs":
        return "resumes, but " + "; ".join([*(_EFFECTS[part] for part in found.lacking), *found.caveats])
    return _OUTCOMES[found.outcome]


def resume_rows(resume: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every part of a report with what is there of it; `resume` in the shape of `Inspection.resume`."""
    rng = resume.get("rng") or {}
    ranks = int(rng.get("ranks") or 0)
    random = ", ".join(generators(resume)) or _NO
    if ranks > 1:
        random += f"; {plural(ranks, 'rank')}"
    topology = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in (resume.get("topology") or {}).items())
    return [
        *((part, "yes" if resume.get(part) else _NO) for part in ("model", "optimizer", "scheduler", "scaler")),
        ("random", random),
        ("data position", _position(resume)),
        *([("saved", phase)] if (phase := _PHASES.get(str(resume.get("phase")))) else []),
        *([("topology", topology)] if topology else []),
        *_reported(resume),
    ]


def _position(resume: Mapping[str, Any]) -> str:
    """Whether the position in the data is there, and how each loader comes back to it."""
    if not resume.get("data"):
        return _NO
    ways = [f"{name} {_WAYS.get(how, how)}" for name, how in (resume.get("resumes_by") or {}).items()]
    return ", ".join(ways) or "yes"


def _reported(resume: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the writer captured besides the parts above, and what it left out; parts that nobody gave are shown so."""
    besides = [name for name in resume.get("captured") or () if name not in _SHOWN and not name.startswith("rng")]
    left_out = [f"{name}: {why}" for name, why in (resume.get("left_out") or {}).items() if why != NONE_GIVEN]
    rows = [("besides", ", ".join(besides))] if besides else []
    return [*rows, *([("left out", "; ".join(left_out))] if left_out else [])]


def resume_text(resume: Mapping[str, Any]) -> str:
    """The verdict of a report in one line."""
    return resume_verdict(resumption(resume))
